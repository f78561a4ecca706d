//! What is composed, looked at without booting it.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Error, Result, ensure};
use edge_build::tree::initramfs::{self, Drivers};
use edge_build::tree::kernel;
use edge_ota::cmd::Cmd;
use qemu_tests::hardware;
use qemu_tests::lab::{self, Lab};
use qemu_tests::site;

/// From nothing, in other folders: by the mirrors, then by the lock on a single processor without a network. What comes
/// out another way is named with the step that made it.
#[test]
fn a_tree_composed_again_is_the_same_commit() -> Result<()> {
    let lab = Lab::open(&site::board_under_test())?;
    let dir = tempfile::tempdir_in(&lab.runs)?;
    let workspace = lab::workspace()?;
    let tree = dir.path().join("tree");
    let treefile = lab::write_treefile(&workspace.join("treefiles"), &tree, &lab.ssh_key)?;
    let architecture = hardware::board(&lab.site.board)?.arch.debian;
    let updater = lab::updater_package(&workspace, &architecture)?;
    let (repo, lock) = (dir.path().join("repo"), dir.path().join("node.lock.json"));
    let run = |wrapper: &[&str], arguments: &[&OsStr]| {
        let mut printed = String::new();
        let (program, options) = wrapper.split_first().context("no wrapper")?;
        let done = Cmd::new(program)
            .args(options)
            .arg(&lab.site.builder)
            .args(arguments)
            .arg("--deb")
            .arg(&updater)
            .args(lab::mirror_arguments(&architecture))
            .current_dir(&workspace)
            .env("SOURCE_DATE_EPOCH", "1790000000")
            .run_with(|mut out| Ok(out.read_to_string(&mut printed)?), |_| {});
        Ok::<_, Error>((printed, done.map(drop)))
    };
    let board: [&OsStr; 2] = ["--board".as_ref(), lab.site.board.as_ref()];
    let stores: [&OsStr; 4] = [
        "--repo".as_ref(),
        repo.as_ref(),
        "--keys".as_ref(),
        lab.site.keys.as_ref(),
    ];
    let lock_with = |how: &str| {
        let command: [&OsStr; 5] = [
            "lock".as_ref(),
            treefile.as_ref(),
            "--out".as_ref(),
            lock.as_ref(),
            how.as_ref(),
        ];
        run(&["env"], &[&command[..], &board].concat())?.1
    };
    lock_with("--download")?;
    lock_with("--check")?;

    let command: [&OsStr; 3] = ["compose".as_ref(), treefile.as_ref(), "--no-cache".as_ref()];
    let (first, done) = run(&["env"], &[&command[..], &board, &stores].concat())?;
    done?;
    let elsewhere = ["unshare", "--net", "taskset", "--cpu-list", "0"];
    let verify = |treefile: &Path| {
        let command: [&OsStr; 6] = [
            "verify".as_ref(),
            first.trim().as_ref(),
            "--treefile".as_ref(),
            treefile.as_ref(),
            "--locked".as_ref(),
            lock.as_ref(),
        ];
        run(&elsewhere, &[&command[..], &stores].concat())
    };
    let (printed, done) = verify(&treefile)?;
    ensure!(printed == "identical\n", "{printed}");
    done?;

    let other = tree.join("other.yaml");
    fs::write(
        &other,
        "include: test-node.yaml\nedge: {sysctls: {vm.swappiness: 7}}\n",
    )?;
    let (printed, done) = verify(&other)?;
    let (_, files) = printed.split_once("files:\n").context("no file differs")?;
    ensure!(
        files == "  /usr/lib/sysctl.d/60-edge.conf: content (edge.sysctls)\n",
        "{printed}"
    );
    ensure!(done.is_err(), "another tree is no error");
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

/// `$1` is a folder of the user's; the rest is run by the user, who has ids to give away.
const AS_USER: &str = r#"
user=4242
{ cat /etc/passwd; echo "edge-test:x:$user:$user::$1:/bin/sh"; } > "$1/passwd"
{ cat /etc/group; echo "edge-test:x:$user:"; } > "$1/group"
echo "edge-test:600000:65536" | tee "$1/subuid" > "$1/subgid"
for name in passwd group subuid subgid; do
    mount --bind "$1/$name" "/etc/$name"
done
chown -R "$user:$user" "$1"
cd "$1"
export HOME="$1"
shift
exec setpriv --reuid=$user --regid=$user --clear-groups "$@"
"#;

#[test]
fn a_user_composes_the_same_commit_as_root() -> Result<()> {
    let lab = Lab::open(&site::board_under_test())?;
    let workspace = lab::workspace()?;
    // Not below folders that only root may enter.
    let dir = tempfile::tempdir()?;
    let treefiles = dir.path().join("treefiles");
    let copy = |from: &std::path::Path, name: &str| {
        Cmd::new("cp")
            .arg("-r")
            .arg(from)
            .arg(dir.path().join(name))
            .run()
    };
    let architecture = hardware::board(&lab.site.board)?.arch.debian;
    copy(&workspace.join("boards"), "boards")?;
    copy(&workspace.join("treefiles"), "treefiles")?;
    copy(&lab.site.builder, "edge-build")?;
    copy(&lab.site.keys, "keys")?;
    copy(
        &lab::updater_package(&workspace, &architecture)?,
        "updater.deb",
    )?;
    lab::write_treefile(&treefiles, &dir.path().join("tree"), &lab.ssh_key)?;
    let compose = |repo: &str, wrapper: &[&OsStr]| {
        let (program, options) = wrapper.split_first().context("no wrapper")?;
        Cmd::new(program)
            .args(options)
            .args([
                "./edge-build",
                "compose",
                "--board",
                &lab.site.board,
                "--repo",
                repo,
            ])
            .args([
                "--keys",
                "keys",
                "--deb",
                "updater.deb",
                "tree/test-node.yaml",
            ])
            .args(lab::mirror_arguments(&architecture))
            .current_dir(dir.path())
            .env("SOURCE_DATE_EPOCH", "1790000000")
            .text()
    };
    let by_root = compose("root/repo", &["env".as_ref()])?;
    let as_user: [&OsStr; 6] = [
        "unshare".as_ref(),
        "--mount".as_ref(),
        "sh".as_ref(),
        "-euc".as_ref(),
        AS_USER.as_ref(),
        "sh".as_ref(),
    ];
    let by_user = compose(
        "user/repo",
        &[&as_user[..], &[dir.path().as_os_str()]].concat(),
    )?;
    ensure!(
        by_root == by_user,
        "{} by root, {} by a user",
        by_root.trim(),
        by_user.trim()
    );
    Ok(())
}
