//! Every order of what can happen to the loader's records, each act whole and cut at each of its
//! changes, breadth first over the states that it leads to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::boot::fake::{Booted, Fake, TrialCopy};
use edge_ota::boot::{BootControl, BootSource, SlotFile, Trial};
use edge_ota::decide::{self, AtBoot, Observed, OnGood, State};
use edge_ota::install;
use edge_ota::types::{CommitChecksum, Slot};

use crate::observe;

const DEPTH: usize = 8;
const TRIES: u8 = 2;
/// Two lie in the slots, one comes next.
const RELEASES: u8 = 3;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Machine {
    boot: Fake,
    /// How it was booted; nothing when it is off.
    booted: Booted,
    /// `State::staged`
    staged: Option<Staged>,
    /// `State::failures`
    failed: BTreeSet<CommitChecksum>,
    /// Releases that had a good verdict.
    proven: BTreeSet<CommitChecksum>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    PowerOn,
    /// The kernel is loaded and never comes up.
    PowerOnInVain,
    StageAndArm,
    Good,
    Bad,
    Rollback,
    DamageTrial(usize),
    DamageDefault(usize),
    /// The default's kernel is gone at power-on.
    LoseDefaultFiles,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Staged {
    slot: Slot,
    commit: CommitChecksum,
    /// Its slot was written to the end.
    ready: bool,
}

const ACTS: [Act; 11] = [
    Act::PowerOn,
    Act::PowerOnInVain,
    Act::StageAndArm,
    Act::Good,
    Act::Bad,
    Act::Rollback,
    Act::DamageTrial(0),
    Act::DamageTrial(1),
    Act::DamageDefault(0),
    Act::DamageDefault(1),
    Act::LoseDefaultFiles,
];

impl Machine {
    /// Slot a was installed and is good.
    fn new() -> Self {
        let mut boot = Fake::default();
        write_slot(&mut boot, Slot::A, &release(0), &[]).unwrap();
        boot.set_default(Slot::A).unwrap();
        let (failed, proven) = (BTreeSet::new(), BTreeSet::from([release(0)]));
        Self {
            boot,
            booted: Booted::Nothing,
            staged: None,
            failed,
            proven,
        }
    }

    fn seen(&self) -> Observed {
        observe(
            &self.boot,
            self.booted,
            self.staged.as_ref().filter(|s| s.ready).map(|s| s.slot),
        )
    }

    /// `false` when the act cannot happen now.
    fn can(&self, act: Act) -> bool {
        let up = self.booted != Booted::Nothing;
        match act {
            Act::PowerOn | Act::PowerOnInVain => true,
            Act::StageAndArm => up && decide::writable_slot(&self.seen()).is_ok(),
            Act::Good => up,
            Act::Bad => up && decide::state(&self.seen()) == State::OnTrial,
            Act::Rollback => up && self.rollback_target().is_some(),
            Act::DamageTrial(_) | Act::DamageDefault(_) => !up,
            Act::LoseDefaultFiles => !up && Slot::BOTH.into_iter().all(|slot| self.complete(slot)),
        }
    }

    fn act(&mut self, act: Act) -> Result<()> {
        match act {
            Act::PowerOn => {
                self.booted = self.boot.power_on();
                self.at_boot()
            }
            Act::PowerOnInVain => {
                self.boot.power_on();
                self.booted = Booted::Nothing;
                Ok(())
            }
            Act::StageAndArm => self.stage_and_arm(),
            Act::Good => self.good(),
            Act::Bad => self.bad(),
            Act::Rollback => {
                let target = self.rollback_target().context("nothing to roll back to")?;
                install::go_back(&mut self.boot, target)
            }
            Act::DamageTrial(copy) => {
                self.boot.trials[copy] = TrialCopy::Damaged;
                Ok(())
            }
            Act::DamageDefault(copy) => {
                self.boot.defaults[copy] = None;
                Ok(())
            }
            Act::LoseDefaultFiles => {
                let default = self.boot.default_slot()?.unwrap_or(Slot::A);
                let lost = self
                    .boot
                    .slots
                    .get(&default)
                    .context("an empty default")?
                    .deployment
                    .clone();
                self.boot.files.remove(&lost);
                Ok(())
            }
        }
    }

    /// As `verdict::at_boot`.
    fn at_boot(&mut self) -> Result<()> {
        match decide::at_boot(&self.seen()) {
            AtBoot::FinishGood => self.good(),
            AtBoot::TrialEnded(_) if self.staged.is_none() => self.boot.clear_trial(),
            AtBoot::TrialEnded(trial) => {
                self.save(|m| {
                    m.staged = None;
                    m.failed.insert(trial.commit);
                })?;
                self.boot.clear_trial()
            }
            AtBoot::Nothing | AtBoot::TrialBegins | AtBoot::FellBack => Ok(()),
        }
    }

    /// As `upgrade::upgrade` and `upgrade::arm`.
    fn stage_and_arm(&mut self) -> Result<()> {
        let slot = decide::writable_slot(&self.seen())?;
        let running = self
            .boot
            .slots
            .get(&slot.other())
            .context("an empty default")?
            .clone();
        let commit = self.next_release();
        let staged = Staged {
            slot,
            commit: commit.clone(),
            ready: false,
        };
        self.save(|m| m.staged = Some(staged.clone()))?;
        write_slot(&mut self.boot, slot, &commit, &[running.deployment])?;
        let ready = true;
        self.save(|m| m.staged = Some(Staged { ready, ..staged }))?;
        self.boot.set_trial(&Trial::new(slot, commit, TRIES))
    }

    /// As `verdict::good`.
    fn good(&mut self) -> Result<()> {
        match decide::on_good(&self.seen()) {
            OnGood::ResetBoots => self.boot.reset_boots(),
            OnGood::Promote(slot) => self.promote(slot),
        }
    }

    fn promote(&mut self, slot: Slot) -> Result<()> {
        let commit = self
            .boot
            .slots
            .get(&slot)
            .context("an empty slot runs")?
            .commit
            .clone();
        self.proven.insert(commit.clone());
        self.save(|m| {
            m.staged.take_if(|staged| staged.slot == slot);
            m.failed.remove(&commit);
        })?;
        install::promote(&mut self.boot, slot)
    }

    /// As `verdict::bad`.
    fn bad(&mut self) -> Result<()> {
        let slot = self.booted.slot().context("off")?;
        let commit = self
            .boot
            .slots
            .get(&slot)
            .context("an empty slot runs")?
            .commit
            .clone();
        self.save(|m| {
            m.staged = None;
            m.failed.insert(commit);
        })?;
        self.boot.clear_trial()
    }

    /// As `upgrade::rollback`.
    fn rollback_target(&self) -> Option<Slot> {
        let target = decide::writable_slot(&self.seen()).ok()?;
        let file = self.boot.slots.get(&target)?;
        (self.staged.is_none() && self.complete(target) && !self.failed.contains(&file.commit))
            .then_some(target)
    }

    /// The state file is written whole or not at all, and the power may go before.
    fn save(&mut self, change: impl FnOnce(&mut Self)) -> Result<()> {
        match self.boot.changes_left.as_mut() {
            Some(0) => bail!("power cut"),
            Some(n) => *n -= 1,
            None => {}
        }
        change(self);
        Ok(())
    }

    fn complete(&self, slot: Slot) -> bool {
        self.boot
            .slots
            .get(&slot)
            .is_some_and(|file| self.boot.files.contains(&file.deployment))
    }

    /// One that lies in no slot; it is another one than what had its number before.
    fn next_release(&mut self) -> CommitChecksum {
        let in_slot =
            |commit: &CommitChecksum| self.boot.slots.values().any(|file| file.commit == *commit);
        let next = (0..RELEASES)
            .map(release)
            .find(|commit| !in_slot(commit))
            .unwrap();
        self.proven.remove(&next);
        self.failed.remove(&next);
        next
    }
}

fn release(n: u8) -> CommitChecksum {
    format!("{n:064x}").parse().unwrap()
}

/// As `install::write_slot`, without a sysroot.
fn write_slot(boot: &mut Fake, slot: Slot, commit: &CommitChecksum, keep: &[String]) -> Result<()> {
    install::retire(boot, slot)?;
    let deployment = format!("{commit}.0");
    let nowhere = Path::new("");
    let sums = boot.install_files(
        &deployment,
        &BootSource {
            kernel: nowhere,
            initramfs: nowhere,
            fdt: None,
        },
        keep,
    )?;
    boot.write_slot_file(&SlotFile {
        slot,
        commit: commit.clone(),
        deployment,
        version: String::new(),
        options: String::new(),
        kernel_sha256: sums.kernel,
        initrd_sha256: sums.initramfs,
        fdt: sums.fdt,
    })
}

/// What must hold between two states, whatever happened; the reason when it does not.
fn broken(before: &Machine, act: Act, whole: bool, after: &Machine) -> Option<&'static str> {
    let slot_of = |m: &Machine, slot: Slot| m.boot.slots.get(&slot).map(|file| file.commit.clone());
    let default = before.boot.default_slot().unwrap();
    if default.is_some_and(|slot| slot_of(before, slot) != slot_of(after, slot)) {
        return Some("the default slot was written or retired");
    }
    let writes = decide::writable_slot(&before.seen()).ok();
    if Slot::BOTH
        .into_iter()
        .any(|slot| slot_of(before, slot) != slot_of(after, slot) && writes != Some(slot))
    {
        return Some("a slot was written that is not default.other()");
    }
    let unproven =
        |slot: Slot| slot_of(after, slot).is_none_or(|commit| !after.proven.contains(&commit));
    if after.boot.defaults.into_iter().flatten().any(unproven) {
        return Some("the default, or its copy, names a release without a good verdict");
    }
    if after.boot.clone().power_on() == Booted::Nothing {
        return Some("nothing can be booted");
    }
    if act == Act::Bad && whole && default.is_some_and(|slot| before.complete(slot)) {
        let next = after.boot.clone().power_on();
        if next != Booted::Default(default?) && !worn_out(after) {
            return Some("after a bad verdict something else than the old default is booted");
        }
    }
    if whole && after.booted != Booted::Nothing && act == Act::PowerOn {
        let default = after.boot.default_slot().unwrap();
        if after
            .staged
            .as_ref()
            .is_some_and(|staged| Some(staged.slot) == default)
        {
            return Some("the default is held for staged");
        }
    }
    None
}

