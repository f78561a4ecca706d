//! What a tree brings for the boot loader beside firmware: the records as they are before the first boot, and U-Boot's
//! script. They are made when the tree is composed, so that an installation needs no tool for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::{self, Layout};
use super::{filesystems, firmware, uboot};
use crate::board::BootFlavour;

/// In a tree.
pub const DIR: &str = "usr/lib/edge-ota/loader";
const TRIAL: &str = "trial.img";

/// Makes the files in a tree that has its firmware.
pub fn make(tree: &Path, flavour: BootFlavour, work: &Path, time: u64) -> Result<()> {
    let dir = tree.join(DIR);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let trial = work.join(TRIAL);
    filesystems::write_trial(&trial, work, time)?;
    let bytes = fs::read(&trial).with_context(|| format!("reading {}", trial.display()))?;
    put(&dir.join(TRIAL), without_zeros(&bytes))?;
    if flavour == BootFlavour::Uboot {
        let script = uboot::make_script(&layout_of(tree)?, work)?;
        let bytes = fs::read(&script).with_context(|| format!("reading {}", script.display()))?;
        put(&dir.join(uboot::SCRIPT), &bytes)?;
    }
    Ok(())
}

/// Up to where the partitions begin it is the same on a disk of any size.
fn layout_of(tree: &Path) -> Result<Layout> {
    layout::layout(layout::LEAST, "", &firmware::of_tree(tree)?)
}

/// The file system on `edge-trial`, all of it.
pub fn trial(tree: &Path) -> Result<Vec<u8>> {
    let path = tree.join(DIR).join(TRIAL);
    let mut bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    bytes.resize(layout::TRIAL_SIZE, 0);
    Ok(bytes)
}

/// U-Boot's script for the layout that the tree's firmware comes to.
pub fn script(tree: &Path) -> PathBuf {
    tree.join(DIR).join(uboot::SCRIPT)
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{BootControl, OnDisk};

    #[test]
    fn a_tree_brings_whole_records_in_few_bytes() {
        let (tree, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(tree.path(), BootFlavour::Grub, work.path(), 7).unwrap();
        let stored = fs::metadata(tree.path().join(DIR).join(TRIAL)).unwrap();
        assert!(stored.len() < 32 << 10, "{}", stored.len());
        let disk = work.path().join("disk");
        fs::write(&disk, trial(tree.path()).unwrap()).unwrap();
        assert_eq!(fs::metadata(&disk).unwrap().len(), 1 << 20);
        let boot = OnDisk::in_folder(BootFlavour::Grub, work.path(), &disk);
        assert_eq!(boot.trial().unwrap(), None);
        assert!(!script(tree.path()).exists());
    }
}
