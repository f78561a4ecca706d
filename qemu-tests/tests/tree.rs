//! What is composed, looked at without booting it.

use std::fs;

use anyhow::{Context, Result, ensure};
use edge_build::tree::initramfs::{self, Drivers};
use edge_build::tree::kernel;
use edge_ota::cmd::Cmd;
use qemu_tests::lab::Lab;
use qemu_tests::{hardware, site};

#[test]
fn the_initramfs_is_the_same_to_the_bit_when_made_again() -> Result<()> {
    let lab = Lab::open(&site::board_under_test())?;
    let board = hardware::board(&lab.site.board)?;
    let dir = tempfile::tempdir_in(&lab.runs)?;
    let root = dir.path().join("tree");
    Cmd::new("ostree")
        .args(["checkout", "--user-mode", "--repo"])
        .arg(lab.site.repo())
        .arg(lab.base.as_str())
        .arg(&root)
        .run()?;
    let kernel = kernel::find(&root)?;
    let drivers = Drivers {
        include: board.initramfs.modules.clone(),
        load: Vec::new(),
    };
    let composed = root.join(&kernel.dir).join("initramfs.img");
    let composed = fs::read(&composed).with_context(|| composed.display().to_string())?;
    ensure!(
        initramfs::build(&root, &kernel, &drivers)? == composed,
        "the initramfs made from the committed tree is another than the committed one"
    );
    Ok(())
}
