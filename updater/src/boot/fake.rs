//! A boot loader in memory: what tests flip instead of a disk. Its changes are as fine as those of
//! `on_disk.rs`, and at power-on it chooses as `grub.cfg` and `uboot.cmd` do.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::records::{MAX_BOOTS, trial_of_copies};
use super::{BootControl, BootSource, Boots, FileSums, SlotFile, Trial};
use crate::types::Slot;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fake {
    pub slots: BTreeMap<Slot, SlotFile>,
    /// `default` and its copy; `None` is missing or damaged.
    pub defaults: [Option<Slot>; 2],
    /// `trial.0` and `trial.1`.
    pub trials: [TrialCopy; 2],
    pub boots: Boots,
    /// Deployments whose kernel and initramfs are both there.
    pub files: BTreeSet<String>,
    /// Changes that still succeed; the next one fails and so does every later one, as after a power cut.
    pub changes_left: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrialCopy {
    Empty,
    Holds(Trial),
    /// The loader cannot save it either: no environment block to GRUB, a bad sector to U-Boot. (U-Boot writes over
    /// anything else, so garbage is [`TrialCopy::Empty`] to it.) Linux can.
    Damaged,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            defaults: [None, None],
            trials: [TrialCopy::Empty, TrialCopy::Empty],
            boots: Boots::Count(0),
            files: BTreeSet::new(),
            changes_left: None,
        }
    }
}

/// What the loader does at power-on, as the scripts do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Booted {
    Default(Slot),
    Trial(Slot),
    Fallback(Slot),
    Nothing,
}

impl Booted {
    pub fn slot(self) -> Option<Slot> {
        match self {
            Booted::Default(slot) | Booted::Trial(slot) | Booted::Fallback(slot) => Some(slot),
            Booted::Nothing => None,
        }
    }
}

impl Fake {
    /// Power on: counts a trial down before it boots it, falls back where the default keeps failing.
    pub fn power_on(&mut self) -> Booted {
        let chosen = self.chosen();
        if let Some(slot) = self.start_trial(chosen) {
            return Booted::Trial(slot);
        }
        let other = chosen.other();
        let worn_out = self.boots == Boots::Count(MAX_BOOTS);
        self.boots = match self.boots {
            Boots::Count(n) if n < MAX_BOOTS => Boots::Count(n + 1),
            Boots::Count(MAX_BOOTS) | Boots::Fallback => Boots::Fallback,
            Boots::Count(_) => Boots::Count(1),
        };
        if worn_out && self.complete(other) {
            return Booted::Fallback(other);
        }
        match (self.complete(chosen), self.complete(other)) {
            (true, _) => Booted::Default(chosen),
            (false, true) => Booted::Fallback(other),
            (false, false) => Booted::Nothing,
        }
    }

    /// The default, or a slot to begin with where no copy of it can be read: a slot on trial has not
    /// proved itself.
    fn chosen(&self) -> Slot {
        let guess = match self.readable_trial() {
            Some(trial) => trial.slot.other(),
            None => Slot::A,
        };
        let guess = if self.complete(guess) {
            guess
        } else {
            guess.other()
        };
        self.readable_default().unwrap_or(guess)
    }

    fn readable_default(&self) -> Option<Slot> {
        self.defaults.into_iter().flatten().next()
    }

    /// Both copies are counted down, one after the other, or there is no trial.
    fn start_trial(&mut self, chosen: Slot) -> Option<Slot> {
        let mut trial = self
            .readable_trial()
            .filter(|t| (1..=9).contains(&t.left) && t.slot != chosen)?;
        let commit_is_there = self
            .slots
            .get(&trial.slot)
            .is_some_and(|file| file.commit == trial.commit);
        if !self.complete(trial.slot) || !commit_is_there {
            return None;
        }
        trial.left -= 1;
        for copy in &mut self.trials {
            if *copy == TrialCopy::Damaged {
                return None;
            }
            *copy = TrialCopy::Holds(trial.clone());
        }
        Some(trial.slot)
    }

    fn readable_trial(&self) -> Option<Trial> {
        trial_of_copies(self.trials.each_ref().map(|copy| match copy {
            TrialCopy::Holds(trial) => Some(trial.clone()),
            TrialCopy::Empty | TrialCopy::Damaged => None,
        }))
    }

