//! What is composed, looked at without booting it.

use std::ffi::OsStr;
use std::fs;

use anyhow::{Context, Result, ensure};
use edge_build::tree::initramfs::{self, Drivers};
use edge_build::tree::kernel;
use edge_ota::cmd::Cmd;
use qemu_tests::hardware;
use qemu_tests::lab::{self, Lab};
use qemu_tests::site;

/// From nothing, in other folders: by the mirrors, by a lock on a single processor, and by the lock without a network.
#[test]
fn a_tree_composed_again_is_the_same_commit() -> Result<()> {
    let lab = Lab::open(&site::board_under_test())?;
    let dir = tempfile::tempdir_in(&lab.runs)?;
    let workspace = lab::workspace()?;
    let tree = dir.path().join("tree");
    let treefile = lab::write_treefile(&workspace.join("treefiles"), &tree, &lab.ssh_key)?;
    let architecture = hardware::board(&lab.site.board)?.arch.debian;
    let updater = lab::updater_package(&workspace, &architecture)?;
    let run = |wrapper: &[&str], command: &str, arguments: &[&OsStr]| {
        let (program, options) = wrapper.split_first().context("no wrapper")?;
        Cmd::new(program)
            .args(options)
            .arg(&lab.site.builder)
            .arg(command)
            .arg(&treefile)
            .args(["--board", &lab.site.board, "--deb"])
            .arg(&updater)
            .args(lab::mirror_arguments(&architecture))
            .args(arguments)
            .current_dir(&workspace)
            .env("SOURCE_DATE_EPOCH", "1790000000")
            .text()
    };
    let compose = |name: &str, wrapper: &[&str], how: &[&OsStr]| {
        let repo = dir.path().join(name).join("repo");
        let keys = lab.site.keys.as_os_str();
        let where_to = ["--repo".as_ref(), repo.as_os_str(), "--keys".as_ref(), keys];
        run(wrapper, "compose", &[&where_to, how].concat())
    };
    let lock = dir.path().join("node.lock.json");
    run(&["env"], "lock", &["--out".as_ref(), lock.as_ref()])?;
    run(
        &["env"],
        "lock",
        &["--check".as_ref(), "--out".as_ref(), lock.as_ref()],
    )?;
    let locked: [&OsStr; 3] = ["--no-cache".as_ref(), "--locked".as_ref(), lock.as_ref()];
    let one = ["taskset", "--cpu-list", "0"];
    let first = compose("first", &["env"], &["--no-cache".as_ref()])?;
    let second = compose("second", &one, &locked)?;
    let third = compose("third", &["unshare", "--net"], &locked)?;
    ensure!(
        first == second && second == third,
        "{}, locked {}, without a network {}",
        first.trim(),
        second.trim(),
        third.trim()
    );
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
