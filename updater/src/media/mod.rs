//! What a disk of ours holds before its first boot: the partitions, firmware beside them, and file systems. Images and
//! installations onto a device are made by the same code.

pub mod filesystems;
pub mod firmware;
pub mod layout;
pub mod loader;
pub mod uboot;

use std::path::Path;

use anyhow::Result;

use crate::cmd::Cmd;
use layout::{Layout, Partition};

/// Where the content of a partition is written: in an image at its start, on a device to the partition's own file.
pub struct Place<'a> {
    pub partition: &'a Partition,
    pub file: &'a Path,
    /// Bytes from the start of the file.
    pub start: u64,
}

impl<'a> Place<'a> {
    pub fn in_image(image: &'a Path, partition: &'a Partition) -> Self {
        Self {
            partition,
            file: image,
            start: partition.start,
        }
    }

    pub fn on_device(device: &'a Path, partition: &'a Partition) -> Self {
        Self {
            partition,
            file: device,
            start: 0,
        }
    }

    /// As mtools wants it after `-i`.
    fn for_mtools(&self) -> String {
        format!("{}@@{}", self.file.display(), self.start)
    }

    /// As debugfs and dumpe2fs want it.
    pub fn for_e2fs(&self) -> String {
        format!("{}?offset={}", self.file.display(), self.start)
    }

    /// The serial number of a FAT file system, in hexadecimal.
    fn fat_id(&self) -> &str {
        self.partition.uuid.get(..8).unwrap_or("0")
    }
}

/// Writes the partition table. The disk is an image or a device.
pub fn partition(disk: &Path, layout: &Layout) -> Result<()> {
    Cmd::new("sfdisk")
        .args(["--quiet", "--wipe", "always", "--wipe-partitions", "always"])
        .arg(disk)
        .output_with_input(layout.sfdisk_script().into_bytes())
        .map(drop)
}
