//! The steps of a device on a real sysroot, cut at each change of the boot control.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use edge_build::repo::{Description, Repo};
use edge_build::tree::rooted;
use edge_ota::boot::fake::{Booted, Fake};
use edge_ota::boot::{BootControl, SlotFile, Trial};
use edge_ota::cmd::Cmd;
use edge_ota::decide::{self, AtBoot, OnGood, Refusal};
use edge_ota::install::{self, SlotWrite};
use edge_ota::sysroot::Sysroot;
use edge_ota::types::{CommitChecksum, Slot};
use tempfile::TempDir;

use crate::common;
use crate::observe;

/// A served repository with releases that differ in one file.
struct Releases {
    _dir: TempDir,
    path: PathBuf,
    commits: Vec<CommitChecksum>,
}

impl Releases {
    fn make(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, path) = (dir.path().join("root"), dir.path().join("repo"));
        common::lay_out(&root, &dir.path().join("roots"));
        let repo = Repo::open_or_create(&path).unwrap();
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
        Self {
            commits: (0..count).map(commit).collect(),
            path,
            _dir: dir,
        }
    }
}

/// A device: its sysroot, its loader, and how it was booted.
struct Node<'a> {
    dir: TempDir,
    sysroot: Sysroot,
    boot: Fake,
    booted: Booted,
    releases: &'a Releases,
}

/// libostree syncs the whole file system with each deployment.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// What a step leads to, whatever happened on the way; serials and tries left may differ.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    booted: Booted,
    defaults: [Option<Slot>; 2],
    trial: Option<(Slot, CommitChecksum)>,
    slots: BTreeMap<Slot, CommitChecksum>,
    deployed: Vec<CommitChecksum>,
    boot_files: usize,
}

impl<'a> Node<'a> {
    fn empty(releases: &'a Releases) -> Self {
        let dir = in_memory();
        let sysroot = Sysroot::create(dir.path()).unwrap();
        Self {
            dir,
            sysroot,
            boot: Fake::default(),
            booted: Booted::Nothing,
            releases,
        }
    }

    fn copy(&self) -> Self {
        let dir = in_memory();
        Cmd::new("cp")
            .arg("-aT")
            .arg(self.dir.path())
            .arg(dir.path())
            .run()
            .unwrap();
        let sysroot = Sysroot::open(dir.path()).unwrap();
        Self {
            dir,
            sysroot,
            boot: self.boot.clone(),
            ..*self
        }
    }

    fn power_on(&mut self) -> Booted {
        self.boot.changes_left = None;
        self.booted = self.boot.power_on();
        self.booted
    }

    /// As `verdict::at_boot`.
    fn at_boot(&mut self) -> Result<()> {
        match decide::at_boot(&observe(&self.boot, self.booted, None)) {
            AtBoot::FinishGood => self.good(),
            AtBoot::TrialEnded(_) => self.boot.clear_trial(),
            AtBoot::Nothing | AtBoot::TrialBegins | AtBoot::FellBack => Ok(()),
        }
    }

    fn pull(&self, commit: &CommitChecksum) -> Result<()> {
        let raw = Repo::open(&self.releases.path)?.commit_bytes(commit)?;
        self.sysroot.import_commit(commit, &raw, &[])?;
        self.sysroot.pull_content(
            &format!("file://{}", self.releases.path.display()),
            commit,
            |_| {},
        )
    }

    /// As `edge-build image`.
    fn install_first(&mut self, commit: &CommitChecksum) -> Result<()> {
        self.pull(commit)?;
        install::install_first(&self.sysroot, &mut self.boot, commit, |_| Ok(()))?;
        self.sysroot.release_pulled()
    }

    /// As `upgrade::upgrade` and `upgrade::arm`.
    fn upgrade(&mut self, commit: &CommitChecksum) -> Result<()> {
        let slot = match decide::writable_slot(&observe(&self.boot, self.booted, None)) {
            // Cut so late that the release is on trial already.
            Err(Refusal::OnTrial) => return Ok(()),
            other => other?,
        };
        let running = self.slot_file(slot.other())?.deployment;
        self.pull(commit)?;
        let write = SlotWrite {
            slot,
            commit,
            merge: Some(&running),
            keep: std::slice::from_ref(&running),
        };
        install::write_slot(&self.sysroot, &mut self.boot, &write)?;
        self.sysroot.release_pulled()?;
        install::arm(
            &self.sysroot,
            &mut self.boot,
            &Trial::new(slot, commit.clone(), 3),
        )
        .map(drop)
    }

    /// As `verdict::good`.
    fn good(&mut self) -> Result<()> {
        match decide::on_good(&observe(&self.boot, self.booted, None)) {
            OnGood::Promote(slot) => install::promote(&mut self.boot, slot)?,
            OnGood::ResetBoots => return self.boot.reset_boots(),
        }
        install::drop_unused(&self.sysroot, &mut self.boot)
    }

