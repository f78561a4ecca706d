//! A small root file system is laid out, committed into a real repository and judged.

// The lint spares test functions but not what they call.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use edge_build::gate;
use edge_build::repo::{Kind, Repo};
use edge_build::tree::{layout, rooted};
use edge_ota::types::{CommitChecksum, RefName};
use sha2::{Digest, Sha256};

use common::{RELEASE, description, lay_out};

#[test]
fn layout_of_a_small_system() {
    let (dir, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = dir.path();
    let laid = lay_out(root, roots.path());
    assert_eq!(laid.kernel.release, RELEASE);
    assert_eq!(laid.dropped, ["/var/log/dpkg.log"]);
    let gone = [
        "etc",
        "vmlinuz",
        "usr/etc/hostname",
        "usr/etc/passwd-",
        "usr/lib/python3/__pycache__",
        "usr/etc/ssh/ssh_host_ed25519_key",
        "usr/etc/systemd/system/timers.target.wants/man-db.timer",
        "usr/lib/sysimage/dpkg/status-old",
    ];
    for path in gone {
        assert!(
            fs::symlink_metadata(root.join(path)).is_err(),
            "{path} is still there"
        );
    }
    let links = [
        ("root", "var/roothome"),
        ("home", "var/home"),
        ("usr/local", "../var/usrlocal"),
        ("media", "run/media"),
        ("ostree", "sysroot/ostree"),
        (
            "usr/lib/systemd/system/local-fs.target.requires/var.mount",
            "../var.mount",
        ),
    ];
    for (path, target) in links {
        assert_eq!(
            fs::read_link(root.join(path)).unwrap(),
            Path::new(target),
            "{path}"
        );
    }
    for empty in ["boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"] {
        assert!(
            rooted::names(&root.join(empty)).unwrap().is_empty(),
            "{empty} is not empty"
        );
    }
    assert_eq!(fs::read(root.join("usr/etc/machine-id")).unwrap(), b"");
    let shadow = fs::read_to_string(root.join("usr/etc/shadow")).unwrap();
    assert_eq!(shadow, "root:*::0:99999:7:::\n");
    assert_eq!(
        fs::read(root.join("usr/lib/modules").join(RELEASE).join("vmlinuz")).unwrap(),
        b"kernel"
    );
    let lines = fs::read_to_string(root.join("usr/lib/tmpfiles.d/edge-var.conf")).unwrap();
    assert!(lines.contains("C /var/usrlocal/bin/tool 0644"), "{lines}");
    assert!(layout::apply(root, None).is_err());
}

#[test]
fn commit_sign_and_judge() {
    let (dir, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = dir.path().join("root");
    lay_out(&root, roots.path());
    rooted::put(&root.join("usr/bin/su"), "").unwrap();
    rooted::set_mode(&root.join("usr/bin/su"), 0o4755).unwrap();

    let path = dir.path().join("repo");
    let repo = Repo::open_or_create(&path).unwrap();
    let name: RefName = "edge/13/x86_64/node".parse().unwrap();
    let first = repo
        .commit(&root, &name, &description(), &BTreeMap::new())
        .unwrap();
    gate::examine(&repo, &first, &[]).unwrap();

    let bytes = repo.commit_bytes(&first).unwrap();
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(digest, first.as_str());
    let described = repo.describe(&first).unwrap();
    assert_eq!(
        (described.version.as_str(), described.timestamp),
        ("13.1", 1_790_000_000)
    );
    assert_eq!((described.kernel_size, described.initramfs_size), (6, 7));

    assert!(repo.signatures(&first).unwrap().is_empty());
    let signatures = [vec![1u8; 64], vec![2u8; 64]];
    repo.attach_signatures(&first, &signatures).unwrap();
    assert_eq!(repo.signatures(&first).unwrap(), signatures);

    let listing = repo.list(&first).unwrap();
    assert_eq!(
        listing.get("/usr/bin/su").map(|e| (e.kind, e.mode)),
        Some((Kind::File, 0o4755))
    );
    assert_eq!(listing.get("/home").map(|e| e.kind), Some(Kind::Link));
    assert_eq!(
        repo.read(&first, "/usr/lib/edge-ota/root/1.root").unwrap(),
        b"root"
    );
    assert!(repo.read(&first, "/usr/lib/none").is_err());

    rooted::remove(&root.join("usr/bin/edge-ota")).unwrap();
    let second = repo
        .commit(&root, &name, &description(), &BTreeMap::new())
        .unwrap();
    let error = gate::examine(&repo, &second, &[]).unwrap_err().to_string();
    assert!(
        error.contains("the updater is missing (/usr/bin/edge-ota)"),
        "{error}"
    );
    assert_eq!(repo.resolve(&name).unwrap(), Some(second));
    assert!(path.join("summary").exists());
}

#[test]
fn the_same_tree_gives_the_same_commit() {
    let commit = || -> CommitChecksum {
        let (dir, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = dir.path().join("root");
        lay_out(&root, roots.path());
        let repo = Repo::open_or_create(&dir.path().join("repo")).unwrap();
        let name = "edge/13/x86_64/node".parse().unwrap();
        repo.commit(&root, &name, &description(), &BTreeMap::new())
            .unwrap()
    };
    assert_eq!(commit(), commit());
}

#[test]
fn a_commit_that_fails_leaves_the_ref() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repo::open_or_create(&dir.path().join("repo")).unwrap();
    let name: RefName = "edge/13/x86_64/node".parse().unwrap();
    rooted::put(&dir.path().join("root/usr/f"), "1").unwrap();
    let first = repo
        .commit(
            &dir.path().join("root"),
            &name,
            &description(),
            &BTreeMap::new(),
        )
        .unwrap();
    let error = repo
        .commit(
            &dir.path().join("none"),
            &name,
            &description(),
            &BTreeMap::new(),
        )
        .unwrap_err();
    assert!(format!("{error:#}").contains("none"), "{error:#}");
    assert_eq!(repo.resolve(&name).unwrap(), Some(first));
    rooted::put(&dir.path().join("root/usr/g"), "2").unwrap();
    repo.commit(
        &dir.path().join("root"),
        &name,
        &description(),
        &BTreeMap::new(),
    )
    .unwrap();
}
