//! libostree's list of deployments, which another installer has on a boot partition.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Copies it to where we keep it, `boot/` of the root file system; theirs stays. Theirs may be there already.
pub fn copy(boot: &Path, sysroot: &Path) -> Result<()> {
    let (from, to) = (boot.join("loader"), sysroot.join("boot"));
    if to.join("loader").symlink_metadata().is_ok() {
        return Ok(());
    }
    let current = fs::read_link(&from).with_context(|| format!("reading {}", from.display()))?;
    let entries = boot.join(&current).join("entries");
    let copy = to.join(&current).join("entries");
    fs::create_dir_all(&copy).with_context(|| format!("making {}", copy.display()))?;
    let mut copied = 0;
    for entry in fs::read_dir(&entries).with_context(|| format!("listing {}", entries.display()))? {
        let name = entry?.file_name();
        fs::copy(entries.join(&name), copy.join(&name))?;
        copied += 1;
    }
    if copied == 0 {
        bail!("{} lists no deployment", entries.display());
    }
    symlink(&current, to.join("loader"))?;
    crate::durable::sync_dir(&to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_copied_once() {
        let dir = tempfile::tempdir().unwrap();
        let (boot, root) = (dir.path().join("p"), dir.path().join("root"));
        fs::create_dir_all(boot.join("loader.1/entries")).unwrap();
        fs::create_dir_all(root.join("boot")).unwrap();
        symlink("loader.1", boot.join("loader")).unwrap();
        assert!(copy(&boot, &root).is_err());
        fs::remove_dir_all(root.join("boot/loader.1")).unwrap();
        fs::write(boot.join("loader.1/entries/ostree-1-x.conf"), "title x").unwrap();
        copy(&boot, &root).unwrap();
        copy(&boot, &root).unwrap();
        let copied = fs::read(root.join("boot/loader/entries/ostree-1-x.conf")).unwrap();
        assert_eq!(copied, b"title x");
    }
}
