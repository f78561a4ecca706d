//! Files of a tree on their way into an initramfs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::{Entries, Entry};
use super::kernel::Kernel;
use super::{elf, modules, rooted};

/// The folders and devices that every initramfs begins with.
pub fn skeleton() -> Entries {
    let mut entries = Entries::new();
    for dir in ["dev", "proc", "run", "sys", "tmp"] {
        entries.insert(dir.into(), Entry::Dir);
    }
    let devices = [("console", 5, 1), ("kmsg", 1, 11), ("null", 1, 3)];
    for (name, major, minor) in devices {
        entries.insert(format!("dev/{name}"), Entry::Char { major, minor });
    }
    // Some programs ask who they are and where the file systems are.
    entries.insert(
        "etc/passwd".into(),
        file(0o644, "root:x:0:0:root:/:/bin/sh\n"),
    );
    entries.insert("etc/mtab".into(), Entry::Link("../proc/self/mounts".into()));
    entries
}

/// Adds programs with the libraries they need, by the paths that lead to them.
pub fn add_programs(entries: &mut Entries, root: &Path, programs: &[&str]) -> Result<()> {
    for path in elf::closure(root, programs)? {
        add(entries, root, &path)?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        let target = rooted::resolve(root, Path::new(link))?;
        if let Some((at, target)) = target.and_then(|found| found.links.into_iter().next()) {
            entries.insert(text(&at)?, Entry::Link(text(&target)?));
        }
    }
    Ok(())
}

/// Adds kernel modules, unpacked, with an index of them.
pub fn add_modules(
    entries: &mut Entries,
    root: &Path,
    kernel: &Kernel,
    files: &BTreeSet<String>,
) -> Result<()> {
    let stage = tempfile::tempdir().context("making a temporary folder")?;
    modules::stage(root, kernel, files, stage.path())?;
    let release = &kernel.release;
    let from = stage.path().join("lib/modules").join(release);
    add_folder(entries, &from, &format!("usr/lib/modules/{release}"))
}

/// Adds the files of a folder, that of the tree or another.
pub fn add_folder(entries: &mut Entries, from: &Path, to: &str) -> Result<()> {
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
pub fn add(entries: &mut Entries, root: &Path, path: &Path) -> Result<()> {
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

pub fn file(mode: u32, data: impl Into<Vec<u8>>) -> Entry {
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
