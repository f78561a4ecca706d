//! U-Boot's script on an image: one FIT image, twice on the FAT partition that U-Boot looks at first.

use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::boot::uboot;
use edge_ota::cmd::Cmd;

use super::filesystems::mtools_image;
use super::layout::Layout;

const SECTOR: u64 = 512;

/// Makes the FAT file system with nothing but the script: U-Boot prefers an `EFI` folder there, and would take an
/// `uboot.env` for its own environment.
pub fn write_script(disk: &Path, layout: &Layout, work: &Path) -> Result<()> {
    let image = make_script(layout.trial.start / SECTOR, work)?;
    let fat = mtools_image(disk, &layout.esp);
    let id = layout.esp.uuid.get(..8).unwrap_or("0");
    Cmd::new("mformat")
        .args([
            "-F", "-h", "64", "-s", "32", "-c", "1", "-v", "UBOOT", "-N", id,
        ])
        .args(["-T", &(layout.esp.size / SECTOR).to_string(), "-i", &fat])
        .arg("::")
        .run()?;
    Cmd::new("mmd").args(["-i", &fat, "::boot"]).run()?;
    // The second is found when the first is damaged.
    ["::boot.scr", "::boot/boot.scr"]
        .into_iter()
        .try_for_each(|to| {
            Cmd::new("mcopy")
                .args(["-i", &fat])
                .arg(&image)
                .arg(to)
                .run()
        })
}

/// Legacy script images are refused by many builds, hence a FIT image.
fn make_script(trial_start: u64, work: &Path) -> Result<std::path::PathBuf> {
    let put = |name: &str, text: String| -> Result<std::path::PathBuf> {
        let path = work.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    let script = put("boot.cmd", uboot::script(trial_start))?;
    let source = put("boot.its", uboot::fit_source(&script.to_string_lossy()))?;
    let image = work.join("boot.scr");
    Cmd::new("mkimage")
        .arg("-f")
        .arg(source)
        .arg(&image)
        // The same release makes the same image.
        .env("SOURCE_DATE_EPOCH", "1")
        .run()?;
    Ok(image)
}