    /// As `verdict::bad`.
    fn bad(&mut self) -> Result<()> {
        match self.booted {
            Booted::Trial(_) => self.boot.clear_trial(),
            _ => Ok(()),
        }
    }

    /// As `reset::prepare`.
    fn reset(&mut self) -> Result<()> {
        let slot = self.booted.slot().context("nothing was booted")?;
        let files = [slot, slot.other()].map(|slot| self.boot.slot_file(slot));
        let [running, other] = files;
        let (running, other) = (running?.context("the slot is empty")?, other?);
        let mut keep = vec![running.deployment.clone()];
        keep.extend(other.map(|file| file.deployment));
        let new = self.sysroot.deploy(&running.commit, None, &keep)?;
        install::copy_boot_files(&self.sysroot, &mut self.boot, &new.id)?;
        self.sysroot.link_slot(slot, &new.id)?;
        install::restore_bootable(&self.sysroot, &mut self.boot, slot, &new).map(drop)
    }

    /// As `reset::at_boot`; `from` is what ran before.
    fn finish_reset(&mut self, from: &str) -> Result<()> {
        let slot = self.booted.slot().context("nothing was booted")?;
        let booted = self
            .sysroot
            .slot_deployment(slot)?
            .context("no deployment")?;
        if booted.id == from {
            return Ok(());
        }
        install::restore_bootable(&self.sysroot, &mut self.boot, slot, &booted)?;
        self.sysroot.unpin(from)?;
        install::drop_unused(&self.sysroot, &mut self.boot)
    }

    fn slot_file(&self, slot: Slot) -> Result<SlotFile> {
        self.boot
            .slot_file(slot)?
            .with_context(|| format!("slot {slot} holds nothing"))
    }

    /// The system that was booted is whole, and one of these.
    fn check_booted(&self, allowed: &[&CommitChecksum]) -> Result<()> {
        let slot = self.booted.slot().context("nothing was booted")?;
        let file = install::verified_slot(&self.sysroot, &self.boot, slot)?;
        let tree = self.sysroot.deployment_dir(&file.deployment);
        let release =
            fs::read_to_string(tree.join("usr/lib/release")).context("the tree is not whole")?;
        if !tree.join("etc/shadow").exists() {
            bail!("the tree has no /etc");
        }
        if !allowed.contains(&&file.commit) || file.version != format!("13.{release}") {
            bail!("slot {slot} booted {} with release {release}", file.version);
        }
        Ok(())
    }

    /// What is deployed, on disk and in the loader's folder, is what the slots name, and it is sound.
    fn good_leaves_nothing_behind(&self) {
        let named: BTreeSet<String> = self
            .boot
            .slots
            .values()
            .map(|file| file.deployment.clone())
            .collect();
        let listed: BTreeSet<_> = self
            .sysroot
            .deployments()
            .unwrap()
            .into_iter()
            .map(|d| d.id)
            .collect();
        let dir = self.sysroot.deployment_dir("");
        let on_disk = rooted::names(&dir)
            .unwrap()
            .into_iter()
            .filter(|name| !name.ends_with(".origin"));
        assert_eq!(
            (&listed, &on_disk.collect(), &self.boot.files),
            (&named, &named, &named)
        );
        Cmd::new("ostree")
            .args(["fsck", "--quiet"])
            .arg("--repo")
            .arg(self.dir.path().join("ostree/repo"))
            .run()
            .unwrap();
    }

    fn outcome(&mut self) -> Outcome {
        let booted = self.power_on();
        let mut deployed: Vec<_> = self
            .sysroot
            .deployments()
            .unwrap()
            .into_iter()
            .map(|d| d.commit)
            .collect();
        deployed.sort();
        Outcome {
            booted,
            defaults: self.boot.defaults,
            trial: self.boot.trial().unwrap().map(|t| (t.slot, t.commit)),
            slots: self
                .boot
                .slots
                .iter()
                .map(|(slot, file)| (*slot, file.commit.clone()))
                .collect(),
            deployed,
            boot_files: self.boot.files.len(),
        }
    }
}

