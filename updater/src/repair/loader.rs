//! What the boot loader reads: boot files, slot files, the default, its records, its own programs.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::report::{Finding, Kind, Outcome};
use super::{Held, System};
use crate::esp::{self, Difference};
use crate::install;
use crate::media::loader;
use crate::types::Slot;

/// A record that nothing is left of.
const DEFAULT: &str = "default";

pub fn check(system: &mut System, held: &[Held]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for held in held {
        findings.extend(check_slot(system, held)?);
    }
    findings.extend(check_records(system)?);
    findings.extend(differences(system, held)?.iter().map(finding));
    Ok(findings)
}

pub fn repair(system: &mut System, held: &[Held]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for held in held {
        if let Some(finding) = check_slot(system, held)? {
            let made =
                install::restore_bootable(system.sysroot, system.boot, held.slot, &held.deployment);
            findings.push(finding.after(made.map(drop)));
        }
    }
    findings.extend(repair_records(system, held)?);
    findings.extend(repair_programs(system, held)?);
    Ok(findings)
}

/// A slot without a file was taken from the loader, unless it is the one that runs or boots.
fn check_slot(system: &System, held: &Held) -> Result<Option<Finding>> {
    let there = system
        .boot
        .damaged_records()?
        .contains(&format!("slot-{}", held.slot));
    let needed = system.booted == Some(held.slot) || system.boot.default_slot()? == Some(held.slot);
    let kind = match system.boot.slot_file(held.slot)? {
        None if there || needed => Kind::SlotFile,
        None => return Ok(None),
        Some(file) if file.deployment != held.deployment.id => Kind::SlotFile,
        Some(file) if !system.boot.files_intact(&file)? => Kind::BootFiles,
        Some(_) => return Ok(None),
    };
    Ok(Some(Finding::damaged(
        kind,
        &held.deployment.id,
        Some(held.slot),
    )))
}

fn check_records(system: &System) -> Result<Vec<Finding>> {
    let damaged = system.boot.damaged_records()?;
    Ok(damaged
        .into_iter()
        .filter(|name| !name.starts_with("slot-"))
        .map(|name| Finding::damaged(Kind::Record, name, None))
        .collect())
}

fn repair_records(system: &mut System, held: &[Held]) -> Result<Vec<Finding>> {
    let found = check_records(system)?;
    if found.is_empty() {
        return Ok(found);
    }
    // A tree that does not bring it may still need nothing of it.
    let fresh = running(system, held)?.and_then(|tree| loader::trial(&tree).ok());
    let fresh = fresh.unwrap_or_default();
    let done = match system.boot.default_slot()? {
        Some(_) => Ok(()),
        None => choose(system, held).and_then(|slot| system.boot.set_default(slot)),
    };
    let done = done.and_then(|()| system.boot.restore_records(&fresh));
    let error = done.err().map(|error| format!("{error:#}"));
    let after = |finding: Finding| match &error {
        None => finding.after(Ok(())),
        Some(error) => finding.after(Err(anyhow::anyhow!("{error}"))),
    };
    Ok(found.into_iter().map(after).collect())
}

/// The default, where none can be read: what runs, unless it is on trial, else a slot that is whole and not on trial.
fn choose(system: &System, held: &[Held]) -> Result<Slot> {
    let trial = system.boot.trial()?.map(|trial| trial.slot);
    let whole = |slot: Slot| install::verified_slot(system.sysroot, system.boot, slot).is_ok();
    let slots = system
        .booted
        .into_iter()
        .chain(held.iter().map(|held| held.slot));
    let proven = slots
        .filter(|slot| Some(*slot) != trial)
        .find(|slot| whole(*slot));
    match proven.or_else(|| held.iter().map(|held| held.slot).find(|slot| whole(*slot))) {
        Some(slot) => Ok(slot),
        None => bail!("the {DEFAULT} cannot be read and no slot is whole"),
    }
}

/// What of the loader's programs is not this release's.
fn differences(system: &System, held: &[Held]) -> Result<Vec<Difference>> {
    match (&system.esp, running(system, held)?) {
        (Some(esp), Some(tree)) => esp::compare(esp, &system.boot_dir, &tree),
        _ => Ok(Vec::new()),
    }
}

/// The tree of the default slot, or of another.
fn running(system: &System, held: &[Held]) -> Result<Option<PathBuf>> {
    let default = system.boot.default_slot()?;
    let running = held.iter().find(|held| Some(held.slot) == default);
    let held = running.or(held.first());
    Ok(held.map(|held| system.sysroot.deployment_dir(&held.deployment.id)))
}

/// They are never updated yet, so one that differs from the tree's may just be older.
fn finding(difference: &Difference) -> Finding {
    let finding = Finding::damaged(Kind::Loader, difference.name(), None);
    match difference.is_missing() {
        true => finding,
        false => Finding {
            outcome: Outcome::Differs("is not this release's; it is left as it is".to_owned()),
            ..finding
        },
    }
}

fn repair_programs(system: &mut System, held: &[Held]) -> Result<Vec<Finding>> {
    let differences = differences(system, held)?;
    let Some(esp) = system.esp.clone() else {
        return Ok(Vec::new());
    };
    let findings = differences.iter().map(|difference| {
        let finding = finding(difference);
        match difference.is_missing() {
            true => finding.after(esp::restore(&esp, system.boot, difference)),
            false => finding,
        }
    });
    Ok(findings.collect())
}
