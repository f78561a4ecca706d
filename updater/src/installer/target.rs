//! The disk that is being installed: partitioned, its file systems made and mounted, and last of all made bootable.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::board::BootFlavour;
use crate::boot::grub;
use crate::disk::{Disk, PART_BOOT, PART_ESP, PART_ROOT, PART_TRIAL};
use crate::durable;
use crate::media::layout::Layout;
use crate::media::{self, Place, filesystems, firmware, loader, uboot};

/// For a BIOS that boots the disk before it is whole: `int 18h`, which goes on to the next device, else `hlt` for ever. A
/// boot sector without code would be run.
const NEXT_DEVICE: &[u8] = &[0xcd, 0x18, 0xf4, 0xeb, 0xfd];

pub struct Target {
    disk: Disk,
    layout: Layout,
    /// Of the mount points.
    work: PathBuf,
    boot: Mounted,
    root: Mounted,
}

impl Target {
    /// Erases the disk. `root` is that of the running system.
    pub fn make(root: &Path, device: &Path, layout: Layout, work: &Path) -> Result<Self> {
        media::partition(device, &layout)
            .with_context(|| format!("partitioning {}", device.display()))?;
        durable::overwrite(device, 0, NEXT_DEVICE)?;
        let disk = Disk::on(root, device)?;
        let at = |name: &str| disk.partition(name).map(|p| p.device.clone());
        let (boot, root) = (at(PART_BOOT)?, at(PART_ROOT)?);
        filesystems::make_empty_boot(&Place::on_device(&boot, &layout.boot))?;
        filesystems::make_empty_root(&Place::on_device(&root, &layout.root))?;
        Ok(Self {
            boot: Mounted::new(&boot, &work.join("boot"), "ext4")?,
            root: Mounted::new(&root, &work.join("root"), "ext4")?,
            work: work.to_owned(),
            disk,
            layout,
        })
    }

    /// Where `edge-root` is mounted.
    pub fn root(&self) -> &Path {
        &self.root.at
    }

    /// Where `edge-boot` is mounted.
    pub fn boot(&self) -> &Path {
        &self.boot.at
    }

    /// The device of `edge-trial`.
    pub fn trial(&self) -> Result<&Path> {
        Ok(&self.disk.partition(PART_TRIAL)?.device)
    }

    /// Writes the loader's records as they are before the first boot.
    pub fn write_trial(&self, tree: &Path) -> Result<()> {
        durable::overwrite(self.trial()?, 0, &loader::trial(tree)?)
    }

    /// Last, for a disk that is not whole must not be booted: firmware passes over a disk without a loader.
    pub fn make_bootable(self, flavour: BootFlavour, tree: &Path) -> Result<()> {
        let blobs = firmware::of_tree(tree)?;
        check_room(&blobs, self.layout.esp.start)?;
        match flavour {
            BootFlavour::Grub => self.write_esp(tree)?,
            BootFlavour::Uboot => self.write_script(tree)?,
        }
        firmware::write(&self.disk.device, &blobs)?;
        let Self { boot, root, .. } = self;
        boot.unmount()?;
        root.unmount()
    }

    fn write_esp(&self, tree: &Path) -> Result<()> {
        let fat = self.fat("ESP")?;
        copy_folder(&tree.join("usr/lib/ostree-boot/efi"), &fat.at)?;
        let config = fat.at.join("EFI/debian");
        fs::create_dir_all(&config).with_context(|| format!("making {}", config.display()))?;
        durable::write(&config.join("grub.cfg"), grub::SCRIPT.as_bytes())?;
        fat.unmount()
    }

    fn write_script(&self, tree: &Path) -> Result<()> {
        let script = loader::script(tree);
        let bytes = fs::read(&script).with_context(|| format!("reading {}", script.display()))?;
        durable::write(&self.boot().join(uboot::SCRIPT), &bytes)?;
        let fat = self.fat("UBOOT")?;
        durable::write(&fat.at.join(uboot::SCRIPT), &bytes)?;
        fat.unmount()
    }

    fn fat(&self, label: &str) -> Result<Mounted> {
        let device = &self.disk.partition(PART_ESP)?.device;
        filesystems::make_empty_fat(&Place::on_device(device, &self.layout.esp), label)?;
        Mounted::new(device, &self.work.join("esp"), "vfat")
    }
}

/// The partitions were made for the firmware that the installer knows.
fn check_room(blobs: &[firmware::Blob], first_partition: u64) -> Result<()> {
    match blobs.iter().find(|blob| blob.end() > first_partition) {
        None => Ok(()),
        Some(blob) => bail!(
            "{} reaches into the first partition: make an installer of this release or a newer one",
            blob.path.display()
        ),
    }
}

/// Folders and files; what is written is on the medium when the file system is unmounted.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry.with_context(|| format!("listing {}", from.display()))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

/// A file system that is mounted, unmounted also where the installation fails.
pub struct Mounted {
    at: PathBuf,
    there: bool,
}

impl Mounted {
    pub fn new(device: &Path, at: &Path, kind: &str) -> Result<Self> {
        Self::with_flags(device, at, kind, MountFlags::NOATIME)
    }

    pub fn with_flags(device: &Path, at: &Path, kind: &str, flags: MountFlags) -> Result<Self> {
        fs::create_dir_all(at).with_context(|| format!("making {}", at.display()))?;
        mount(device, at, kind, flags, c"")
            .with_context(|| format!("mounting {} as {kind}", device.display()))?;
        Ok(Self {
            at: at.to_owned(),
            there: true,
        })
    }

    pub fn at(&self) -> &Path {
        &self.at
    }

    /// With what was written on the medium.
    pub fn unmount(mut self) -> Result<()> {
        self.there = false;
        unmount(&self.at, UnmountFlags::empty())
            .with_context(|| format!("unmounting {}", self.at.display()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.there {
            // The error that brought us here is the one that matters.
            let _ = unmount(&self.at, UnmountFlags::DETACH);
        }
    }
}
