//! Packages of another architecture: their scripts run under QEMU's user emulation, which the kernel must
//! know of. What need not be emulated is not: it takes most of the time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::board::Arch;

/// This machine's architecture; as RPM calls it, but for ARM of 32 bits.
const OWN: &str = std::env::consts::ARCH;

const BINFMT: &str = "proc/sys/fs/binfmt_misc";

/// Whether this machine must emulate the architecture; an error when it cannot.
pub fn is_emulated(root: &Path, arch: &Arch) -> Result<bool> {
    if OWN == arch.rpm || (OWN, arch.debian.as_str()) == ("arm", "armhf") {
        return Ok(false);
    }
    let Some(emulator) = emulator(&arch.debian) else {
        bail!("no emulator is known for architecture {}", arch.debian);
    };
    if !is_registered(&root.join(BINFMT), emulator)? {
        bail!(
            "this machine cannot run programs of {}: no {emulator} in /{BINFMT} with flag F; \
             'make setup' registers it, or install qemu-user-static (Debian 12, Fedora) or qemu-user-binfmt (Debian 13)",
            arch.debian
        );
    }
    Ok(true)
}

/// What QEMU's user emulation reads. Debian's arm64 signs its return addresses, and QEMU's default processor computes
/// these signatures in software, which doubles the time of every program; this one has none.
pub fn environment(debian: &str) -> Option<(&'static str, &'static str)> {
    (debian == "arm64").then_some(("QEMU_CPU", "cortex-a53"))
}

/// Comes first on the path while packages are installed under emulation.
pub const NATIVE: &str = "/.edge-native";

/// Fills [`NATIVE`] below `$1`: unpacking with this machine's dpkg-deb, and a depmod that does nothing.
pub const ENTER: &str = "\
set -eu
native=\"$1/.edge-native\"
mkdir \"$native\"
program=$(command -v dpkg-deb)
ldd \"$program\" | sed -n 's|.*=> \\(/[^ ]*\\).*|\\1|p' | xargs -I{} cp -L {} \"$native/\"
cp -L \"$(ldd \"$program\" | sed -n 's|^[[:space:]]*\\(/[^ ]*\\) (.*|\\1|p')\" \"$native/loader\"
cp \"$program\" \"$native/dpkg-deb.native\"
cat > \"$native/dpkg-deb\" <<'END'
#!/bin/sh
exec /.edge-native/loader --library-path /.edge-native /.edge-native/dpkg-deb.native \"$@\"
END
printf '#!/bin/sh\\n' > \"$native/depmod\"
chmod 755 \"$native/dpkg-deb\" \"$native/depmod\"
";

/// Removes it, and does what depmod did not.
pub const LEAVE: &str = "\
set -eu
rm -r \"$1/.edge-native\"
for modules in \"$1\"/usr/lib/modules/*; do
    depmod -b \"$1\" \"${modules##*/}\"
done
";

/// QEMU's word for a Debian architecture.
fn emulator(debian: &str) -> Option<&'static str> {
    match debian {
        "amd64" => Some("qemu-x86_64"),
        "arm64" => Some("qemu-aarch64"),
        "armhf" => Some("qemu-arm"),
        _ => None,
    }
}

/// Whether an interpreter is registered that a chroot can use too: flag F opens it when it is registered.
fn is_registered(binfmt: &Path, name: &str) -> Result<bool> {
    let path = binfmt.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(is_usable(&text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}

fn is_usable(text: &str) -> bool {
    let mut lines = text.lines();
    let enabled = lines.next() == Some("enabled");
    let flags = lines.find_map(|line| line.strip_prefix("flags:"));
    enabled && flags.is_some_and(|flags| flags.contains('F'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;

    #[test]
    fn only_an_enabled_entry_that_reaches_into_a_chroot_counts() {
        let entry = |state: &str, flags: &str| {
            format!(
                "{state}\ninterpreter /usr/bin/qemu-arm-static\nflags: {flags}\noffset 0\nmagic 7f\n"
            )
        };
        for (state, flags, expected) in [
            ("enabled", "F", true),
            ("enabled", "POCF", true),
            ("enabled", "OC", false),
            ("disabled", "F", false),
        ] {
            assert_eq!(is_usable(&entry(state, flags)), expected, "{state} {flags}");
        }
    }

    #[test]
    fn what_is_not_emulated_runs_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let run = |script: &str| {
            let sh = Cmd::new("sh").args(["-c", script, "sh"]).arg(dir.path());
            sh.run().unwrap();
        };
        run(ENTER);
        let native = dir.path().join(&NATIVE[1..]);
        let program = Cmd::new(native.join("loader"))
            .arg("--library-path")
            .arg(&native)
            .arg(native.join("dpkg-deb.native"));
        let version = program.arg("--version").text().unwrap();
        assert!(version.contains("archive"), "{version}");
        Cmd::new(native.join("depmod")).arg("6.12").run().unwrap();
        fs::create_dir_all(dir.path().join("usr/lib/modules/6.12/kernel")).unwrap();
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        run(LEAVE);
        assert!(!native.exists());
        assert!(dir.path().join("usr/lib/modules/6.12/modules.dep").exists());
    }

    #[test]
    fn what_is_not_registered_is_an_error_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let arch = |debian: &str, rpm: &str| Arch {
            debian: debian.into(),
            rpm: rpm.into(),
        };
        let (own, other) = match OWN {
            "aarch64" => (arch("arm64", OWN), arch("armhf", "armv7hl")),
            _ => (arch("amd64", OWN), arch("arm64", "aarch64")),
        };
        assert!(!is_emulated(dir.path(), &own).unwrap());
        let error = is_emulated(dir.path(), &other).unwrap_err().to_string();
        assert!(
            error.contains("make setup") && error.contains(&other.debian),
            "{error}"
        );
        assert!(is_emulated(dir.path(), &arch("s390x", "s390x")).is_err());
    }
}
