//! What is composed, looked at without booting it.

use std::fs;

use anyhow::{Context, Result, ensure};
use edge_build::tree::initramfs::{self, Drivers};
use edge_build::tree::kernel;
use edge_ota::cmd::Cmd;
use qemu_tests::hardware;
use qemu_tests::lab::{self, Lab};
use qemu_tests::site::{self, Site};

/// From nothing, in other folders, and once with a single processor.
#[test]
fn a_tree_composed_twice_is_the_same_commit() -> Result<()> {
    let lab = Lab::open(&site::board_under_test())?;
    let dir = tempfile::tempdir_in(&lab.runs)?;
    let treefiles = lab::workspace()?.join("treefiles");
    let treefile = lab::write_treefile(&treefiles, &dir.path().join("tree"), &lab.ssh_key)?;
    let board = hardware::board(&lab.site.board)?;
    let compose = |name: &str, processors: &str| {
        let site = Site {
            board: lab.site.board.clone(),
            dir: dir.path().join(name),
            keys: lab.site.keys.clone(),
            builder: lab.site.builder.clone(),
        };
        Cmd::new("taskset")
            .args(["--cpu-list", processors])
            .arg(&site.builder)
            .current_dir(lab::workspace()?)
            .args(["compose", "--no-cache", "--board", &site.board, "--repo"])
            .arg(site.repo())
            .arg("--keys")
            .arg(&site.keys)
            .arg("--deb")
            .arg(lab::updater_package(
                &lab::workspace()?,
                &board.arch.debian,
            )?)
            .args(lab::mirror_arguments(&board.arch.debian))
            .arg(&treefile)
            .env("SOURCE_DATE_EPOCH", "1790000000")
            .text()
    };
    let all = format!("0-{}", std::thread::available_parallelism()?.get() - 1);
    let (first, second) = (compose("first", &all)?, compose("second", "0")?);
    ensure!(first == second, "{} and {}", first.trim(), second.trim());
    Ok(())
}

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
