//! Our own initramfs, made on the host from the tree, for any architecture: a shell script, the few
//! programs it calls, the drivers that lead to the root file system.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::cpio::{self, Entries, Entry};
use super::kernel::Kernel;
use super::modules::Index;
use super::packing::{self, file};

const INIT: &str = include_str!("init.sh");

/// Calls in `init.sh` that are not builtins of the shell.
const PROGRAMS: &[&str] = &[
    "usr/bin/dd",
    "usr/bin/mount",
    "usr/bin/sh",
    "usr/bin/sleep",
    "usr/lib/ostree/ostree-prepare-root",
    "usr/sbin/blkid",
    "usr/sbin/e2fsck",
    "usr/sbin/modprobe",
    "usr/sbin/switch_root",
];

/// Loaded on every board, whether or not a device asks for it.
const ALWAYS: &[&str] = &["ext4"];

/// What a board wants in its initramfs.
#[derive(Debug, Clone, Default)]
pub struct Drivers {
    /// Held ready for the devices that ask for them.
    pub include: Vec<String>,
    /// Loaded at once, in this order.
    pub load: Vec<String>,
}

/// Makes the compressed initramfs of a laid out tree.
pub fn build(root: &Path, kernel: &Kernel, drivers: &Drivers) -> Result<Vec<u8>> {
    let act = || -> Result<Vec<u8>> {
        let mut entries = skeleton(drivers);
        packing::add_programs(&mut entries, root, PROGRAMS)?;
        packing::add(
            &mut entries,
            root,
            Path::new("usr/lib/ostree/prepare-root.conf"),
        )?;
        add_modules(&mut entries, root, kernel, drivers)?;
        let missing = missing(&entries.keys().map(String::as_str).collect::<Vec<_>>());
        if !missing.is_empty() {
            bail!("it lacks {}", missing.join(", "));
        }
        zstd::encode_all(cpio::write(&entries).as_slice(), 9).context("compressing it")
    };
    act().context("making the initramfs")
}

/// What a list of paths in an initramfs lacks to boot one of our machines. It holds for dracut's
/// too.
pub fn missing(paths: &[&str]) -> Vec<&'static str> {
    let has = |test: &dyn Fn(&str) -> bool| paths.iter().any(|path| test(path));
    let ext4 = has(&|path| path.contains("/ext4.ko")) || has(&|path| path == BUILT_IN_EXT4);
    let prepare = has(&|path| path.ends_with("ostree/ostree-prepare-root"));
    [
        ("/init", has(&|path| path == "init")),
        ("the ext4 driver", ext4),
        ("ostree-prepare-root", prepare),
    ]
    .into_iter()
    .filter_map(|(what, there)| (!there).then_some(what))
    .collect()
}

/// Left by us in the initramfs of a kernel that needs no module for its root file system.
const BUILT_IN_EXT4: &str = "etc/ext4-is-built-in";

fn skeleton(drivers: &Drivers) -> Entries {
    let load: Vec<&str> = ALWAYS
        .iter()
        .copied()
        .chain(drivers.load.iter().map(String::as_str))
        .collect();
    let mut entries = packing::skeleton();
    entries.insert("sysroot".into(), Entry::Dir);
    entries.insert("init".into(), file(0o755, INIT));
    entries.insert(
        "etc/edge-modules".into(),
        file(0o644, format!("{}\n", load.join("\n"))),
    );
    entries
}

fn add_modules(
    entries: &mut Entries,
    root: &Path,
    kernel: &Kernel,
    drivers: &Drivers,
) -> Result<()> {
    let index = Index::read(root, kernel)?;
    let wanted = drivers
        .include
        .iter()
        .chain(&drivers.load)
        .map(String::as_str);
    let wanted: Vec<&str> = wanted.chain(ALWAYS.iter().copied()).collect();
    let files = index.closure(&wanted)?;
    if !files.iter().any(|file| file.contains("/ext4.ko")) {
        entries.insert(BUILT_IN_EXT4.into(), file(0o644, ""));
    }
    packing::add_modules(entries, root, kernel, &files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            missing(&[]),
            ["/init", "the ext4 driver", "ostree-prepare-root"]
        );
        let whole = [
            "init",
            "usr/lib/modules/6/kernel/fs/ext4/ext4.ko",
            "usr/lib/ostree/ostree-prepare-root",
        ];
        assert!(missing(&whole).is_empty());
    }

    #[test]
    fn the_script_parses_and_calls_only_what_is_packed() {
        Cmd::new("sh").args(["-n", "-c", INIT]).run().unwrap();
        for program in PROGRAMS {
            let name = program.rsplit('/').next().unwrap();
            assert!(INIT.contains(name), "{name} is packed for nothing");
        }
    }
}
