//! How a BIOS starts the medium: by El Torito from an optical drive, by the boot code in its first sector from a stick.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;

use super::{ELTORITO, put, script};

/// In the order in which GRUB loads them: what the menu and the medium need.
const MODULES: [&str; 16] = [
    "biosdisk",
    "iso9660",
    "part_msdos",
    "part_gpt",
    "search",
    "search_label",
    "normal",
    "configfile",
    "linux",
    "gzio",
    "serial",
    "terminal",
    "test",
    "echo",
    "all_video",
    "reboot",
];
/// Patched by xorriso with where the core lies.
const HYBRID: &str = "boot_hybrid.img";

/// GRUB with all it needs in it.
pub fn core(grub: &Path, label: &str, dir: &Path) -> Result<PathBuf> {
    ensure!(
        grub.join(HYBRID).is_file(),
        "{} holds no {HYBRID}: install grub-pc-bin and grub-common",
        grub.display()
    );
    let early = put(dir, "early.cfg", script::finder(label))?;
    let core = dir.join("eltorito.img");
    Cmd::new("grub-mkimage")
        .args(["-O", "i386-pc-eltorito", "-p", "/boot/grub", "-d"])
        .arg(grub)
        .arg("-c")
        .arg(early)
        .arg("-o")
        .arg(&core)
        .args(MODULES)
        .run()
        .context("making GRUB for BIOS")?;
    Ok(core)
}

pub fn arguments(grub: &Path) -> Vec<String> {
    let hybrid = grub.join(HYBRID).display().to_string();
    let path = ELTORITO.trim_start_matches('/');
    // Some BIOSes start no stick without a partition that is marked as bootable.
    [
        "--grub2-mbr",
        &hybrid,
        "--mbr-force-bootable",
        "-b",
        path,
        "-no-emul-boot",
        "-boot-load-size",
        "4",
        "-boot-info-table",
        "--grub2-boot-info",
        "-eltorito-alt-boot",
    ]
    .map(str::to_owned)
    .to_vec()
}
