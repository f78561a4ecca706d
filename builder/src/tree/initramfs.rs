//! Our own initramfs, made on the host from the tree, for any architecture: a shell script, the few
//! programs it calls, the drivers that lead to the root file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::cpio::{self, Entries, Entry};
use super::kernel::Kernel;
use super::modules::{self, Index};
use super::{elf, rooted};

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
        add_programs(&mut entries, root)?;
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
    let mut entries = Entries::new();
    for dir in ["dev", "proc", "run", "sys", "sysroot", "tmp"] {
        entries.insert(dir.into(), Entry::Dir);
    }
    entries.insert("dev/console".into(), Entry::Char { major: 5, minor: 1 });
    entries.insert(
        "dev/kmsg".into(),
        Entry::Char {
            major: 1,
            minor: 11,
        },
    );
    entries.insert("dev/null".into(), Entry::Char { major: 1, minor: 3 });
    entries.insert("init".into(), file(0o755, INIT));
    entries.insert(
        "etc/edge-modules".into(),
        file(0o644, format!("{}\n", load.join("\n"))),
    );
    // Some programs ask who they are and where the file systems are.
    entries.insert(
        "etc/passwd".into(),
        file(0o644, "root:x:0:0:root:/:/bin/sh\n"),
    );
    entries.insert("etc/mtab".into(), Entry::Link("../proc/self/mounts".into()));
    entries
}

fn add_programs(entries: &mut Entries, root: &Path) -> Result<()> {
    for path in elf::closure(root, PROGRAMS)? {
        add(entries, root, &path)?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        let target = rooted::resolve(root, Path::new(link))?;
        if let Some((at, target)) = target.and_then(|found| found.links.into_iter().next()) {
            entries.insert(text(&at)?, Entry::Link(text(&target)?));
        }
    }
    add(entries, root, Path::new("usr/lib/ostree/prepare-root.conf"))
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
    let stage = tempfile::tempdir().context("making a temporary folder")?;
    modules::stage(root, kernel, &files, stage.path())?;
    let from = stage.path().join("lib/modules").join(&kernel.release);
    add_folder(
        entries,
        &from,
        &format!("usr/lib/modules/{}", kernel.release),
    )
}

fn add_folder(entries: &mut Entries, from: &Path, to: &str) -> Result<()> {
    for name in rooted::names(from)? {
        let (path, to) = (from.join(&name), format!("{to}/{name}"));
        if path.is_dir() {
            add_folder(entries, &path, &to)?;
        } else {
            let data = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            entries.insert(to, Entry::File { mode: 0o644, data });
        }
    }
    Ok(())
}

/// Adds a file of the tree, with the links that lead to it.
fn add(entries: &mut Entries, root: &Path, path: &Path) -> Result<()> {
    let found = rooted::resolve(root, path)?
        .with_context(|| format!("the tree has no {}", path.display()))?;
    for (at, target) in found.links {
        entries.insert(text(&at)?, Entry::Link(text(&target)?));
    }
    let from = root.join(&found.path);
    let data = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
    let mode = fs::metadata(&from).with_context(|| format!("reading {}", from.display()))?;
    // A program that is setuid in the tree has no reason to be so here.
    let mode = mode.permissions().mode() & 0o755;
    entries.insert(text(&found.path)?, Entry::File { mode, data });
    Ok(())
}

fn file(mode: u32, data: impl Into<Vec<u8>>) -> Entry {
    Entry::File {
        mode,
        data: data.into(),
    }
}

fn text(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
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
