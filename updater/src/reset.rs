//! A factory reset: the running release deployed anew with the `/etc` it was born with, in the slot that runs; the
//! other slot stays. `/var` is emptied at the next boot, before anything uses it.
//!
//! Order: deploy, boot files, the note that a reset is due, the slot's link, the slot file. Before the link is renamed
//! the old deployment boots, after it the new one, with either slot file: both have the same kernel. What is left is
//! done at each boot until the note is gone.

mod var;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::birth;
use crate::decide::{self, State};
use crate::device::Device;
use crate::durable;
use crate::exit::Stop;
use crate::history::Event;
use crate::install;
use crate::types::Slot;

/// In the updater's own folder, until the reset is done.
const NOTE: &str = "reset.json";
pub use var::Var;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Due {
    slot: Slot,
    /// The deployment with the old `/etc`, and the new one.
    from: String,
    to: String,
    var: Var,
}

/// Makes everything ready; the next boot is the reset system's first.
pub fn prepare(device: &mut Device, var: Var) -> Result<()> {
    let seen = device.observe()?;
    let slot = match (decide::state(&seen), seen.booted) {
        (State::Good, Some(slot)) => slot,
        (State::OnTrial, _) => return Err(Stop::OnTrial.into()),
        (State::Pending, _) => bail!("a release or a rollback waits for its reboot: reboot first"),
        _ => bail!("the default slot does not run: there is nothing to reset to"),
    };
    let running = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    let other = device.sysroot.slot_deployment(slot.other())?;
    let keep: Vec<String> = [Some(running.id.clone()), other.map(|d| d.id)]
        .into_iter()
        .flatten()
        .collect();
    check_room(device, &running.commit)?;
    let new = device.sysroot.deploy(&running.commit, None, &keep)?;
    let trees = [&running.id, &new.id].map(|id| device.sysroot.deployment_dir(id));
    let [from, to] = &trees;
    birth::write_again(from, to)?;
    sync(to)?;
    install::copy_boot_files(&device.sysroot, device.boot.as_mut(), &new.id)?;
    let due = Due {
        slot,
        from: running.id,
        to: new.id.clone(),
        var,
    };
    device.write_note(NOTE, &serde_json::to_string(&due)?)?;
    device.sysroot.link_slot(slot, &new.id)?;
    install::restore_bootable(&device.sysroot, device.boot.as_mut(), slot, &new)?;
    Ok(())
}

fn check_room(device: &Device, commit: &crate::types::CommitChecksum) -> Result<()> {
    let info = device.sysroot.commit_info(commit)?;
    let needed = info.kernel_size + info.initramfs_size + (1 << 20);
    match device.boot.room_beside()? {
        Some(available) if available < needed => Err(Stop::NoSpace {
            place: "the boot partition".to_owned(),
            needed,
            available,
        }
        .into()),
        _ => Ok(()),
    }
}

/// Early at each boot: what is left of a reset.
pub fn at_boot(device: &mut Device) -> Result<()> {
    let Some(text) = device.note(NOTE)? else {
        return Ok(());
    };
    let due: Due = serde_json::from_str(&text).with_context(|| format!("reading {NOTE}"))?;
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    match booted.id {
        id if id == due.to => finish(device, &due),
        // The power went before the link was renamed: nothing has happened.
        id if id == due.from => abandon(device),
        // The loader fell back to the other slot.
        _ => Ok(()),
    }
}

fn abandon(device: &Device) -> Result<()> {
    device.remove_note(NOTE)?;
    device.record(
        Event::Refused,
        None,
        None,
        "",
        "a reset was cut short before it began",
    )
}

fn finish(device: &mut Device, due: &Due) -> Result<()> {
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    install::restore_bootable(&device.sysroot, device.boot.as_mut(), due.slot, &booted)?;
    due.var.apply(&device.root)?;
    device.sysroot.unpin(&due.from)?;
    install::drop_unused(&device.sysroot, device.boot.as_mut())?;
    let version = device.sysroot.commit_info(&booted.commit)?.version;
    let detail = due.var.to_string();
    device.record(
        Event::Reset,
        Some(due.slot),
        Some(&booted.commit),
        &version,
        &detail,
    )?;
    device.remove_note(NOTE)
}

fn sync(dir: &Path) -> Result<()> {
    durable::sync_dir(dir)?;
    let file = fs::File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
    rustix::fs::syncfs(&file).with_context(|| format!("syncing {}", dir.display()))
}
