//! From a commit for a U-Boot board to a machine that boots its image: kernel, initramfs, device tree and
//! arguments are those of the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use edge_build::image::{self, Format};
use edge_build::interrupt::WorkDir;
use edge_build::progress::Progress;
use edge_build::repo::{Description, Repo};
use edge_build::{key, sign};
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::uboot::{Cpu, Machine, device_tree};
use qemu_tests::wait;

const BOARD: &str =
    r#"{"board":"armhf","boot":"uboot","kargs":["console=ttyAMA0"],"fdt":"vendor/board.dtb"}"#;
const INITRAMFS: &str = "edge-initramfs=of the tree\0";

#[test]
fn uboot_boots_an_image() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    let dir = tempfile::tempdir()?;
    let keys = dir.path().join("keys");
    key::generate(&keys, &mut key::system_random)?;
    let tree = dir.path().join("tree");
    lay_out(&machine, &tree)?;
    let commit = publish(&tree, dir.path(), &keys)?;
    let disk = image(&commit, &keys, dir.path(), "first.raw")?;
    // In another second, and of other inodes.
    let second = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    wait::until("next second", Duration::from_secs(5), || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok((now > second).then_some(()))
    })?;
    let again = image(&commit, &keys, dir.path(), "second.raw")?;
    assert!(
        fs::read(&disk)? == fs::read(&again)?,
        "the same release made another image"
    );
    let outcome = machine.power_on_disk(&disk)?;
    let booted = outcome.booted.context(outcome.console)?;
    assert_eq!(booted.slot(), Some(Slot::A));
    assert_eq!(
        (booted.kernel.as_str(), booted.initramfs.as_str()),
        ("of the tree", "of the tree")
    );
    assert_eq!(booted.tree.as_deref(), Some("of the tree"));
    assert_eq!(booted.value("console"), Some("ttyAMA0"));
    Ok(())
}

fn image(commit: &CommitChecksum, keys: &Path, dir: &Path, name: &str) -> Result<PathBuf> {
    let out = dir.join(name);
    let request = image::Request {
        board: &"armhf".parse()?,
        served: &dir.join("served"),
        keys,
        commit,
        source: None,
        etc: &[],
        format: Format::Raw,
        var: None,
        size: 1 << 30,
        out: &out,
        work: &WorkDir::new_in(dir)?,
    };
    image::make(&request, &Progress::plain("image"))?;
    Ok(out)
}

/// As much of a tree as an installation looks at.
fn lay_out(machine: &Machine, tree: &Path) -> Result<()> {
    let put = |path: &str, bytes: &[u8]| -> Result<()> {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    let fdt = device_tree("of the tree", machine.work_dir())?;
    put(
        "usr/lib/modules/6.12/vmlinuz",
        &machine.kernel("of the tree")?,
    )?;
    put("usr/lib/modules/6.12/initramfs.img", INITRAMFS.as_bytes())?;
    put("usr/lib/modules/6.12/dtb/vendor/board.dtb", &fdt)?;
    put("usr/lib/edge-ota/board.json", BOARD.as_bytes())?;
    put("usr/lib/os-release", b"ID=debian\n")?;
    put("usr/etc/hostname", b"edge\n")
}

fn publish(tree: &Path, dir: &Path, keys: &Path) -> Result<CommitChecksum> {
    let path = dir.join("served/repo");
    fs::create_dir_all(dir.join("served"))?;
    let repo = Repo::open_or_create(&path)?;
    let description = Description {
        version: "1".into(),
        board: "armhf".parse()?,
        kernel: "6.12".into(),
        kernel_size: 0x200,
        initramfs_size: INITRAMFS.len() as u64,
        timestamp: 1_790_000_000,
    };
    let name = "edge/13/armhf/node".parse()?;
    let commit = repo.commit(tree, &name, &description, &BTreeMap::new())?;
    let signer = key::load_secret(&key::secret_path(keys, "commit"))?;
    let signature = sign::sign_commit(&repo.commit_bytes(&commit)?, &signer);
    repo.attach_signatures(&commit, &[signature.to_vec()])?;
    Ok(commit)
}
