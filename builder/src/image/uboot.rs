//! U-Boot's script on an image: one FIT image, on the FAT partition and again on `edge-boot`, where U-Boot finds it
//! when the first is damaged.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_ota::boot::uboot;
use edge_ota::cmd::Cmd;

use super::filesystems::{mtools, mtools_image};
use super::layout::{Layout, Partition};

/// The name that U-Boot looks for, in the folder `/` of either file system.
pub const SCRIPT: &str = "boot.scr";

const SECTOR: u64 = 512;

/// Makes the script of this layout in `work`. Legacy script images are refused by many builds, hence a FIT image.
pub fn make_script(layout: &Layout, work: &Path) -> Result<PathBuf> {
    let put = |name: &str, text: String| {
        std::fs::write(work.join(name), text)
            .with_context(|| format!("writing {name} in {}", work.display()))
    };
    put("boot.cmd", uboot::script(layout.trial.start / SECTOR))?;
    put("boot.its", uboot::fit_source("boot.cmd"))?;
    Cmd::new("mkimage")
        .args(["-f", "boot.its", SCRIPT])
        .current_dir(work)
        // The same release makes the same image.
        .env("SOURCE_DATE_EPOCH", "1")
        .run()?;
    Ok(work.join(SCRIPT))
}

/// A FAT file system with nothing but the script: U-Boot prefers an `EFI` folder, and would take an `uboot.env` for
/// its own environment.
pub fn write_fat(disk: &Path, partition: &Partition, script: &Path, time: u64) -> Result<()> {
    let image = mtools_image(disk, partition);
    let id = partition.uuid.get(..8).unwrap_or("0");
    mtools("mformat", time)
        .args([
            "-F", "-h", "64", "-s", "32", "-c", "1", "-v", "UBOOT", "-N", id,
        ])
        .args(["-T", &(partition.size / SECTOR).to_string(), "-i", &image])
        .arg("::")
        .run()?;
    mtools("mcopy", time)
        .args(["-i", &image])
        .arg(script)
        .arg("::")
        .run()
}
