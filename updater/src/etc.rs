//! Whether `/etc` is still what it was: a digest of names, kinds, owners, modes, sizes and times.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::boot::records::hex;

/// Content is not read: a change that keeps size, time and inode is no edit.
pub fn fingerprint(root: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    walk(&root.join("etc"), &mut hash)?;
    Ok(hex(&hash.finalize()))
}

fn walk(dir: &Path, hash: &mut Sha256) -> Result<()> {
    let mut names = fs::read_dir(dir)
        .and_then(|entries| {
            entries
                .map(|e| e.map(|e| e.file_name()))
                .collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("listing {}", dir.display()))?;
    names.sort();
    for name in names {
        let path = dir.join(name);
        let meta = fs::symlink_metadata(&path)
            .with_context(|| format!("asking for {}", path.display()))?;
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(describe(&meta));
        if meta.is_symlink() {
            let target =
                fs::read_link(&path).with_context(|| format!("reading {}", path.display()))?;
            hash.update(target.as_os_str().as_encoded_bytes());
        }
        if meta.is_dir() {
            walk(&path, hash)?;
        }
    }
    Ok(())
}

fn describe(meta: &Metadata) -> String {
    let mode = meta.permissions().mode();
    let owner = (meta.uid(), meta.gid());
    match meta.is_file() {
        true => format!(
            "\0{mode:o} {owner:?} {} {} {}\0",
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec()
        ),
        false => format!("\0{mode:o} {owner:?}\0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_shows() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir_all(etc.join("sub")).unwrap();
        fs::write(etc.join("sub/file"), "one").unwrap();
        let mut seen = vec![fingerprint(dir.path()).unwrap()];
        assert_eq!(fingerprint(dir.path()).unwrap(), seen[0]);
        let edits: [fn(&Path); 4] = [
            |etc| fs::write(etc.join("sub/file"), "four").unwrap(),
            |etc| {
                fs::set_permissions(etc.join("sub/file"), fs::Permissions::from_mode(0o600))
                    .unwrap()
            },
            |etc| fs::remove_file(etc.join("sub/file")).unwrap(),
            |etc| fs::create_dir(etc.join("sub/file")).unwrap(),
        ];
        for edit in edits {
            edit(&etc);
            let now = fingerprint(dir.path()).unwrap();
            assert!(!seen.contains(&now));
            seen.push(now);
        }
    }
}