/// The default failed so often that the loader is about to turn to the other slot.
fn worn_out(machine: &Machine) -> bool {
    matches!(machine.boot.clone().power_on(), Booted::Fallback(_))
}

/// What the act leads to, cut at each change and whole.
fn outcomes(from: &Machine, act: Act) -> Vec<(bool, Machine)> {
    let mut all = Vec::new();
    for changes in 0.. {
        let mut machine = from.clone();
        machine.boot.changes_left = Some(changes);
        let done = machine.act(act);
        let whole = done.is_ok();
        if machine.boot.changes_left != Some(0) {
            done.unwrap_or_else(|e| panic!("{act:?} fails without a cut: {e:#}"));
        }
        machine.boot.changes_left = None;
        if !whole {
            machine.booted = Booted::Nothing;
        }
        all.push((whole, machine));
        if whole {
            break;
        }
    }
    all
}

/// The acts that led to a state.
fn story(parents: &BTreeMap<Machine, Option<(Machine, Act, bool)>>, last: &Machine) -> Vec<String> {
    let mut told = Vec::new();
    let mut at = last;
    while let Some(Some((before, act, whole))) = parents.get(at) {
        told.insert(0, format!("{act:?}{}", if *whole { "" } else { " (cut)" }));
        at = before;
    }
    told
}

#[test]
fn no_order_of_events_breaks_an_invariant() {
    let mut parents = BTreeMap::from([(Machine::new(), None)]);
    let mut queue = VecDeque::from([(Machine::new(), 0)]);
    while let Some((machine, depth)) = queue.pop_front() {
        for act in ACTS
            .into_iter()
            .filter(|act| depth < DEPTH && machine.can(*act))
        {
            for (whole, after) in outcomes(&machine, act) {
                if let Some(reason) = broken(&machine, act, whole, &after) {
                    let cut = if whole { "" } else { " (cut)" };
                    panic!(
                        "{reason}: {:?}, {act:?}{cut}\nfrom {machine:?}\nto {after:?}",
                        story(&parents, &machine)
                    );
                }
                if !parents.contains_key(&after) {
                    parents.insert(after.clone(), Some((machine.clone(), act, whole)));
                    queue.push_back((after, depth + 1));
                }
            }
        }
    }
    eprintln!("{} states", parents.len());
}
