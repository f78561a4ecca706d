//! Checks a system against its commits and puts right what is damaged: objects, the files of deployments, what the
//! loader reads. Each act replaces one bad thing by a good one in one step, and what others rest on comes first, so
//! that a cut leaves less damage than before and never more. What cannot be had again stays as it is.

mod loader;
mod objects;
pub mod offline;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use crate::boot::BootControl;
use crate::config::Settings;
use crate::device::Device;
use crate::fetch::{Limits, Location, Source};
use crate::sysroot::{Deployment, Object, Sysroot};
use crate::types::Slot;
pub use report::{Finding, Kind, Outcome, Report};

/// What is checked: of a device that runs, or of a disk that does not boot.
pub struct System<'a> {
    pub sysroot: &'a Sysroot,
    pub boot: &'a mut dyn BootControl,
    /// The slot that runs.
    pub booted: Option<Slot>,
    /// A slot that an upgrade has not written to its end; the next one begins there again.
    pub unwritten: Option<Slot>,
    /// Where the first partition is mounted; the loader's programs are on it.
    pub esp: Option<PathBuf>,
    /// Where `edge-boot` is mounted.
    pub boot_dir: PathBuf,
}

/// Where good objects come from, or why there is no such place.
pub struct Supply(Result<Source>);

impl Supply {
    pub fn of(source: Source) -> Self {
        Self(Ok(source))
    }

    /// Where the device itself reads its releases.
    pub fn of_settings(settings: &Settings) -> Self {
        let location = settings.source.url().cloned().map_err(Into::into);
        Self::from(location, settings.network.clone())
    }

    pub fn from(location: Result<Location>, limits: Limits) -> Self {
        Self(location.and_then(|location| Source::new(location, limits)))
    }

    fn get(&self, path: &str, cap: u64) -> Result<Vec<u8>> {
        match &self.0 {
            Ok(source) => Ok(source.get(path, cap)?),
            Err(error) => Err(anyhow!("{error:#}")),
        }
    }
}

/// How far a check of the objects has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub checked: usize,
    pub of: usize,
}

/// Looks, and changes nothing.
pub fn check(system: &mut System, each: &dyn Fn(Progress)) -> Result<Report> {
    let mut report = Report::default();
    let held = held(system)?;
    for slot in &held {
        report.extend(objects::check_commit(system.sysroot, slot)?);
    }
    let (bad, looked_at) = objects::check(system.sysroot, &sound(&report, &held), each)?;
    report.objects = looked_at;
    report.extend(bad.iter().map(Finding::of_object));
    for slot in sound(&report, &held) {
        report.extend(objects::check_files(system.sysroot, slot));
    }
    report.extend(loader::check(system, &held)?);
    Ok(report)
}

/// Looks, and puts right what it finds.
pub fn repair(system: &mut System, supply: &Supply, each: &dyn Fn(Progress)) -> Result<Report> {
    let mut report = Report::default();
    let held = held(system)?;
    for slot in &held {
        report.extend(objects::repair_commit(system.sysroot, slot, supply)?);
    }
    let (bad, looked_at) = objects::check(system.sysroot, &sound(&report, &held), each)?;
    report.objects = looked_at;
    report.extend(objects::repair(system.sysroot, &bad, supply));
    for slot in sound(&report, &held) {
        report.extend(objects::repair_files(system.sysroot, slot));
    }
    objects::note(system.sysroot, &report, &held)?;
    report.extend(loader::repair(system, &held)?);
    Ok(report)
}

/// A slot with its deployment.
pub struct Held {
    pub slot: Slot,
    pub deployment: Deployment,
}

fn held(system: &System) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for slot in Slot::BOTH {
        let deployment = system.sysroot.slot_deployment(slot)?;
        held.extend(
            deployment
                .filter(|_| system.unwritten != Some(slot))
                .map(|deployment| Held { slot, deployment }),
        );
    }
    Ok(held)
}

/// The slots whose commit object is sound, so that it says what belongs to it.
fn sound<'a>(report: &Report, held: &'a [Held]) -> Vec<&'a Held> {
    let lost = |held: &&Held| {
        report.findings.iter().any(|finding| {
            finding.kind == Kind::Commit
                && finding.name == held.deployment.commit.as_str()
                && finding.outcome != Outcome::Repaired
        })
    };
    held.iter().filter(|held| !lost(held)).collect()
}

/// An object of several slots is looked at once.
fn of_all(sysroot: &Sysroot, held: &[&Held]) -> Result<Vec<Object>> {
    let mut objects = BTreeMap::new();
    for held in held {
        for object in sysroot.objects(&held.deployment.commit)? {
            objects.insert((object.kind, object.checksum.clone()), object);
        }
    }
    Ok(objects.into_values().collect())
}

/// The system that runs.
pub fn with_device<T>(
    device: &mut Device,
    act: impl FnOnce(&mut System) -> Result<T>,
) -> Result<T> {
    let esp = offline::mount_esp(&device.disk, &device.root)?;
    let (booted, boot_dir) = (device.observe()?.booted, device.boot_dir());
    let unready = device.state.staged.as_ref();
    let mut system = System {
        sysroot: &device.sysroot,
        boot: device.boot.as_mut(),
        booted,
        unwritten: unready
            .filter(|staged| staged.deployment.is_empty())
            .map(|staged| staged.slot),
        esp: Some(esp.at().to_owned()),
        boot_dir,
    };
    act(&mut system).context("repairing the running system")
}
