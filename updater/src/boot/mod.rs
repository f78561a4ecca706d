//! What the boot loader is told: which slot is the default, which is on trial, what each slot boots.
//!
//! Every doubt ends in the default slot: a record that is missing, torn or does not check out reads
//! as "no trial", a slot file that does not check out as "no slot".

mod copies;
pub mod envblk;
pub mod fake;
pub mod files;
pub mod grub;
pub mod on_disk;
pub mod records;
pub mod trial_fs;
pub mod uboot;

use std::path::Path;

use anyhow::Result;

use crate::types::{CommitChecksum, Slot};
pub use on_disk::OnDisk;
pub use records::{Boots, DeviceTree, SlotFile, Trial};

/// Where and how a boot loader keeps its choices. Implementations write durably.
pub trait BootControl {
    /// `None` when the slot holds nothing that may boot.
    fn slot_file(&self, slot: Slot) -> Result<Option<SlotFile>>;
    fn write_slot_file(&mut self, file: &SlotFile) -> Result<()>;
    /// After this the loader cannot boot the slot.
    fn retire(&mut self, slot: Slot) -> Result<()>;

    /// `None` when the loader has no readable default.
    fn default_slot(&self) -> Result<Option<Slot>>;
    fn set_default(&mut self, slot: Slot) -> Result<()>;

    fn trial(&self) -> Result<Option<Trial>>;
    fn set_trial(&mut self, trial: &Trial) -> Result<()>;
    fn clear_trial(&mut self) -> Result<()>;

    /// How often the default was booted since it last came up well.
    fn boots(&self) -> Result<Boots>;
    fn reset_boots(&mut self) -> Result<()>;

    /// Copies a deployment's files to boot to where the loader reads them; returns their
    /// SHA-256. Files of deployments other than those in `keep` are removed first.
    fn install_files(
        &mut self,
        deployment: &str,
        source: &BootSource,
        keep: &[String],
    ) -> Result<FileSums>;
    /// As [`BootControl::install_files`] over files that may be damaged: each one is replaced in one step, and nothing
    /// is removed.
    fn restore_files(&mut self, deployment: &str, source: &BootSource) -> Result<FileSums>;
    /// Removes the boot files of every deployment that is not in `keep`.
    fn prune_files(&mut self, keep: &[String]) -> Result<()>;
    /// Whether the files a slot file names are there and have its checksums.
    fn files_intact(&self, file: &SlotFile) -> Result<bool>;
    /// What of the loader's own records cannot be read, by name.
    fn damaged_records(&self) -> Result<Vec<String>>;
    /// Writes the damaged ones again, with what their copies say; a trial record without a good copy is no trial.
    /// `fresh` is `edge-trial` as it is before the first boot.
    fn restore_records(&mut self, fresh: &[u8]) -> Result<()>;
    /// A file of the loader's own, a spare copy of one that lies elsewhere.
    fn write_spare(&mut self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Bytes that could be written if only the files of `keep` stayed; `None` without a limit.
    fn room(&self, keep: &[String]) -> Result<Option<u64>>;
    /// Bytes that can be written beside all that is there.
    fn room_beside(&self) -> Result<Option<u64>>;
}

/// A deployment's files to boot, as paths in its tree.
pub struct BootSource<'a> {
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    /// The board's device tree; without one the firmware's is used.
    pub fdt: Option<&'a Path>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSums {
    pub kernel: String,
    pub initramfs: String,
    pub fdt: Option<DeviceTree>,
}

impl Trial {
    pub fn new(slot: Slot, commit: CommitChecksum, left: u8) -> Self {
        Self { slot, commit, left }
    }
}
