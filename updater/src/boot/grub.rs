//! GRUB's side of the disk: the `edge-boot` file system and the raw sectors of `edge-trial`
//! (docs/formats.md). The script that reads them is `grub.cfg` beside this file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount_remount};
use sha2::{Digest, Sha256};

use super::envblk;
use super::records::{self, BootsRecord, hex};
use super::{BootControl, BootSource, Boots, FileSums, SlotFile, Trial};
use crate::durable;
use crate::types::Slot;

/// The static script for the EFI system partition.
pub const SCRIPT: &str = include_str!("grub.cfg");

const SECTOR: u64 = 512;
/// First sectors of the files `trial.0`, `trial.1` and `boots` in `edge-trial`.
pub const TRIAL_SECTORS: [u64; 2] = [7, 15];
pub const BOOTS_SECTOR: u64 = 23;

/// Two copies, written one after the other, so that one is always whole.
const DEFAULT_FILES: [&str; 2] = ["default", "default.copy"];

pub struct Grub {
    boot: PathBuf,
    trial: PathBuf,
    mounted: bool,
}

impl Grub {
    /// `boot` is a folder that becomes or is a copy of `edge-boot`, `trial` an image of `edge-trial`.
    pub fn in_folder(boot: &Path, trial: &Path) -> Self {
        Self {
            boot: boot.to_owned(),
            trial: trial.to_owned(),
            mounted: false,
        }
    }

    /// `boot` is the mount point of `edge-boot`, read-only but while we write; `trial` the block device.
    pub fn mounted(boot: &Path, trial: &Path) -> Self {
        Self {
            boot: boot.to_owned(),
            trial: trial.to_owned(),
            mounted: true,
        }
    }

    /// Makes the file system writable for one change. Going back to read-only empties its journal,
    /// which GRUB does not replay.
    fn change(&mut self, act: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if !self.mounted {
            return act(&self.boot);
        }
        self.remount(MountFlags::empty())?;
        let done = act(&self.boot);
        let synced = sync_file_system(&self.boot);
        let closed = self.remount(MountFlags::RDONLY);
        done.and(synced).and(closed)
    }

    fn remount(&self, flags: MountFlags) -> Result<()> {
        mount_remount(
            &self.boot,
            flags | MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID,
            "",
        )
        .with_context(|| format!("remounting {}", self.boot.display()))
    }

    fn read_block(&self, sector: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; envblk::SIZE];
        let file =
            File::open(&self.trial).with_context(|| format!("opening {}", self.trial.display()))?;
        file.read_exact_at(&mut bytes, sector * SECTOR)
            .with_context(|| format!("reading sector {sector} of {}", self.trial.display()))?;
        Ok(bytes)
    }

    fn write_block(&self, sector: u64, bytes: &[u8]) -> Result<()> {
        durable::overwrite(&self.trial, sector * SECTOR, bytes)
    }

    fn files_dir(&self) -> PathBuf {
        self.boot.join("slots")
    }
}

impl BootControl for Grub {
    fn slot_file(&self, slot: Slot) -> Result<Option<SlotFile>> {
        let bytes = read_if_exists(&self.boot.join(slot_name(slot)))?;
        Ok(bytes
            .and_then(|b| SlotFile::from_bytes(&b))
            .filter(|f| f.slot == slot))
    }

    fn write_slot_file(&mut self, file: &SlotFile) -> Result<()> {
        for text in [&file.options, &file.version, &file.deployment] {
            if text.contains(['\n', '\\', '\'', '"', '$', ';']) {
                bail!("'{text}' holds a character that GRUB would not take literally");
            }
        }
        self.change(|boot| durable::write(&boot.join(slot_name(file.slot)), &file.to_bytes()))
    }

    fn retire(&mut self, slot: Slot) -> Result<()> {
        self.change(|boot| durable::remove(&boot.join(slot_name(slot))))
    }

