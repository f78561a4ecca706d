//! Firmware that a board's ROM or its first stage looks for at a fixed place of the disk, outside of any partition.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// In a tree: files named `<bytes from the start of the disk>-<name>`.
pub const DIR: &str = "usr/lib/ostree-boot/raw";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    pub offset: u64,
    pub size: u64,
    pub path: PathBuf,
}

impl Blob {
    pub fn end(&self) -> u64 {
        self.offset + self.size
    }
}

/// The name of a blob's file in a tree.
pub fn file_name(offset: u64, path: &str) -> String {
    format!("{offset}-{}", path.rsplit('/').next().unwrap_or(path))
}

/// What a tree brings, in the order of the disk.
pub fn of_tree(tree: &Path) -> Result<Vec<Blob>> {
    let dir = tree.join(DIR);
    let mut blobs = Vec::new();
    if !dir.is_dir() {
        return Ok(blobs);
    }
    for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let offset = name.and_then(|name| name.split_once('-')?.0.parse().ok());
        let Some(offset) = offset else {
            bail!("{} is not named <offset>-<name>", path.display());
        };
        let meta = fs::metadata(&path).with_context(|| format!("asking for {}", path.display()))?;
        blobs.push(Blob {
            offset,
            size: meta.len(),
            path,
        });
    }
    blobs.sort();
    for (one, next) in blobs.iter().zip(blobs.iter().skip(1)) {
        if one.end() > next.offset {
            bail!(
                "{} reaches into {}",
                one.path.display(),
                next.path.display()
            );
        }
    }
    Ok(blobs)
}

/// What machines look for first comes last, for it leads to the others.
pub fn write(disk: &Path, blobs: &[Blob]) -> Result<()> {
    for blob in blobs.iter().rev() {
        let bytes =
            fs::read(&blob.path).with_context(|| format!("reading {}", blob.path.display()))?;
        crate::durable::overwrite(disk, blob.offset, &bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(u64, &str, usize)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(DIR)).unwrap();
        for (offset, path, size) in files {
            let file = dir.path().join(DIR).join(file_name(*offset, path));
            fs::write(file, vec![7; *size]).unwrap();
        }
        dir
    }

    #[test]
    fn blobs_come_in_the_order_of_the_disk() {
        let dir = tree(&[(393_216, "a/u-boot.img", 9), (131_072, "a/MLO", 5)]);
        let blobs = of_tree(dir.path()).unwrap();
        let ends: Vec<u64> = blobs.iter().map(Blob::end).collect();
        assert_eq!(ends, [131_077, 393_225]);
        let disk = dir.path().join("disk");
        fs::write(&disk, vec![0; 400_000]).unwrap();
        write(&disk, &blobs).unwrap();
        let bytes = fs::read(&disk).unwrap();
        assert_eq!(bytes.iter().filter(|byte| **byte == 7).count(), 14);
        assert_eq!((bytes[131_072], bytes[393_224], bytes[393_225]), (7, 7, 0));
        assert!(of_tree(&dir.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn overlaps_and_odd_names_are_refused() {
        let dir = tree(&[(8192, "spl", 5000), (10_000, "u-boot.img", 1)]);
        let error = of_tree(dir.path()).unwrap_err().to_string();
        assert!(error.contains("8192-spl reaches into"), "{error}");
        let dir = tree(&[]);
        fs::write(dir.path().join(DIR).join("MLO"), "").unwrap();
        assert!(of_tree(dir.path()).is_err());
    }
}
