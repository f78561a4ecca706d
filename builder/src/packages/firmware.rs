//! The scripts that mmdebstrap runs: before it installs, for the firmware's files, which come from packages that are
//! not installed; and after, to put them into the tree, list what is installed and remove what came from the build
//! machine. Both get the root file system as `$1` and a folder of ours as `$2`.

use std::fmt::Write;

use edge_ota::media::firmware::{DIR, file_name};

use crate::board::{self, Bios, Board, Firmware};
use crate::tree::bios;

/// Below the root of the tree; the files of the ESP.
const EFI_DIR: &str = "usr/lib/ostree-boot/efi";

/// The versions of the packages, beside what they brought.
const VERSIONS: &str = "usr/lib/ostree-boot/versions.json";

/// Fetches the packages of firmware and looks whether they hold what the board names, while that is cheap to learn.
/// Names and paths of a board hold no character that a shell would read.
pub fn fetch(board: &Board) -> String {
    let mut text = String::from(HEAD);
    for package in board::unpacked(&board.firmware, board.bios.as_ref()) {
        let _ = write!(
            text,
            "APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get -qq -o APT::Sandbox::User=root download {package}\n\
             dpkg-deb -x {package}_*.deb {package}\n"
        );
    }
    let mut ask = |package: &str, from: &str| {
        let _ = writeln!(
            text,
            "[ -f {package}/{from} ] || {{ echo \"{MISSING}package {package} holds no {from}: check the board's 'firmware'\" >&2; exit 1; }}"
        );
    };
    for firmware in &board.firmware {
        let files = firmware.files.keys().chain(firmware.raw.keys());
        files.for_each(|from| ask(&firmware.package, from));
    }
    if let Some(bios) = &board.bios {
        ask(&bios.package, &format!("{}/boot.img", bios.modules));
        let _ = writeln!(
            text,
            "command -v grub-mkimage > /dev/null || {{ echo \"{MISSING}GRUB for BIOS needs grub-mkimage: install grub-common\" >&2; exit 1; }}"
        );
    }
    text
}

/// Begins the line of a script that says what a board asks for in vain.
pub const MISSING: &str = "firmware: ";

/// Leaves the list of installed packages in `$2/packages` (name, version, architecture by tabs).
pub fn finish(board: &Board) -> String {
    let mut text = format!("{HEAD}{LIST}root=$1\n");
    text.push_str(&place(&board.firmware, board.first_partition));
    text.push_str(&board.bios.as_ref().map_or(String::new(), core));
    text.push_str(&versions(board));
    text.push_str(TAIL);
    text
}

/// Puts the files of packages that are unpacked in the current folder into the tree at `$root`. A `*` in a path is for
/// the shell, and stands for one name.
pub fn place(all: &[Firmware], first_partition: Option<u64>) -> String {
    let mut text = String::new();
    for firmware in all {
        let package = &firmware.package;
        for (from, to) in &firmware.files {
            let _ = writeln!(
                text,
                "install -D -m 644 {package}/{from} \"$root/{EFI_DIR}/{to}\""
            );
        }
        for (from, offset) in &firmware.raw {
            let to = file_name(*offset, from);
            let _ = writeln!(
                text,
                "install -D -m 644 {package}/{from} \"$root/{DIR}/{to}\""
            );
        }
    }
    if let Some(offset) = first_partition {
        // Firmware of no length: the partitions begin behind it.
        let to = file_name(offset, "first-partition");
        let _ = writeln!(text, "install -D -m 644 /dev/null \"$root/{DIR}/{to}\"");
    }
    text
}

/// Makes GRUB's core for BIOS of the modules in a package that is unpacked in the current folder.
pub fn core(from: &Bios) -> String {
    let modules = format!("{}/{}", from.package, from.modules);
    format!(
        "mkdir -p \"$root/{dir}\"\n\
         cat > early.cfg <<'END'\n{EARLY}END\n\
         grub-mkimage -O i386-pc -d {modules} -p '(,gpt1)/EFI/debian' -c early.cfg -o \"$root/{dir}/core.img\" {MODULES}\n\
         install -m 644 {modules}/boot.img \"$root/{dir}/boot.img\"\n",
        dir = bios::DIR,
    )
}

/// What the core does: it runs the script that the signed GRUB runs under UEFI, from the disk that it was itself
/// loaded from. Without the script it gives way to the next boot device, as UEFI does with a disk that an installation
/// has begun; there is no prompt.
const EARLY: &str =
    "configfile $prefix/grub.cfg\necho 'edge-ota: no boot script'\nsleep 10\nexit\nreboot\n";

