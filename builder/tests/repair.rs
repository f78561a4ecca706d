//! Damage done to a real sysroot with two slots, and what `edge-ota repair` makes of it.

// The lint spares test functions but not what they call.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use edge_build::repo::{Description, Repo};
use edge_build::tree::rooted;
use edge_ota::boot::BootControl;
use edge_ota::boot::fake::Fake;
use edge_ota::cmd::Cmd;
use edge_ota::exit::Stop;
use edge_ota::fetch::{Limits, Location};
use edge_ota::install::{self, SlotWrite};
use edge_ota::repair::{self, Kind, Outcome, Report, Supply, System};
use edge_ota::sysroot::Sysroot;
use edge_ota::types::{CommitChecksum, Slot};
use tempfile::TempDir;

const SHARED: &str = "usr/lib/os-release";

struct Node {
    dir: TempDir,
    sysroot: Sysroot,
    boot: Fake,
    commits: Vec<CommitChecksum>,
}

impl Node {
    /// Both slots hold releases that differ in one file; slot b is the default and runs.
    fn with_two_slots() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let commits = publish(dir.path());
        let root = dir.path().join("sysroot");
        fs::create_dir(&root).unwrap();
        let mut node = Self {
            sysroot: Sysroot::create(&root).unwrap(),
            boot: Fake::default(),
            commits,
            dir,
        };
        node.write(Slot::A, 0, &[]);
        let running = node.deployment(Slot::A);
        node.write(Slot::B, 1, &[running]);
        node.boot.set_default(Slot::B).unwrap();
        node
    }

    fn write(&mut self, slot: Slot, release: usize, keep: &[String]) {
        let commit = &self.commits[release];
        let repo = self.dir.path().join("served/repo");
        let raw = Repo::open(&repo).unwrap().commit_bytes(commit).unwrap();
        self.sysroot.import_commit(commit, &raw, &[]).unwrap();
        let url = format!("file://{}", repo.display());
        self.sysroot.pull_content(&url, commit, |_| {}).unwrap();
        let write = SlotWrite {
            slot,
            commit,
            merge: None,
            keep,
        };
        install::write_slot(&self.sysroot, &mut self.boot, &write).unwrap();
    }

    fn deployment(&self, slot: Slot) -> String {
        self.sysroot.slot_deployment(slot).unwrap().unwrap().id
    }

    fn file(&self, slot: Slot, path: &str) -> PathBuf {
        let deployment = self.deployment(slot);
        self.sysroot.deployment_dir(&deployment).join(path)
    }

    /// The object file that a file of a deployment is.
    fn object_of(&self, path: &Path) -> PathBuf {
        let inode = fs::metadata(path).unwrap().ino().to_string();
        let objects = self.dir.path().join("sysroot/ostree/repo/objects");
        let found = Cmd::new("find").arg(objects).args(["-inum", &inode]);
        PathBuf::from(found.text().unwrap().trim())
    }

    fn objects(&self, ending: &str) -> Vec<PathBuf> {
        let objects = self.dir.path().join("sysroot/ostree/repo/objects");
        let found = Cmd::new("find").arg(objects).args(["-name", ending]);
        let listed = found.text().unwrap();
        listed.lines().map(PathBuf::from).collect()
    }

    fn system(&mut self) -> System<'_> {
        System {
            sysroot: &self.sysroot,
            boot: &mut self.boot,
            booted: Some(Slot::B),
            unwritten: None,
            esp: None,
            boot_dir: PathBuf::new(),
        }
    }

    fn check(&mut self) -> Report {
        repair::check(&mut self.system(), &|_| {}).unwrap()
    }

    fn repair(&mut self) -> Report {
        let served = self.dir.path().join("served");
        let supply = Supply::from(Ok(Location::Folder(served)), Limits::default());
        repair::repair(&mut self.system(), &supply, &|_| {}).unwrap()
    }

    /// Nothing is wrong to us, nor to libostree.
    fn is_sound(&mut self) {
        let report = self.check();
        assert!(report.findings.is_empty(), "{}", report.to_text());
        let repo = self.dir.path().join("sysroot/ostree/repo");
        let fsck = Cmd::new("ostree").args(["fsck", "--quiet", "--repo"]);
        fsck.arg(repo).run().unwrap();
    }
}

fn publish(dir: &Path) -> Vec<CommitChecksum> {
    let root = dir.join("root");
    fs::create_dir(dir.join("served")).unwrap();
    common::lay_out(&root, &dir.join("roots"));
    let repo = Repo::open_or_create(&dir.join("served/repo")).unwrap();
    let name = "edge/13/x86_64/node".parse().unwrap();
    let commit = |n: usize| {
        rooted::put(&root.join("usr/lib/release"), format!("{n}")).unwrap();
        let description = Description {
            version: format!("13.{n}"),
            ..common::description()
        };
        repo.commit(&root, &name, &description, &BTreeMap::new())
            .unwrap()
    };
    (0..2).map(commit).collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // In place, as a medium does it: every link of the file has it.
    edge_ota::durable::overwrite(path, 0, &bytes).unwrap();
}

