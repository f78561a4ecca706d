//! Boot control on a disk: the file system `edge-boot` and the raw sectors of `edge-trial` (docs/formats.md).
//! The loaders differ in the records that they write, and in their scripts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::envblk::{self, Vars};
use super::files::BootFiles;
use super::records::{BootsRecord, trial_of_copies};
use super::{BootControl, BootSource, Boots, FileSums, SlotFile, Trial, trial_fs, uboot};
use crate::board::BootFlavour;
use crate::durable;
use crate::types::Slot;

const SECTOR: u64 = 512;
/// First sectors of the files `trial.0`, `trial.1` and `boots` in `edge-trial`.
pub const TRIAL_SECTORS: [u64; 2] = [7, 15];
pub const BOOTS_SECTOR: u64 = 23;

/// Parts of `edge-trial`.
const HEAD: &str = "the file system of edge-trial";
const TRIALS: [&str; 2] = ["trial.0", "trial.1"];
const BOOTS: &str = "boots";

pub struct OnDisk {
    flavour: BootFlavour,
    files: BootFiles,
    trial: PathBuf,
}

impl OnDisk {
    /// `boot` is a folder that becomes or is a copy of `edge-boot`, `trial` an image of `edge-trial`.
    pub fn in_folder(flavour: BootFlavour, boot: &Path, trial: &Path) -> Self {
        Self {
            flavour,
            files: BootFiles::in_folder(boot),
            trial: trial.to_owned(),
        }
    }

    /// `boot` is the mount point of `edge-boot`, read-only but while we write; `trial` the block device.
    pub fn mounted(flavour: BootFlavour, boot: &Path, trial: &Path) -> Self {
        Self {
            flavour,
            files: BootFiles::mounted(boot),
            trial: trial.to_owned(),
        }
    }

    /// `None` when the loader would read nothing there either.
    fn read_record(&self, sector: u64) -> Result<Option<Vars>> {
        let mut bytes = vec![0; envblk::SIZE];
        let file =
            File::open(&self.trial).with_context(|| format!("opening {}", self.trial.display()))?;
        file.read_exact_at(&mut bytes, sector * SECTOR)
            .with_context(|| format!("reading sector {sector} of {}", self.trial.display()))?;
        Ok(match self.flavour {
            BootFlavour::Grub => envblk::parse(&bytes),
            BootFlavour::Uboot => uboot::parse_record(&bytes),
        })
    }

    fn write_record(&self, sector: u64, bytes: &[u8]) -> Result<()> {
        durable::overwrite(&self.trial, sector * SECTOR, bytes)
    }

    /// What of `edge-trial` a loader could not read.
    fn damaged_sectors(&self) -> Result<impl Iterator<Item = &'static str>> {
        let holds_trial = |vars: Option<Vars>| {
            vars.is_some_and(|vars| vars.is_empty() || Trial::from_vars(&vars).is_some())
        };
        let [one, other] = TRIAL_SECTORS;
        let sound = [
            (HEAD, self.head_is_sound()?),
            (TRIALS[0], holds_trial(self.read_record(one)?)),
            (TRIALS[1], holds_trial(self.read_record(other)?)),
            (BOOTS, self.read_record(BOOTS_SECTOR)?.is_some()),
        ];
        let damaged = sound.into_iter().filter(|(_, sound)| !sound);
        Ok(damaged.map(|(name, _)| name))
    }

    fn write_head(&self, fresh: &[u8]) -> Result<()> {
        match fresh.get(..trial_fs::HEAD) {
            Some(head) if trial_fs::is_sound(head) => durable::overwrite(&self.trial, 0, head),
            _ => bail!("the release brings no file system for edge-trial"),
        }
    }

    fn head_is_sound(&self) -> Result<bool> {
        let mut bytes = vec![0; trial_fs::HEAD];
        File::open(&self.trial)
            .and_then(|file| file.read_exact_at(&mut bytes, 0))
            .with_context(|| format!("reading {}", self.trial.display()))?;
        Ok(trial_fs::is_sound(&bytes))
    }

    fn boots_record(&self) -> Result<BootsRecord> {
        let vars = self.read_record(BOOTS_SECTOR)?;
        Ok(BootsRecord::from_vars(&vars.unwrap_or_default()))
    }
}

impl BootControl for OnDisk {
    fn slot_file(&self, slot: Slot) -> Result<Option<SlotFile>> {
        self.files.slot_file(slot)
    }

    fn write_slot_file(&mut self, file: &SlotFile) -> Result<()> {
        self.files.write_slot_file(file)
    }

    fn retire(&mut self, slot: Slot) -> Result<()> {
        self.files.retire(slot)
    }

    fn default_slot(&self) -> Result<Option<Slot>> {
        self.files.default_slot()
    }

    fn set_default(&mut self, slot: Slot) -> Result<()> {
        self.files.set_default(slot)
    }

    fn trial(&self) -> Result<Option<Trial>> {
        let [one, other] = TRIAL_SECTORS;
        let copies = [self.read_record(one)?, self.read_record(other)?];
        Ok(trial_of_copies(
            copies.map(|vars| vars.and_then(|vars| Trial::from_vars(&vars))),
        ))
    }

    fn set_trial(&mut self, trial: &Trial) -> Result<()> {
        TRIAL_SECTORS
            .into_iter()
            .try_for_each(|sector| self.write_record(sector, &trial.to_bytes()))
    }

