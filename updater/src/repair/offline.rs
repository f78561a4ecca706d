//! A disk of ours that does not run: its file systems are checked and mounted, and go again with the guard. Call it in
//! a mount namespace of our own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::mount::MountFlags;

use super::System;
use crate::board;
use crate::boot::OnDisk;
use crate::cmd::Cmd;
use crate::config;
use crate::disk::{Disk, PART_BOOT, PART_ESP, PART_ROOT, PART_TRIAL};
use crate::installer::target::Mounted;
use crate::sysroot::Sysroot;
use crate::types::Slot;

const MOUNTS: &str = "run/edge-ota/repair";

/// The disk, mounted. The fields go in this order.
pub struct Offline {
    pub sysroot: Sysroot,
    boot: OnDisk,
    /// The tree whose settings count.
    pub tree: PathBuf,
    esp: Mounted,
    boot_dir: Mounted,
    _root: Mounted,
}

pub fn open(root: &Path, device: &Path) -> Result<Offline> {
    let whole = fs::canonicalize(device);
    let whole = whole.with_context(|| format!("looking for {}", device.display()))?;
    let disk = Disk::on(root, &whole)?;
    for name in [PART_ROOT, PART_BOOT] {
        check_file_system(&disk.partition(name)?.device)?;
    }
    let at = |name: &str| root.join(MOUNTS).join(name);
    let part = |name: &str| disk.partition(name).map(|partition| &partition.device);
    let sysroot_dir = Mounted::new(part(PART_ROOT)?, &at("root"), "ext4")?;
    let boot_dir = Mounted::with_flags(part(PART_BOOT)?, &at("boot"), "ext4", read_only())?;
    let esp = mount_esp(&disk, root)?;
    let sysroot = Sysroot::open(sysroot_dir.at())?;
    let tree = some_tree(&sysroot)?;
    let flavour = board::load(&tree)?.boot;
    let boot = OnDisk::mounted(flavour, boot_dir.at(), part(PART_TRIAL)?);
    Ok(Offline {
        sysroot,
        boot,
        tree,
        esp,
        boot_dir,
        _root: sysroot_dir,
    })
}

impl Offline {
    pub fn system(&mut self) -> System<'_> {
        System {
            sysroot: &self.sysroot,
            boot: &mut self.boot,
            booted: None,
            unwritten: None,
            esp: Some(self.esp.at().to_owned()),
            boot_dir: self.boot_dir.at().to_owned(),
        }
    }

    /// Where the device looks for releases, by its own settings.
    pub fn settings(&self) -> Result<config::Settings> {
        Ok(config::load(&self.tree)?)
    }
}

/// Mounts the first partition, writable.
pub fn mount_esp(disk: &Disk, root: &Path) -> Result<Mounted> {
    let partition = &disk.partition(PART_ESP)?.device;
    let flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    Mounted::with_flags(partition, &root.join(MOUNTS).join("esp"), "vfat", flags)
}

fn read_only() -> MountFlags {
    MountFlags::RDONLY | MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID
}

/// As the initramfs does it: content is checked by its checksums afterwards.
fn check_file_system(device: &Path) -> Result<()> {
    let check = |how: &str| -> Result<Option<i32>> {
        Ok(Cmd::new("e2fsck").arg(how).arg(device).status()?.code())
    };
    match check("-p")? {
        Some(0..=2) => return Ok(()),
        Some(4) => {}
        other => bail!("e2fsck of {} ended with {other:?}", device.display()),
    }
    match check("-y")? {
        Some(0..=2) => Ok(()),
        other => bail!("e2fsck of {} ended with {other:?}", device.display()),
    }
}

/// Board and settings are the same in both slots, as far as they matter here.
fn some_tree(sysroot: &Sysroot) -> Result<PathBuf> {
    for slot in Slot::BOTH {
        let Some(deployment) = sysroot.slot_deployment(slot)? else {
            continue;
        };
        let tree = sysroot.deployment_dir(&deployment.id);
        if tree.join(board::PATH).is_file() {
            return Ok(tree);
        }
    }
    bail!("no slot has a deployment: install the device anew")
}