/// libostree may have linked it from the repository it was pulled from, which shall stay good.
fn flip_alone(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    flip(path);
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_flipped_object_is_fetched_again_and_both_slots_link_the_good_one() {
    let mut node = Node::with_two_slots();
    node.is_sound();
    let files = Slot::BOTH.map(|slot| node.file(slot, SHARED));
    let good = fs::read(&files[0]).unwrap();
    assert_eq!(node.object_of(&files[0]), node.object_of(&files[1]));
    flip(&files[0]);

    let found = node.check();
    assert_eq!(kinds(&found), [Kind::Object]);
    assert!(matches!(found.verdict(), Err(Stop::Damaged(1))));
    assert_ne!(fs::read(&files[1]).unwrap(), good);

    let report = node.repair();
    assert_eq!(kinds(&report), [Kind::Object, Kind::File, Kind::File]);
    assert!(report.verdict().is_ok(), "{}", report.to_text());
    assert!(report.wants_reboot(Some(Slot::B)));
    for file in &files {
        assert_eq!(fs::read(file).unwrap(), good);
        assert!(node.object_of(file).exists());
    }
    node.is_sound();
}

#[test]
fn folders_commits_and_what_is_missing_come_back() {
    let mut node = Node::with_two_slots();
    for (ending, kind) in [
        ("*.dirtree", Kind::Folder),
        ("*.dirmeta", Kind::Folder),
        ("*.commit", Kind::Commit),
    ] {
        for object in node.objects(ending) {
            flip_alone(&object);
        }
        let report = node.repair();
        assert!(
            kinds(&report).iter().all(|k| *k == kind),
            "{}",
            report.to_text()
        );
        assert!(
            report.verdict().is_ok() && report.repaired() > 0,
            "{}",
            report.to_text()
        );
        node.is_sound();
    }
    let file = node.file(Slot::B, SHARED);
    fs::remove_file(node.object_of(&file)).unwrap();
    fs::remove_file(&file).unwrap();
    fs::remove_dir_all(node.file(Slot::A, "usr/lib/edge-ota")).unwrap();
    let report = node.repair();
    assert!(report.verdict().is_ok(), "{}", report.to_text());
    assert!(node.file(Slot::A, "usr/lib/edge-ota/board.json").is_file());
    node.is_sound();
}

#[test]
fn what_cannot_be_fetched_stays_and_is_told_and_a_bad_server_changes_nothing() {
    let mut node = Node::with_two_slots();
    let file = node.file(Slot::B, SHARED);
    let object = node.object_of(&file);
    flip(&file);
    let damaged = fs::read(&file).unwrap();
    let nowhere = Supply::from(Err(anyhow::anyhow!("no source is set")), Limits::default());
    let report = repair::repair(&mut node.system(), &nowhere, &|_| {}).unwrap();
    assert!(matches!(report.verdict(), Err(Stop::Unrepaired(1))));
    assert!(
        report.to_text().contains("no source is set"),
        "{}",
        report.to_text()
    );
    assert_eq!(
        (fs::read(&file).unwrap(), fs::read(&object).unwrap()),
        (damaged.clone(), damaged.clone())
    );
    let error = install::verified_slot(&node.sysroot, &node.boot, Slot::B).unwrap_err();
    assert!(error.to_string().contains("not whole"), "{error:#}");

    let checksum = &report.findings[0].name;
    let path = format!(
        "served/repo/objects/{}/{}.filez",
        &checksum[..2],
        &checksum[2..]
    );
    let served = node.dir.path().join(path);
    let good = fs::read(&served).unwrap();
    fs::write(&served, &good[..good.len() - 1]).unwrap();
    let report = node.repair();
    assert!(matches!(report.findings[0].outcome, Outcome::Remains(_)));
    assert_eq!(fs::read(&object).unwrap(), damaged);

    fs::write(&served, &good).unwrap();
    assert!(node.repair().verdict().is_ok());
    node.is_sound();
    install::verified_slot(&node.sysroot, &node.boot, Slot::B).unwrap();
}

#[test]
fn what_the_loader_reads_is_written_again_at_each_cut() {
    let mut node = Node::with_two_slots();
    let whole = node.boot.clone();
    let running = node.deployment(Slot::B);
    for changes in 0.. {
        node.boot = whole.clone();
        node.boot.slots.remove(&Slot::B);
        node.boot.files.remove(&running);
        node.boot.defaults[1] = None;
        node.boot.changes_left = Some(changes);
        let report = node.repair();
        node.boot.changes_left = None;
        let mut loader = node.boot.clone();
        assert!(loader.power_on().slot().is_some(), "cut after {changes}");
        let again = node.repair();
        assert!(again.verdict().is_ok(), "{}", again.to_text());
        assert_eq!(node.boot.defaults, whole.defaults);
        assert_eq!(node.boot.files, whole.files);
        assert_eq!(node.boot.slots[&Slot::B].deployment, running);
        if report.verdict().is_ok() {
            assert!(changes > 2);
            break;
        }
    }
    node.is_sound();
}
