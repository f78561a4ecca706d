//! U-Boot's script on a disk: one FIT image, on the FAT partition and again on `edge-boot`, where U-Boot finds it
//! when the first is damaged.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Place;
use super::filesystems::{format_fat, mtools};
use super::layout::Layout;
use crate::boot::uboot;
use crate::cmd::Cmd;

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
pub fn write_fat(place: &Place, script: &Path, time: u64) -> Result<()> {
    format_fat(place, "UBOOT", time)?;
    let image = place.for_mtools();
    mtools("mcopy", time)
        .args(["-i", &image])
        .arg(script)
        .arg("::")
        .run()
}
