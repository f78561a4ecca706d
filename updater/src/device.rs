//! A device as a whole: its settings, state, sysroot and boot loader, opened for reading or writing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount_remount};

use crate::board::{self, BoardFile};
use crate::boot::{BootControl, OnDisk};
use crate::config::{self, Settings};
use crate::decide::{HowBooted, Observed};
use crate::disk::{self, Disk, PART_TRIAL};
use crate::durable;
use crate::exit::Stop;
use crate::history::{self, Entry, Event};
use crate::output;
use crate::state::{self, State};
use crate::sysroot::{STATEROOT, Sysroot};
use crate::types::{CommitChecksum, Slot};

const BOOT_MOUNT: &str = "run/edge-ota/boot";
const LOCK: &str = "run/edge-ota/lock";
const STATE_DIR: &str = "var/lib/edge-ota";
pub const ROOTS_IN_TREE: &str = "usr/lib/edge-ota/root";

pub struct Device {
    pub root: PathBuf,
    pub disk: Disk,
    pub board: BoardFile,
    pub settings: Settings,
    pub sysroot: Sysroot,
    pub boot: Box<dyn BootControl>,
    pub state: State,
    _lock: Option<File>,
}

impl Device {
    /// For commands that only look.
    pub fn open_to_read(root: &Path) -> Result<Self> {
        let disk = find_disk(root)?;
        disk::mount_boot(&disk, &root.join(BOOT_MOUNT))?;
        Self::open(root, disk, None)
    }

    /// As [`Device::open_to_write`], but waits for another process to finish: a unit is started once.
    pub fn open_to_write_waiting(root: &Path) -> Result<Self> {
        let disk = find_disk(root)?;
        disk::mount_boot(&disk, &root.join(BOOT_MOUNT))?;
        Self::open_writable(root, disk, disk::lock(&root.join(LOCK))?)
    }

    /// Takes the updater's lock, and a mount namespace of our own where the sysroot is writable:
    /// call it before any thread is started.
    pub fn open_to_write(root: &Path) -> Result<Self> {
        let disk = find_disk(root)?;
        disk::mount_boot(&disk, &root.join(BOOT_MOUNT))?;
        let lock = disk::try_lock(&root.join(LOCK))?.ok_or(Stop::Locked)?;
        Self::open_writable(root, disk, lock)
    }

    fn open_writable(root: &Path, disk: Disk, lock: File) -> Result<Self> {
        enter_mount_namespace()?;
        mount_remount(
            root.join("sysroot"),
            MountFlags::BIND | MountFlags::NOATIME,
            "",
        )
        .context("making /sysroot writable for this process")?;
        Self::open(root, disk, Some(lock))
    }

    fn open(root: &Path, disk: Disk, lock: Option<File>) -> Result<Self> {
        let board = board::load(root)?;
        let trial = &disk.partition(PART_TRIAL)?.device;
        let boot = OnDisk::mounted(board.boot, &root.join(BOOT_MOUNT), trial);
        Ok(Self {
            root: root.to_owned(),
            board,
            settings: config::load(root)?,
            sysroot: Sysroot::open(root)?,
            boot: Box::new(boot),
            state: load_state(root),
            disk,
            _lock: lock,
        })
    }

    pub fn observe(&self) -> Result<Observed> {
        Ok(Observed {
            booted: self.booted_slot()?,
            default: self.boot.default_slot()?,
            trial: self.boot.trial()?,
            boots: self.boot.boots()?,
            how: how_booted(&self.root)?,
            staged: self.state.ready().map(|s| s.slot),
        })
    }

    /// The slot whose link leads to the deployment we run from.
    fn booted_slot(&self) -> Result<Option<Slot>> {
        let Some(booted) = self.sysroot.booted()? else {
            return Ok(None);
        };
        for slot in Slot::BOTH {
            if self
                .sysroot
                .slot_deployment(slot)?
                .is_some_and(|d| d.id == booted.id)
            {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    pub fn save_state(&self) -> Result<()> {
        state::save(&self.root.join(STATE_DIR), &self.state)
    }

    /// One line for the log and one for `edge-ota history`.
    pub fn record(
        &self,
        event: Event,
        slot: Option<Slot>,
        commit: Option<&CommitChecksum>,
        version: &str,
        detail: &str,
    ) -> Result<()> {
        let entry = Entry {
            at: now()?,
            event,
            slot,
            commit: commit.cloned(),
            version: (!version.is_empty()).then(|| version.to_owned()),
            detail: detail.to_owned(),
        };
        let line = history::table(std::slice::from_ref(&entry));
        output::say(format_args!("edge-ota: {}", line.trim_end()));
        history::append(&self.root.join(STATE_DIR), &entry)
    }

    pub fn history(&self) -> Result<Vec<Entry>> {
        history::load(&self.root.join(STATE_DIR))
    }

    /// Where `edge-boot` is mounted.
    pub fn boot_dir(&self) -> PathBuf {
        self.root.join(BOOT_MOUNT)
    }

    /// A note that a job on the disk is done; `None` before it is.
    pub fn note(&self, name: &str) -> Result<Option<String>> {
        let path = self.root.join(STATE_DIR).join(name);
        match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => Ok(Some(
                other.with_context(|| format!("reading {}", path.display()))?,
            )),
        }
    }

    pub fn write_note(&self, name: &str, text: &str) -> Result<()> {
        fs::create_dir_all(self.root.join(STATE_DIR))
            .with_context(|| format!("making {STATE_DIR}"))?;
        durable::write(&self.root.join(STATE_DIR).join(name), text.as_bytes())
    }

    pub fn remove_note(&self, name: &str) -> Result<()> {
        durable::remove(&self.root.join(STATE_DIR).join(name))
    }

    /// Where root documents newer than the tree's are kept.
    pub fn stored_roots(&self) -> PathBuf {
        self.root.join(STATE_DIR).join("root")
    }
}

/// Before anything uses `/var`: mounts the disk's own partition for it, if there is one.
pub fn mount_var(root: &Path) -> Result<()> {
    let target = root
        .join("sysroot/ostree/deploy")
        .join(STATEROOT)
        .join("var");
    disk::mount_var(&find_disk(root)?, &target).map(drop)
}

fn find_disk(root: &Path) -> Result<Disk> {
    Disk::of(root, &root.join("sysroot")).context("finding the disk of the sysroot")
}

pub fn how_booted(root: &Path) -> Result<HowBooted> {
    let path = root.join("proc/cmdline");
    let cmdline =
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(HowBooted::parse(&cmdline))
}

/// A state that cannot be read never stops a device: it starts anew, and says so.
fn load_state(root: &Path) -> State {
    let loaded = state::load(&root.join(STATE_DIR));
    if let Some(warning) = loaded.warning {
        output::say(format_args!("edge-ota: {warning}"));
    }
    loaded.state
}

pub fn now() -> Result<u64> {
    Ok(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_secs())
}

#[allow(unsafe_code)]
pub fn enter_mount_namespace() -> Result<()> {
    // SAFETY: only CLONE_FILES makes this call unsafe, and it is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .context("entering a mount namespace of our own (root is needed)")
}