    fn complete(&self, slot: Slot) -> bool {
        self.slots
            .get(&slot)
            .is_some_and(|file| self.files.contains(&file.deployment))
    }

    fn change(&mut self) -> Result<()> {
        match self.changes_left.as_mut() {
            Some(0) => bail!("power cut"),
            Some(n) => *n -= 1,
            None => {}
        }
        Ok(())
    }
}

impl BootControl for Fake {
    fn slot_file(&self, slot: Slot) -> Result<Option<SlotFile>> {
        Ok(self.slots.get(&slot).cloned())
    }

    fn write_slot_file(&mut self, file: &SlotFile) -> Result<()> {
        self.change()?;
        self.slots.insert(file.slot, file.clone());
        Ok(())
    }

    fn retire(&mut self, slot: Slot) -> Result<()> {
        self.change()?;
        self.slots.remove(&slot);
        Ok(())
    }

    fn default_slot(&self) -> Result<Option<Slot>> {
        Ok(self.readable_default())
    }

    fn set_default(&mut self, slot: Slot) -> Result<()> {
        for copy in 0..self.defaults.len() {
            self.change()?;
            self.defaults[copy] = Some(slot);
        }
        Ok(())
    }

    fn trial(&self) -> Result<Option<Trial>> {
        Ok(self.readable_trial())
    }

    fn set_trial(&mut self, trial: &Trial) -> Result<()> {
        for copy in 0..self.trials.len() {
            self.change()?;
            self.trials[copy] = TrialCopy::Holds(trial.clone());
        }
        Ok(())
    }

    fn clear_trial(&mut self) -> Result<()> {
        for copy in 0..self.trials.len() {
            self.change()?;
            self.trials[copy] = TrialCopy::Empty;
        }
        Ok(())
    }

    fn boots(&self) -> Result<Boots> {
        Ok(self.boots)
    }

    fn reset_boots(&mut self) -> Result<()> {
        self.change()?;
        self.boots = Boots::Count(0);
        Ok(())
    }

    fn install_files(
        &mut self,
        deployment: &str,
        _source: &BootSource,
        keep: &[String],
    ) -> Result<FileSums> {
        self.prune_files(keep)?;
        // The kernel, then the initramfs: before both are there the files are not complete.
        self.change()?;
        self.change()?;
        self.files.insert(deployment.to_owned());
        Ok(FileSums {
            kernel: "0".repeat(64),
            initramfs: "0".repeat(64),
            fdt: None,
        })
    }

    fn restore_files(&mut self, deployment: &str, source: &BootSource) -> Result<FileSums> {
        let keep: Vec<String> = self.files.iter().cloned().collect();
        self.install_files(deployment, source, &keep)
    }

    fn damaged_records(&self) -> Result<Vec<String>> {
        let default = self.readable_default();
        let defaults = self
            .defaults
            .iter()
            .any(|copy| copy.is_none() || *copy != default)
            .then(|| "default".to_owned());
        let trials = self.trials.contains(&TrialCopy::Damaged);
        Ok(defaults
            .into_iter()
            .chain(trials.then(|| "trial".to_owned()))
            .collect())
    }

    fn restore_records(&mut self, _fresh: &[u8]) -> Result<()> {
        let damaged = self.damaged_records()?;
        if let Some(slot) = self.readable_default() {
            if damaged.iter().any(|name| name == "default") {
                self.set_default(slot)?;
            }
        }
        match self.readable_trial() {
            _ if !damaged.iter().any(|name| name == "trial") => Ok(()),
            Some(trial) => self.set_trial(&trial),
            None => self.clear_trial(),
        }
    }

    fn prune_files(&mut self, keep: &[String]) -> Result<()> {
        let stale: Vec<String> = self
            .files
            .iter()
            .filter(|name| !keep.contains(name))
            .cloned()
            .collect();
        for name in &stale {
            self.change()?;
            self.files.remove(name);
        }
        Ok(())
    }

    fn files_intact(&self, file: &SlotFile) -> Result<bool> {
        Ok(self.files.contains(&file.deployment))
    }

    fn write_spare(&mut self, _name: &str, _bytes: &[u8]) -> Result<()> {
        self.change()
    }

    fn room(&self, _keep: &[String]) -> Result<Option<u64>> {
        Ok(None)
    }

    fn room_beside(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}