    fn default_slot(&self) -> Result<Option<Slot>> {
        for name in DEFAULT_FILES {
            let bytes = read_if_exists(&self.boot.join(name))?;
            if let Some(slot) = bytes.and_then(|b| records::default_from_bytes(&b)) {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    fn set_default(&mut self, slot: Slot) -> Result<()> {
        for name in DEFAULT_FILES {
            self.change(|boot| durable::write(&boot.join(name), &records::default_to_bytes(slot)))?;
        }
        Ok(())
    }

    fn trial(&self) -> Result<Option<Trial>> {
        let [one, other] = TRIAL_SECTORS;
        let (one, other) = (self.read_block(one)?, self.read_block(other)?);
        Ok(Trial::from_copies([&one, &other]))
    }

    fn set_trial(&mut self, trial: &Trial) -> Result<()> {
        TRIAL_SECTORS
            .into_iter()
            .try_for_each(|sector| self.write_block(sector, &trial.to_bytes()))
    }

    fn clear_trial(&mut self) -> Result<()> {
        TRIAL_SECTORS
            .into_iter()
            .try_for_each(|sector| self.write_block(sector, &envblk::format(&[])))
    }

    fn boots(&self) -> Result<Boots> {
        Ok(BootsRecord::from_bytes(&self.read_block(BOOTS_SECTOR)?).boots)
    }

    fn reset_boots(&mut self) -> Result<()> {
        let mut record = BootsRecord::from_bytes(&self.read_block(BOOTS_SECTOR)?);
        record.boots = Boots::Count(0);
        self.write_block(BOOTS_SECTOR, &record.to_bytes())
    }

    fn install_files(
        &mut self,
        deployment: &str,
        source: &BootSource,
        keep: &[String],
    ) -> Result<FileSums> {
        self.prune_files(keep)?;
        let dir = self.files_dir().join(deployment);
        let mut sums = FileSums {
            kernel: String::new(),
            initramfs: String::new(),
        };
        self.change(|_| {
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            sums.kernel = copy_synced(source.kernel, &dir.join("vmlinuz"))?;
            sums.initramfs = copy_synced(source.initramfs, &dir.join("initramfs.img"))?;
            durable::sync_dir(&dir)?;
            dir.parent().map_or(Ok(()), durable::sync_dir)
        })?;
        Ok(sums)
    }

    fn prune_files(&mut self, keep: &[String]) -> Result<()> {
        let stale = stale_folders(&self.files_dir(), keep)?;
        if stale.is_empty() {
            return Ok(());
        }
        self.change(|_| {
            stale.iter().try_for_each(|path| {
                fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))
            })
        })
    }

    fn files_intact(&self, file: &SlotFile) -> Result<bool> {
        let dir = self.files_dir().join(&file.deployment);
        for (name, expected) in [
            ("vmlinuz", &file.kernel_sha256),
            ("initramfs.img", &file.initrd_sha256),
        ] {
            match File::open(dir.join(name)) {
                Ok(mut opened) => {
                    let sum = hash_while(&mut opened, |_| Ok(()))
                        .with_context(|| format!("reading {name}"))?;
                    if sum != *expected {
                        return Ok(false);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(e) => {
                    return Err(e).with_context(|| format!("opening {name} of {}", dir.display()));
                }
            }
        }
        Ok(true)
    }

    fn room(&self, keep: &[String]) -> Result<Option<u64>> {
        if !self.mounted {
            return Ok(None);
        }
        let stat = rustix::fs::statvfs(&self.boot)
            .with_context(|| format!("asking {} for room", self.boot.display()))?;
        let mut room = stat.f_bavail * stat.f_frsize;
        for stale in stale_folders(&self.files_dir(), keep)? {
            for entry in fs::read_dir(&stale)? {
                room += entry?.metadata()?.len();
            }
        }
        Ok(Some(room))
    }
}

fn slot_name(slot: Slot) -> String {
    format!("slot-{slot}")
}

fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}

fn stale_folders(dir: &Path, keep: &[String]) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("listing {}", dir.display()))?,
    };
    let mut stale = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !keep.iter().any(|name| entry.file_name() == name.as_str()) {
            stale.push(entry.path());
        }
    }
    stale.sort();
    Ok(stale)
}

