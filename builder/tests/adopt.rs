//! A sysroot that `ostree admin` made, with its list of deployments on a boot partition, becomes slot a.

// The lint spares test functions but not what they call.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use edge_build::repo::Repo;
use edge_ota::adopt::list;
use edge_ota::boot::fake::{Booted, Fake};
use edge_ota::boot::{BootControl, SlotFile};
use edge_ota::cmd::Cmd;
use edge_ota::install;
use edge_ota::sysroot::Sysroot;
use edge_ota::types::{CommitChecksum, Slot};

/// The root file system and the boot partition of another installer, with this stateroot.
fn stock(dir: &Path, stateroot: &str) -> (PathBuf, PathBuf, CommitChecksum) {
    let tree = dir.join("tree");
    common::lay_out(&tree, &dir.join("roots"));
    let repo = Repo::open_or_create(&dir.join("repo")).unwrap();
    let name = "edge/13/x86_64/node".parse().unwrap();
    let commit = repo
        .commit(&tree, &name, &common::description(), &BTreeMap::new())
        .unwrap();
    let (root, boot) = (dir.join("sysroot"), dir.join("boot"));
    fs::create_dir(&root).unwrap();
    let ostree = |args: &[&str]| {
        let ostree = Cmd::new("ostree").env("OSTREE_SYSROOT_DEBUG", "mutable-deployments");
        ostree.args(args)
    };
    let sysroot = format!("--sysroot={}", root.display());
    let os = format!("--os={stateroot}");
    ostree(&["admin", "init-fs"]).arg(&root).run().unwrap();
    ostree(&["admin", "os-init", &sysroot, stateroot])
        .run()
        .unwrap();
    let into = format!("--repo={}", root.join("ostree/repo").display());
    let pull = ostree(&[&into, "pull-local"]).arg(dir.join("repo"));
    pull.arg(commit.as_str()).run().unwrap();
    let deploy = ["admin", "deploy", &sysroot, &os, commit.as_str()];
    ostree(&deploy).run().unwrap();
    fs::rename(root.join("boot"), &boot).unwrap();
    fs::create_dir(root.join("boot")).unwrap();
    let theirs = root.join("ostree/deploy").join(stateroot).join("deploy");
    fs::write(theirs.join(format!("{commit}.0/etc/hostname")), "mine").unwrap();
    (root, boot, commit)
}

fn adopt(root: &Path, boot: &Path, loader: &mut Fake) -> SlotFile {
    list::copy(boot, root).unwrap();
    let sysroot = Sysroot::open(root).unwrap();
    let theirs = sysroot.theirs().unwrap();
    sysroot.claim().unwrap();
    let deployment = match sysroot.slot_deployment(Slot::A).unwrap() {
        Some(there) => there,
        None => {
            let new = sysroot.deploy_theirs(&theirs[0]).unwrap();
            sysroot.link_slot(Slot::A, &new.id).unwrap();
            new
        }
    };
    install::restore_bootable(&sysroot, loader, Slot::A, &deployment).unwrap();
    loader.set_default(Slot::A).unwrap();
    install::verified_slot(&sysroot, loader, Slot::A).unwrap()
}

#[test]
fn a_stock_deployment_becomes_slot_a_and_can_still_be_booted() {
    for stateroot in ["stock", "edge"] {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let (root, boot, commit) = stock(dir.path(), stateroot);
        let theirs = fs::read_link(root.join("ostree/boot.1")).unwrap();
        let mut loader = Fake::default();
        let file = adopt(&root, &boot, &mut loader);
        assert_eq!(adopt(&root, &boot, &mut loader), file);
        assert_eq!(loader.power_on(), Booted::Default(Slot::A));
        assert_eq!(file.commit, commit);

        let sysroot = Sysroot::open(&root).unwrap();
        let ours = sysroot.deployment_dir(&file.deployment);
        assert_eq!(
            fs::read_to_string(ours.join("etc/hostname")).unwrap(),
            "mine"
        );
        assert_eq!(sysroot.theirs().unwrap().len(), 2);
        // What the old loader names leads to the old deployment yet.
        assert_eq!(fs::read_link(root.join("ostree/boot.1")).unwrap(), theirs);
        let old = root.join("ostree/boot.1").join(stateroot);
        let named = fs::read_dir(old).unwrap().next().unwrap().unwrap().path();
        let old = fs::canonicalize(named.join("0")).unwrap();
        assert!(
            old.ends_with(format!("{stateroot}/deploy/{commit}.0")),
            "{}",
            old.display()
        );
        assert!(boot.join("loader/entries").is_dir());
    }
}
