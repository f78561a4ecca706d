//! Writes a system into a slot and flips between the slots: the same steps for the first installation
//! into an image and for an upgrade on a device. At every moment the loader finds the default slot whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::board::{self, BoardFile};
use crate::boot::{BootControl, BootSource, FileSums, SlotFile, Trial};
use crate::kargs;
use crate::sysroot::{Deployment, Sysroot};
use crate::types::{CommitChecksum, Slot};

pub struct SlotWrite<'a> {
    pub slot: Slot,
    pub commit: &'a CommitChecksum,
    /// The deployment whose `/etc` is carried over.
    pub merge: Option<&'a str>,
    /// Deployments that must live on: the default slot's.
    pub keep: &'a [String],
}

/// Installs into slot a of a sysroot that holds nothing yet. `prepare` gets the deployment's folder, for what is this
/// device's own.
pub fn install_first(
    sysroot: &Sysroot,
    boot: &mut dyn BootControl,
    commit: &CommitChecksum,
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<SlotFile> {
    let new = deploy_first(sysroot, commit)?;
    prepare(&sysroot.deployment_dir(&new))?;
    boot_first(sysroot, boot, commit, new)
}

/// The first half of [`install_first`]: the deployment, which nothing boots yet.
pub fn deploy_first(sysroot: &Sysroot, commit: &CommitChecksum) -> Result<String> {
    let new = sysroot.deploy(commit, None, &[])?;
    sysroot.link_slot(Slot::A, &new.id)?;
    Ok(new.id)
}

/// The second half of [`install_first`].
pub fn boot_first(
    sysroot: &Sysroot,
    boot: &mut dyn BootControl,
    commit: &CommitChecksum,
    deployment: String,
) -> Result<SlotFile> {
    let write = SlotWrite {
        slot: Slot::A,
        commit,
        merge: None,
        keep: &[],
    };
    boot.clear_trial()?;
    let file = make_bootable(sysroot, boot, &write, deployment)?;
    boot.set_default(Slot::A)?;
    Ok(file)
}

/// Retires the slot, deploys the commit, links the slot to it, copies its boot files, and last of all
/// writes the slot file, without which the loader boots nothing there.
pub fn write_slot(
    sysroot: &Sysroot,
    boot: &mut dyn BootControl,
    write: &SlotWrite,
) -> Result<SlotFile> {
    let new = deploy(sysroot, boot, write)?;
    make_bootable(sysroot, boot, write, new)
}

fn deploy(sysroot: &Sysroot, boot: &mut dyn BootControl, write: &SlotWrite) -> Result<String> {
    retire(boot, write.slot)?;
    let new = sysroot.deploy(write.commit, write.merge, write.keep)?;
    sysroot.link_slot(write.slot, &new.id)?;
    Ok(new.id)
}

fn make_bootable(
    sysroot: &Sysroot,
    boot: &mut dyn BootControl,
    write: &SlotWrite,
    deployment: String,
) -> Result<SlotFile> {
    let tree = sysroot.deployment_dir(&deployment);
    let kernel_dir = kernel_dir(&tree)?;
    let board = board::load(&tree)?;
    let options = options(&board, &tree)?;
    let fdt = board.fdt.map(|name| kernel_dir.join("dtb").join(name));
    let source = BootSource {
        kernel: &kernel_dir.join("vmlinuz"),
        initramfs: &kernel_dir.join("initramfs.img"),
        fdt: fdt.as_deref(),
    };
    let sums = boot.install_files(&deployment, &source, write.keep)?;
    let file = SlotFile {
        slot: write.slot,
        commit: write.commit.clone(),
        deployment,
        version: sysroot.commit_info(write.commit)?.version,
        options,
        kernel_sha256: sums.kernel,
        initrd_sha256: sums.initramfs,
        fdt: sums.fdt,
    };
    boot.write_slot_file(&file)?;
    Ok(file)
}

/// As the end of [`write_slot`] for a slot whose boot files or slot file are damaged.
pub fn restore_bootable(
    sysroot: &Sysroot,
    boot: &mut dyn BootControl,
    slot: Slot,
    deployment: &Deployment,
) -> Result<SlotFile> {
    let tree = sysroot.deployment_dir(&deployment.id);
    let options = options(&board::load(&tree)?, &tree)?;
    let sums = copy_boot_files(sysroot, boot, &deployment.id)?;
    let file = SlotFile {
        slot,
        commit: deployment.commit.clone(),
        deployment: deployment.id.clone(),
        version: sysroot.commit_info(&deployment.commit)?.version,
        options,
        kernel_sha256: sums.kernel,
        initrd_sha256: sums.initramfs,
        fdt: sums.fdt,
    };
    if boot.slot_file(slot)?.as_ref() != Some(&file) {
        boot.write_slot_file(&file)?;
    }
    Ok(file)
}

/// Copies a deployment's boot files beside those that are there, each in one step.
pub fn copy_boot_files(
    sysroot: &Sysroot,
    boot: &mut dyn BootControl,
    deployment: &str,
) -> Result<FileSums> {
    let tree = sysroot.deployment_dir(deployment);
    let (kernel_dir, board) = (kernel_dir(&tree)?, board::load(&tree)?);
    let fdt = board.fdt.map(|name| kernel_dir.join("dtb").join(name));
    let source = BootSource {
        kernel: &kernel_dir.join("vmlinuz"),
        initramfs: &kernel_dir.join("initramfs.img"),
        fdt: fdt.as_deref(),
    };
    boot.restore_files(deployment, &source)
}

/// The board's and the treefile's kernel arguments, then the device's own.
fn options(board: &BoardFile, tree: &Path) -> Result<String> {
    let own = kargs::load(tree)?;
    Ok([board.kargs.as_slice(), &own].concat().join(" "))
}

/// Takes a slot that is not the default from the loader: any trial ends, the slot file goes. Before, both
/// copies of the default are made to name the other slot: one may be damaged, or older than the other.
pub fn retire(boot: &mut dyn BootControl, slot: Slot) -> Result<()> {
    match boot.default_slot()? {
        Some(default) if default == slot => bail!("slot {slot} is the default"),
        Some(default) => boot.set_default(default)?,
        None => {}
    }
    boot.clear_trial()?;
    boot.retire(slot)
}

/// Has the loader try a slot that is whole; whether that was news to the loader.
pub fn arm(sysroot: &Sysroot, boot: &mut dyn BootControl, trial: &Trial) -> Result<bool> {
    let file = verified_slot(sysroot, boot, trial.slot)?;
    if file.commit != trial.commit {
        bail!(
            "slot {} holds {}, not the commit to try",
            trial.slot,
            file.version
        );
    }
    if boot.trial()?.as_ref() == Some(trial) {
        return Ok(false);
    }
    boot.set_trial(trial)?;
    Ok(true)
}

/// The slot that runs becomes the default, and then its trial is over.
pub fn promote(boot: &mut dyn BootControl, slot: Slot) -> Result<()> {
    boot.set_default(slot)?;
    boot.clear_trial()?;
    boot.reset_boots()
}

/// The other slot becomes the default again.
pub fn go_back(boot: &mut dyn BootControl, target: Slot) -> Result<()> {
    boot.clear_trial()?;
    boot.reset_boots()?;
    boot.set_default(target)
}

/// Drops deployments and boot files that no slot file names, but for the deployment that runs.
pub fn drop_unused(sysroot: &Sysroot, boot: &mut dyn BootControl) -> Result<()> {
    let mut keep = Vec::new();
    for slot in Slot::BOTH {
        keep.extend(boot.slot_file(slot)?.map(|file| file.deployment));
    }
    keep.extend(sysroot.booted()?.map(|booted| booted.id));
    boot.prune_files(&keep)?;
    sysroot.prune(&keep)
}

/// A slot whose file, deployment and boot files are all there and agree.
pub fn verified_slot(sysroot: &Sysroot, boot: &dyn BootControl, slot: Slot) -> Result<SlotFile> {
    let Some(file) = boot.slot_file(slot)? else {
        bail!("slot {slot} holds no system");
    };
    match sysroot.slot_deployment(slot)? {
        Some(d) if d.id == file.deployment && d.commit == file.commit => {}
        _ => bail!(
            "slot {slot} names deployment {}, which is not there",
            file.deployment
        ),
    }
    if !sysroot.has_whole_commit(&file.commit)? {
        bail!("commit {} of slot {slot} is not whole", file.commit.short());
    }
    if !boot.files_intact(&file)? {
        bail!("the boot files of slot {slot} are missing or damaged");
    }
    Ok(file)
}

/// `/usr/lib/modules/<release>` of the tree's one kernel.
fn kernel_dir(tree: &Path) -> Result<PathBuf> {
    let modules = tree.join("usr/lib/modules");
    let mut found = Vec::new();
    for entry in fs::read_dir(&modules).with_context(|| format!("listing {}", modules.display()))? {
        let dir = entry?.path();
        if dir.join("vmlinuz").is_file() {
            found.push(dir);
        }
    }
    match found.pop() {
        Some(dir) if found.is_empty() => Ok(dir),
        Some(_) => bail!("{} holds more than one kernel", modules.display()),
        None => bail!("{} holds no kernel", modules.display()),
    }
}