/// Copies, syncs, and reads the copy back from the medium's side of the page cache as far as one can.
fn copy_synced(from: &Path, to: &Path) -> Result<String> {
    let act = || -> Result<String> {
        let (mut source, mut target) = (File::open(from)?, File::create(to)?);
        let sum = hash_while(&mut source, |bytes| target.write_all(bytes))?;
        target.sync_all()?;
        rustix::fs::fadvise(&target, 0, None, rustix::fs::Advice::DontNeed)?;
        let copied = hash_while(&mut File::open(to)?, |_| Ok(()))?;
        if sum != copied {
            bail!("the copy differs from what was written: the medium is failing");
        }
        Ok(sum)
    };
    act().with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn hash_while(
    from: &mut File,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let n = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else {
            return Ok(hex(&hash.finalize()));
        };
        hash.update(bytes);
        each(bytes)?;
    }
}

fn sync_file_system(path: &Path) -> Result<()> {
    let dir = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    rustix::fs::syncfs(&dir).with_context(|| format!("syncing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (tempfile::TempDir, Grub) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("boot")).unwrap();
        fs::write(dir.path().join("trial"), vec![0; 1 << 20]).unwrap();
        let grub = Grub::in_folder(&dir.path().join("boot"), &dir.path().join("trial"));
        (dir, grub)
    }

    #[test]
    fn default_survives_one_damaged_copy() {
        let (dir, mut grub) = setup();
        assert_eq!(grub.default_slot().unwrap(), None);
        grub.set_default(Slot::B).unwrap();
        fs::write(dir.path().join("boot/default"), b"garbage").unwrap();
        assert_eq!(grub.default_slot().unwrap(), Some(Slot::B));
        fs::write(dir.path().join("boot/default.copy"), b"").unwrap();
        assert_eq!(grub.default_slot().unwrap(), None);
    }

    #[test]
    fn trial_is_armed_and_cleared_in_place() {
        let (_dir, mut grub) = setup();
        assert_eq!(grub.trial().unwrap(), None);
        let trial = Trial::new(Slot::B, "ab".repeat(32).parse().unwrap(), 3);
        grub.set_trial(&trial).unwrap();
        assert_eq!(grub.trial().unwrap(), Some(trial));
        grub.clear_trial().unwrap();
        assert_eq!(grub.trial().unwrap(), None);
    }

    #[test]
    fn boot_files_are_copied_checked_and_pruned() {
        let (dir, mut grub) = setup();
        let (kernel, initramfs) = (dir.path().join("k"), dir.path().join("i"));
        fs::write(&kernel, b"kernel").unwrap();
        fs::write(&initramfs, b"initramfs").unwrap();
        let source = BootSource {
            kernel: &kernel,
            initramfs: &initramfs,
        };
        let sums = grub.install_files("one.0", &source, &[]).unwrap();
        let file = SlotFile {
            slot: Slot::A,
            commit: "ab".repeat(32).parse().unwrap(),
            deployment: "one.0".into(),
            version: "1".into(),
            options: "quiet".into(),
            kernel_sha256: sums.kernel,
            initrd_sha256: sums.initramfs,
        };
        grub.write_slot_file(&file).unwrap();
        assert_eq!(grub.slot_file(Slot::A).unwrap(), Some(file.clone()));
        assert_eq!(grub.slot_file(Slot::B).unwrap(), None);
        assert!(grub.files_intact(&file).unwrap());
        grub.install_files("two.0", &source, &["one.0".into()])
            .unwrap();
        assert!(grub.files_intact(&file).unwrap());
        grub.prune_files(&["two.0".into()]).unwrap();
        assert!(!grub.files_intact(&file).unwrap());
        grub.retire(Slot::A).unwrap();
        assert_eq!(grub.slot_file(Slot::A).unwrap(), None);
    }

    #[test]
    fn options_that_grub_would_interpret_are_refused() {
        let (_dir, mut grub) = setup();
        let file = SlotFile {
            slot: Slot::A,
            commit: "ab".repeat(32).parse().unwrap(),
            deployment: "one.0".into(),
            version: "1".into(),
            options: "x=$(reboot)".into(),
            kernel_sha256: String::new(),
            initrd_sha256: String::new(),
        };
        assert!(grub.write_slot_file(&file).is_err());
    }
}