/// Cuts the step at each change, powers on, checks, and does it again. Gives back how it ends without a
/// cut. Where there is no old system, nothing may be booted.
fn cut<'a>(
    from: &Node<'a>,
    what: &str,
    old: Option<usize>,
    new: usize,
    step: impl Fn(&mut Node<'a>) -> Result<()>,
) -> Node<'a> {
    let mut whole = from.copy();
    step(&mut whole).unwrap();
    let expected = whole.copy().outcome();
    let commits = &from.releases.commits;
    let allowed: Vec<_> = old.into_iter().chain([new]).map(|n| &commits[n]).collect();
    for changes in 0.. {
        let at = format!("{what}, cut after {changes} changes");
        let mut node = from.copy();
        node.boot.changes_left = Some(changes);
        let done = step(&mut node).is_ok();
        node.power_on();
        if old.is_some() || node.booted != Booted::Nothing {
            node.check_booted(&allowed)
                .unwrap_or_else(|e| panic!("{at}: {e:#}\n{:#?}", node.boot));
        }
        // Without an old system there is an image in the making, which is made anew.
        if old.is_some() {
            node.at_boot().unwrap();
            step(&mut node).unwrap_or_else(|e| panic!("{at} and done again: {e:#}"));
            assert_eq!(node.outcome(), expected, "{at} and done again");
        }
        if done {
            assert!(changes > 1, "{what} changes nothing");
            break;
        }
    }
    whole
}

#[test]
fn every_step_leaves_the_old_system_or_the_new_one() {
    let releases = Releases::make(3);
    let [zero, one, two] = releases.commits.as_slice() else {
        unreachable!()
    };

    let mut first = cut(&Node::empty(&releases), "first install", None, 0, |node| {
        node.install_first(zero)
    });
    assert_eq!(first.power_on(), Booted::Default(Slot::A));

    let mut armed = cut(&first, "upgrade of b", Some(0), 1, |node| node.upgrade(one));
    assert_eq!(armed.power_on(), Booted::Trial(Slot::B));

    let mut bad = cut(&armed, "bad verdict", Some(0), 1, Node::bad);
    assert_eq!(bad.power_on(), Booted::Default(Slot::A));

    let mut good = cut(&armed, "good verdict", Some(0), 1, Node::good);
    assert_eq!(good.power_on(), Booted::Default(Slot::B));

    let over = cut(&good, "upgrade of a over the old one", Some(1), 2, |node| {
        node.upgrade(two)
    });
    let mut again = cut(&over, "the same release again", Some(1), 2, |node| {
        node.upgrade(two)
    });
    assert_eq!(again.power_on(), Booted::Trial(Slot::A));
    again.good().unwrap();
    again.good_leaves_nothing_behind();

    let mut back = cut(&good, "rollback", Some(1), 0, |node| {
        install::go_back(&mut node.boot, Slot::A)
    });
    assert_eq!(back.power_on(), Booted::Default(Slot::A));
}

/// A reset writes the slot that runs: whatever comes between, it boots, and the other slot stays.
#[test]
fn a_reset_that_is_cut_leaves_a_system_and_the_other_slot() {
    let releases = Releases::make(2);
    let [zero, one] = releases.commits.as_slice() else {
        unreachable!()
    };
    let mut good = Node::empty(&releases);
    good.install_first(zero).unwrap();
    good.power_on();
    good.upgrade(one).unwrap();
    good.power_on();
    good.good().unwrap();
    good.power_on();
    let other = good.slot_file(Slot::A).unwrap();
    let from = good.slot_file(Slot::B).unwrap().deployment;
    fs::write(good.sysroot.deployment_dir(&from).join("etc/mine"), "mine").unwrap();

    for changes in 0.. {
        let mut node = good.copy();
        node.boot.changes_left = Some(changes);
        let done = node.reset().is_ok();
        for _ in 0..2 {
            assert_eq!(
                node.power_on(),
                Booted::Default(Slot::B),
                "cut after {changes}"
            );
            node.finish_reset(&from).unwrap();
            node.check_booted(&[one]).unwrap();
        }
        assert_eq!(node.slot_file(Slot::A).unwrap(), other);
        install::verified_slot(&node.sysroot, &node.boot, Slot::A).unwrap();
        let running = node.slot_file(Slot::B).unwrap().deployment;
        let edited = node.sysroot.deployment_dir(&running).join("etc/mine");
        assert_eq!(edited.exists(), running == from);
        if done {
            assert!(changes > 2 && running != from);
            node.good_leaves_nothing_behind();
            break;
        }
    }
}

/// A cut that no change of the loader's comes between.
#[test]
fn a_deployment_that_no_slot_came_to_name_is_dropped() {
    let releases = Releases::make(3);
    let [zero, one, two] = releases.commits.as_slice() else {
        unreachable!()
    };
    let mut node = Node::empty(&releases);
    node.install_first(zero).unwrap();
    node.power_on();
    let running = node.slot_file(Slot::A).unwrap().deployment;
    node.pull(one).unwrap();
    node.sysroot
        .deploy(one, Some(&running), std::slice::from_ref(&running))
        .unwrap();

    node.upgrade(two).unwrap();
    assert_eq!(node.power_on(), Booted::Trial(Slot::B));
    node.good().unwrap();
    node.good_leaves_nothing_behind();
}