    fn clear_trial(&mut self) -> Result<()> {
        TRIAL_SECTORS
            .into_iter()
            .try_for_each(|sector| self.write_record(sector, &envblk::format(&[])))
    }

    fn boots(&self) -> Result<Boots> {
        Ok(self.boots_record()?.boots)
    }

    fn reset_boots(&mut self) -> Result<()> {
        let record = BootsRecord {
            boots: Boots::Count(0),
            ..self.boots_record()?
        };
        self.write_record(BOOTS_SECTOR, &record.to_bytes())
    }

    fn install_files(
        &mut self,
        deployment: &str,
        source: &BootSource,
        keep: &[String],
    ) -> Result<FileSums> {
        self.files.install(deployment, source, keep)
    }

    fn restore_files(&mut self, deployment: &str, source: &BootSource) -> Result<FileSums> {
        self.files.restore(deployment, source)
    }

    fn prune_files(&mut self, keep: &[String]) -> Result<()> {
        self.files.prune(keep)
    }

    fn damaged_records(&self) -> Result<Vec<String>> {
        let mut damaged = self.files.damaged()?;
        damaged.extend(self.damaged_sectors()?.map(str::to_owned));
        Ok(damaged)
    }

    fn restore_records(&mut self, fresh: &[u8]) -> Result<()> {
        let damaged = self.files.damaged()?;
        match self.default_slot()? {
            Some(slot) if damaged.iter().any(|name| name.starts_with("default")) => {
                self.set_default(slot)?;
            }
            _ => {}
        }
        let (trial, sectors) = (self.trial()?, Vec::from_iter(self.damaged_sectors()?));
        for name in sectors {
            match (name, &trial) {
                (HEAD, _) => self.write_head(fresh)?,
                (BOOTS, _) => self.reset_boots()?,
                (_, Some(trial)) => self.set_trial(trial)?,
                (_, None) => self.clear_trial()?,
            }
        }
        Ok(())
    }

    fn files_intact(&self, file: &SlotFile) -> Result<bool> {
        self.files.intact(file)
    }

    fn write_spare(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.files.write_spare(name, bytes)
    }

    fn room(&self, keep: &[String]) -> Result<Option<u64>> {
        self.files.room(keep)
    }

    fn room_beside(&self) -> Result<Option<u64>> {
        self.files.room_beside()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(flavour: BootFlavour) -> (tempfile::TempDir, OnDisk) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("trial"), vec![0; 1 << 20]).unwrap();
        let boot = OnDisk::in_folder(flavour, dir.path(), &dir.path().join("trial"));
        (dir, boot)
    }

    #[test]
    fn trial_is_armed_and_cleared_in_place() {
        for flavour in [BootFlavour::Grub, BootFlavour::Uboot] {
            let (_dir, mut boot) = setup(flavour);
            assert_eq!(boot.trial().unwrap(), None);
            let trial = Trial::new(Slot::B, "ab".repeat(32).parse().unwrap(), 3);
            boot.set_trial(&trial).unwrap();
            assert_eq!(boot.trial().unwrap(), Some(trial));
            boot.clear_trial().unwrap();
            assert_eq!(boot.trial().unwrap(), None);
        }
    }

    #[test]
    fn damaged_records_are_written_again_with_what_their_copies_say() {
        for flavour in [BootFlavour::Grub, BootFlavour::Uboot] {
            let (dir, mut boot) = setup(flavour);
            let trial = dir.path().join("trial");
            crate::media::filesystems::write_trial(&trial, dir.path(), 7).unwrap();
            let fresh = std::fs::read(&trial).unwrap();
            boot.set_default(Slot::B).unwrap();
            assert_eq!(boot.damaged_records().unwrap(), Vec::<String>::new());

            let armed = Trial::new(Slot::A, "ab".repeat(32).parse().unwrap(), 3);
            boot.set_trial(&armed).unwrap();
            boot.write_record(BOOTS_SECTOR, &[0xa5; 1024]).unwrap();
            boot.write_record(TRIAL_SECTORS[0], &[0xa5; 1024]).unwrap();
            durable::overwrite(&trial, 512, &[0; 512]).unwrap();
            std::fs::write(dir.path().join("default"), "x").unwrap();
            std::fs::write(dir.path().join("slot-a"), "x").unwrap();
            let damaged = boot.damaged_records().unwrap();
            assert_eq!(damaged, ["default", "slot-a", HEAD, TRIALS[0], BOOTS]);
            boot.restore_records(&fresh).unwrap();
            assert_eq!(boot.damaged_records().unwrap(), ["slot-a"]);
            assert_eq!(boot.trial().unwrap(), Some(armed));
            assert_eq!(boot.default_slot().unwrap(), Some(Slot::B));
        }
    }

    #[test]
    fn each_loader_reads_its_own_records() {
        for (flavour, boots) in [
            (BootFlavour::Grub, Boots::Count(0)),
            (BootFlavour::Uboot, Boots::Count(4)),
        ] {
            let (_dir, boot) = setup(flavour);
            boot.write_record(BOOTS_SECTOR, b"boots=4\nseq=7\n\0")
                .unwrap();
            assert_eq!(boot.boots().unwrap(), boots);
        }
    }
}
