//! What becomes of `/var`.

use std::fmt;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::firstboot;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Var {
    Keep,
    Wipe,
}

/// The highest sequence seen, rejected releases, the history: a reset is no way to an older release.
const KEPT: &str = "lib/edge-ota";

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Var::Keep => "/etc is the release's again, /var was kept",
            Var::Wipe => "/etc is the release's again, /var was emptied",
        })
    }
}

impl Var {
    /// May be cut and done again.
    pub fn apply(self, root: &Path) -> Result<()> {
        durable::remove(&root.join("var").join(KEPT).join(firstboot::NOTE))?;
        match self {
            Var::Keep => Ok(()),
            Var::Wipe => wipe(&root.join("var"), Path::new(KEPT)),
        }
    }
}

/// Empties a folder but for `kept` below it and for other file systems that are mounted in it.
fn wipe(dir: &Path, kept: &Path) -> Result<()> {
    let device = fs::metadata(dir)?.dev();
    let mut parts = kept.components();
    let first = parts.next();
    let listed = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in listed {
        let entry = entry?;
        match first {
            Some(name) if entry.file_name() == name.as_os_str() => match parts.as_path() {
                rest if rest.as_os_str().is_empty() => {}
                rest => wipe(&entry.path(), rest)?,
            },
            _ => remove(&entry, device)?,
        }
    }
    durable::sync_dir(dir)
}

fn remove(entry: &DirEntry, device: u64) -> Result<()> {
    let path = entry.path();
    let meta =
        fs::symlink_metadata(&path).with_context(|| format!("asking for {}", path.display()))?;
    if meta.dev() != device {
        return Ok(());
    }
    if !meta.is_dir() {
        return fs::remove_file(&path).with_context(|| format!("removing {}", path.display()));
    }
    for entry in fs::read_dir(&path).with_context(|| format!("listing {}", path.display()))? {
        remove(&entry?, device)?;
    }
    match fs::remove_dir(&path) {
        // Something is mounted in it.
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        other => other.with_context(|| format!("removing {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_updaters_own_goes() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join("var").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        let left = || {
            let mut left = Vec::new();
            let mut folders = vec![dir.path().join("var")];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    match path.is_dir() {
                        true => folders.push(path),
                        false => left.push(path.strip_prefix(dir.path()).unwrap().to_owned()),
                    }
                }
            }
            left.sort();
            left
        };
        for path in [
            "home/user/file",
            "lib/other/x",
            "lib/edge-ota/state.json",
            "lib/edge-ota/root/2.root",
            "log/a",
        ] {
            put(path);
        }
        put(&format!("lib/edge-ota/{}", firstboot::NOTE));
        Var::Keep.apply(dir.path()).unwrap();
        assert_eq!(left().len(), 5);
        for _ in 0..2 {
            Var::Wipe.apply(dir.path()).unwrap();
            assert_eq!(
                left(),
                [
                    "var/lib/edge-ota/root/2.root",
                    "var/lib/edge-ota/state.json"
                ]
                .map(std::path::PathBuf::from)
            );
        }
        assert_eq!(fs::read_dir(dir.path().join("var")).unwrap().count(), 1);
    }
}