/// What the script needs; they bring the modules that they depend on.
const MODULES: &str = "biosdisk part_gpt fat ext2 normal configfile test true regexp probe loadenv linux boot \
                       serial terminal echo sleep minicmd reboot";

const HEAD: &str = "set -eu\ncd \"$2\"\n";

const LIST: &str = "\
dpkg-query --admindir=\"$1/var/lib/dpkg\" -W -f '${Package}\\t${Version}\\t${Architecture}\\n' > packages
";

/// Host keys and leftovers of the build machine have no place in a tree that many devices share.
const TAIL: &str = "\
rm -f \"$1\"/etc/ssh/ssh_host_*
rm -f \"$1/etc/hostname\" \"$1/etc/.resolv.conf.systemd-resolved.bak\"
[ -L \"$1/etc/resolv.conf\" ] || rm -f \"$1/etc/resolv.conf\"
rm -f \"$1\"/etc/apt/sources.list \"$1\"/etc/apt/sources.list.d/*
rm -f \"$1\"/etc/apt/apt.conf.d/99mmdebstrap \"$1\"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
";

/// `versions.json`: package to version.
fn versions(board: &Board) -> String {
    let names = board::unpacked(&board.firmware, board.bios.as_ref()).into_iter();
    let asked = names.map(|name| (name, format!("$(dpkg-deb -f {name}_*.deb Version)")));
    let asked: Vec<(&str, String)> = asked.collect();
    versions_of(
        asked
            .iter()
            .map(|(name, version)| (*name, version.as_str())),
    )
}

/// The same from names and words of the shell.
pub fn versions_of<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let lines: Vec<String> = all
        .map(|(name, version)| format!("  echo \"  \\\"{name}\\\": \\\"{version}\\\""))
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "mkdir -p \"$(dirname \"$root/{VERSIONS}\")\"\n{{\n  echo '{{'\n{}\"\n  echo '}}'\n}} > \"$root/{VERSIONS}\"\n",
        lines.join(",\"\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;
    use std::fs;
    use std::path::Path;

    #[test]
    fn room_for_firmware_by_hand_is_a_file_without_length() {
        let board = Board {
            first_partition: Some(0x1000000),
            ..x86_64()
        };
        let wanted =
            format!("install -D -m 644 /dev/null \"$root/{DIR}/16777216-first-partition\"");
        assert!(finish(&board).contains(&wanted), "{}", finish(&board));
        assert!(!finish(&x86_64()).contains("first-partition"));
    }

    fn x86_64() -> Board {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
        crate::board::load(&dir, &"x86_64".parse().unwrap()).unwrap()
    }

    #[test]
    fn the_scripts_are_shell_scripts() {
        let (fetch, finish) = (fetch(&x86_64()), finish(&x86_64()));
        for script in [&fetch, &finish] {
            Cmd::new("sh")
                .args(["-n", "/dev/stdin"])
                .output_with_input(script.clone().into())
                .unwrap();
        }
        assert!(fetch.contains("apt-get"), "{fetch}");
        assert!(
            finish.contains("\"$root/usr/lib/ostree-boot/efi/EFI/BOOT/BOOTX64.EFI\""),
            "{finish}"
        );
    }

    #[test]
    fn versions_are_json() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(&root).unwrap();
        let mut board = x86_64();
        board.firmware.truncate(2);
        board.bios = None;
        for firmware in &board.firmware {
            let tree = dir.path().join("p/DEBIAN");
            fs::create_dir_all(&tree).unwrap();
            let name = &firmware.package;
            let control = format!(
                "Package: {name}\nVersion: 1+2~3\nArchitecture: all\nMaintainer: m <m@mirror.example>\nDescription: d\n"
            );
            fs::write(tree.join("control"), control).unwrap();
            let deb = dir.path().join(format!("{name}_1.deb"));
            Cmd::new("dpkg-deb")
                .args(["--root-owner-group", "-b"])
                .arg(dir.path().join("p"))
                .arg(deb)
                .run()
                .unwrap();
        }
        let script = format!("root=$1\n{}", versions(&board));
        Cmd::new("sh")
            .args(["-euc", &script, "sh"])
            .arg(&root)
            .current_dir(dir.path())
            .run()
            .unwrap();
        let text = fs::read(root.join(VERSIONS)).unwrap();
        let versions: std::collections::BTreeMap<String, String> =
            serde_json::from_slice(&text).unwrap();
        assert_eq!(versions["shim-signed"], "1+2~3");
        assert_eq!(versions.len(), 2);
    }
}
