//! A boot loader in memory: what tests and `dry-run` flip instead of a disk.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::records::MAX_BOOTS;
use super::{BootControl, BootSource, Boots, FileSums, SlotFile, Trial};
use crate::types::Slot;

#[derive(Debug, Clone)]
pub struct Fake {
    pub slots: BTreeMap<Slot, SlotFile>,
    pub default: Option<Slot>,
    pub trial: Option<Trial>,
    pub boots: Boots,
    pub files: BTreeSet<String>,
    /// Changes that still succeed; the next one fails and so does every later one, as after a power cut.
    pub changes_left: Option<usize>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            default: None,
            trial: None,
            boots: Boots::Count(0),
            files: BTreeSet::new(),
            changes_left: None,
        }
    }
}

/// What the loader does at power-on, as `grub.cfg` does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booted {
    Default(Slot),
    Trial(Slot),
    Fallback(Slot),
    Nothing,
}

impl Fake {
    /// Power on: counts a trial down before it boots it, falls back where the default keeps failing.
    pub fn power_on(&mut self) -> Booted {
        let complete = |fake: &Fake, slot: Slot| fake.slots.get(&slot).is_some_and(|f| fake.files.contains(&f.deployment));
        let default = self.default.filter(|slot| complete(self, *slot));
        if let Some(trial) = self.trial.as_mut() {
            let of_slot = self.slots.get(&trial.slot).is_some_and(|f| f.commit == trial.commit);
            if trial.left > 0 && Some(trial.slot) != self.default && of_slot {
                trial.left -= 1;
                let slot = trial.slot;
                if complete(self, slot) {
                    return Booted::Trial(slot);
                }
            }
        }
        let Some(first) = default.or_else(|| Slot::BOTH.into_iter().find(|slot| complete(self, *slot))) else {
            return Booted::Nothing;
        };
        match self.boots {
            Boots::Count(n) if n >= MAX_BOOTS && complete(self, first.other()) => {
                self.boots = Boots::Fallback;
                Booted::Fallback(first.other())
            }
            Boots::Count(n) => {
                self.boots = Boots::Count((n + 1).min(MAX_BOOTS));
                Booted::Default(first)
            }
            Boots::Fallback => Booted::Default(first),
        }
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
        Ok(self.default)
    }

    fn set_default(&mut self, slot: Slot) -> Result<()> {
        self.change()?;
        self.default = Some(slot);
        Ok(())
    }

    fn trial(&self) -> Result<Option<Trial>> {
        Ok(self.trial.clone())
    }

    fn set_trial(&mut self, trial: &Trial) -> Result<()> {
        self.change()?;
        self.trial = Some(trial.clone());
        Ok(())
    }

    fn clear_trial(&mut self) -> Result<()> {
        self.change()?;
        self.trial = None;
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

    fn install_files(&mut self, deployment: &str, _source: &BootSource, keep: &[String]) -> Result<FileSums> {
        self.prune_files(keep)?;
        self.change()?;
        self.files.insert(deployment.to_owned());
        Ok(FileSums { kernel: "0".repeat(64), initramfs: "0".repeat(64) })
    }

    fn prune_files(&mut self, keep: &[String]) -> Result<()> {
        self.change()?;
        self.files.retain(|name| keep.contains(name));
        Ok(())
    }

    fn files_intact(&self, file: &SlotFile) -> Result<bool> {
        Ok(self.files.contains(&file.deployment))
    }

    fn room(&self, _keep: &[String]) -> Result<Option<u64>> {
        Ok(None)
    }
}
