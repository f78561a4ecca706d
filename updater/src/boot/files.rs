//! The file system `edge-boot` (docs/formats.md): slot files, the default and its copy, kernels. The same for
//! every loader.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount_remount};

use super::copies::{copy_synced, copy_tree, hash_if_exists, replace, replace_tree};
use super::records::{self, SlotFile};
use super::{BootSource, FileSums};
use crate::durable;
use crate::types::Slot;

/// Two copies, written one after the other, so that one is always whole.
const DEFAULT_FILES: [&str; 2] = ["default", "default.copy"];

pub struct BootFiles {
    dir: PathBuf,
    mounted: bool,
}

impl BootFiles {
    /// `dir` is a folder that becomes or is a copy of `edge-boot`.
    pub fn in_folder(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            mounted: false,
        }
    }

    /// `dir` is the mount point of `edge-boot`, read-only but while we write.
    pub fn mounted(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            mounted: true,
        }
    }

    pub fn slot_file(&self, slot: Slot) -> Result<Option<SlotFile>> {
        let bytes = read_if_exists(&self.dir.join(slot_name(slot)))?;
        Ok(bytes
            .and_then(|b| SlotFile::from_bytes(&b))
            .filter(|f| f.slot == slot))
    }

    pub fn write_slot_file(&mut self, file: &SlotFile) -> Result<()> {
        let tree = file.fdt.as_ref().map(|fdt| &fdt.file);
        for text in [&file.options, &file.version, &file.deployment]
            .into_iter()
            .chain(tree)
        {
            if text.contains(['\n', '\\', '\'', '"', '$', ';']) {
                bail!("'{text}' holds a character that a loader would not take literally");
            }
        }
        self.change(|dir| durable::write(&dir.join(slot_name(file.slot)), &file.to_bytes()))
    }

    pub fn retire(&mut self, slot: Slot) -> Result<()> {
        self.change(|dir| durable::remove(&dir.join(slot_name(slot))))
    }

    pub fn default_slot(&self) -> Result<Option<Slot>> {
        for name in DEFAULT_FILES {
            let bytes = read_if_exists(&self.dir.join(name))?;
            if let Some(slot) = bytes.and_then(|b| records::default_from_bytes(&b)) {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    pub fn set_default(&mut self, slot: Slot) -> Result<()> {
        for name in DEFAULT_FILES {
            self.change(|dir| durable::write(&dir.join(name), &records::default_to_bytes(slot)))?;
        }
        Ok(())
    }

    pub fn install(
        &mut self,
        deployment: &str,
        source: &BootSource,
        keep: &[String],
    ) -> Result<FileSums> {
        self.prune(keep)?;
        let dir = self.slots_dir().join(deployment);
        self.change(|_| {
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            let sums = FileSums {
                kernel: copy_synced(source.kernel, &dir.join("vmlinuz"))?,
                initramfs: copy_synced(source.initramfs, &dir.join("initramfs.img"))?,
                fdt: source.fdt.map(|from| copy_tree(from, &dir)).transpose()?,
            };
            durable::sync_dir(&dir)?;
            dir.parent().map_or(Ok(()), durable::sync_dir)?;
            Ok(sums)
        })
    }

    /// Each file takes the place of a damaged one by a rename.
    pub fn restore(&mut self, deployment: &str, source: &BootSource) -> Result<FileSums> {
        let dir = self.slots_dir().join(deployment);
        self.change(|_| {
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            let sums = FileSums {
                kernel: replace(source.kernel, &dir.join("vmlinuz"))?,
                initramfs: replace(source.initramfs, &dir.join("initramfs.img"))?,
                fdt: source
                    .fdt
                    .map(|from| replace_tree(from, &dir))
                    .transpose()?,
            };
            dir.parent().map_or(Ok(()), durable::sync_dir)?;
            Ok(sums)
        })
    }

    /// Which of the default's copies and the slot files are there and cannot be read, or differ from what counts.
    pub fn damaged(&self) -> Result<Vec<String>> {
        let default = self.default_slot()?;
        let mut damaged = Vec::new();
        for name in DEFAULT_FILES {
            let bytes = read_if_exists(&self.dir.join(name))?;
            let says = bytes.and_then(|bytes| records::default_from_bytes(&bytes));
            if says.is_none() || says != default {
                damaged.push(name.to_owned());
            }
        }
        for slot in Slot::BOTH {
            let there = self.dir.join(slot_name(slot)).exists();
            if there && self.slot_file(slot)?.is_none() {
                damaged.push(slot_name(slot));
            }
        }
        Ok(damaged)
    }

    pub fn write_spare(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.change(|dir| durable::write(&dir.join(name), bytes))
    }

    pub fn prune(&mut self, keep: &[String]) -> Result<()> {
        let stale = stale_folders(&self.slots_dir(), keep)?;
        if stale.is_empty() {
            return Ok(());
        }
        self.change(|_| {
            stale.iter().try_for_each(|path| {
                fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))
            })
        })
    }

    pub fn intact(&self, file: &SlotFile) -> Result<bool> {
        let dir = self.slots_dir().join(&file.deployment);
        let tree = file
            .fdt
            .as_ref()
            .map(|fdt| (fdt.file.as_str(), &fdt.sha256));
        for (name, expected) in [
            ("vmlinuz", &file.kernel_sha256),
            ("initramfs.img", &file.initrd_sha256),
        ]
        .into_iter()
        .chain(tree)
        {
            if hash_if_exists(&dir.join(name))?.as_ref() != Some(expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn room_beside(&self) -> Result<Option<u64>> {
        if !self.mounted {
            return Ok(None);
        }
        let stat = rustix::fs::statvfs(&self.dir)
            .with_context(|| format!("asking {} for room", self.dir.display()))?;
        Ok(Some(stat.f_bavail * stat.f_frsize))
    }

    pub fn room(&self, keep: &[String]) -> Result<Option<u64>> {
        let Some(mut room) = self.room_beside()? else {
            return Ok(None);
        };
        for stale in stale_folders(&self.slots_dir(), keep)? {
            for entry in fs::read_dir(&stale)? {
                room += entry?.metadata()?.len();
            }
        }
        Ok(Some(room))
    }

    /// Makes the file system writable for one change. Going back to read-only empties its journal,
    /// which no loader replays.
    fn change<T>(&mut self, act: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        if !self.mounted {
            return act(&self.dir);
        }
        self.remount(MountFlags::empty())?;
        let done = act(&self.dir);
        let synced = sync_file_system(&self.dir);
        let closed = self.remount(MountFlags::RDONLY);
        done.and_then(|value| synced.and(closed).map(|()| value))
    }

    fn remount(&self, flags: MountFlags) -> Result<()> {
        mount_remount(
            &self.dir,
            flags | MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID,
            "",
        )
        .with_context(|| format!("remounting {}", self.dir.display()))
    }

    fn slots_dir(&self) -> PathBuf {
        self.dir.join("slots")
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

fn sync_file_system(path: &Path) -> Result<()> {
    let dir = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    rustix::fs::syncfs(&dir).with_context(|| format!("syncing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (tempfile::TempDir, BootFiles) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("boot")).unwrap();
        let files = BootFiles::in_folder(&dir.path().join("boot"));
        (dir, files)
    }

    fn slot_file(sums: FileSums) -> SlotFile {
        SlotFile {
            slot: Slot::A,
            commit: "ab".repeat(32).parse().unwrap(),
            deployment: "one.0".into(),
            version: "1".into(),
            options: "quiet".into(),
            kernel_sha256: sums.kernel,
            initrd_sha256: sums.initramfs,
            fdt: sums.fdt,
        }
    }

    #[test]
    fn default_survives_one_damaged_copy() {
        let (dir, mut files) = setup();
        assert_eq!(files.default_slot().unwrap(), None);
        files.set_default(Slot::B).unwrap();
        fs::write(dir.path().join("boot/default"), b"garbage").unwrap();
        assert_eq!(files.default_slot().unwrap(), Some(Slot::B));
        fs::write(dir.path().join("boot/default.copy"), b"").unwrap();
        assert_eq!(files.default_slot().unwrap(), None);
    }

    #[test]
    fn boot_files_are_copied_checked_and_pruned() {
        let (dir, mut files) = setup();
        let put = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        fs::create_dir(dir.path().join("vendor")).unwrap();
        let (kernel, initramfs, fdt) = (put("k"), put("i"), put("vendor/board.dtb"));
        let source = BootSource {
            kernel: &kernel,
            initramfs: &initramfs,
            fdt: Some(&fdt),
        };
        let file = slot_file(files.install("one.0", &source, &[]).unwrap());
        assert_eq!(file.fdt.as_ref().unwrap().file, "board.dtb");
        files.write_slot_file(&file).unwrap();
        assert_eq!(files.slot_file(Slot::A).unwrap(), Some(file.clone()));
        assert_eq!(files.slot_file(Slot::B).unwrap(), None);
        assert!(files.intact(&file).unwrap());
        files.install("two.0", &source, &["one.0".into()]).unwrap();
        for name in ["vmlinuz", "initramfs.img", "board.dtb"] {
            let copy = dir.path().join("boot/slots/one.0").join(name);
            let good = fs::read(&copy).unwrap();
            fs::write(&copy, "x").unwrap();
            assert!(!files.intact(&file).unwrap(), "{name}");
            fs::write(&copy, good).unwrap();
        }
        assert!(files.intact(&file).unwrap());
        files.prune(&["two.0".into()]).unwrap();
        assert!(!files.intact(&file).unwrap());
        files.retire(Slot::A).unwrap();
        assert_eq!(files.slot_file(Slot::A).unwrap(), None);
    }

    #[test]
    fn options_that_a_loader_would_interpret_are_refused() {
        let (_dir, mut files) = setup();
        let sums = FileSums {
            kernel: String::new(),
            initramfs: String::new(),
            fdt: None,
        };
        let file = SlotFile {
            options: "x=$(reboot)".into(),
            ..slot_file(sums)
        };
        assert!(files.write_slot_file(&file).is_err());
    }
}
