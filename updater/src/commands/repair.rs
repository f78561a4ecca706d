//! `edge-ota repair`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_ota::config::Settings;
use edge_ota::device::{self, Device};
use edge_ota::fetch::Location;
use edge_ota::history::Event;
use edge_ota::output;
use edge_ota::repair::{self, Report, Supply, offline};

use crate::cli::Repair;
use crate::progress;

pub fn run(root: &Path, args: &Repair) -> Result<()> {
    match &args.disk {
        Some(disk) => of_disk(root, disk, args),
        None => of_running(root, args),
    }
}

fn of_running(root: &Path, args: &Repair) -> Result<()> {
    let mut device = Device::open_to_write(root)?;
    let booted = device.observe()?.booted;
    let supply = supply(args, &device.settings)?;
    let each = progress::checking();
    let report = repair::with_device(&mut device, |system| match args.check {
        true => repair::check(system, &each),
        false => repair::repair(system, &supply, &each),
    })?;
    if report.repaired() > 0 {
        let detail = format!("{} things", report.repaired());
        device.record(Event::Repaired, booted, None, "", &detail)?;
    }
    show(&report, args)?;
    if report.wants_reboot(booted) {
        output::say("edge-ota: files of the running system were replaced: reboot when it suits");
    }
    Ok(report.verdict()?)
}

fn of_disk(root: &Path, disk: &Path, args: &Repair) -> Result<()> {
    device::enter_mount_namespace()?;
    let mut offline = offline::open(root, disk)
        .with_context(|| format!("opening the system on {}", disk.display()))?;
    let supply = supply(args, &offline.settings()?)?;
    let (each, mut system) = (progress::checking(), offline.system());
    let report = match args.check {
        true => repair::check(&mut system, &each),
        false => repair::repair(&mut system, &supply, &each),
    }?;
    show(&report, args)?;
    Ok(report.verdict()?)
}

/// A device without a source can still be checked, and have all but its objects repaired.
fn supply(args: &Repair, settings: &Settings) -> Result<Supply> {
    let location = match (&args.url, &args.bundle) {
        (Some(url), _) => url.clone(),
        (None, Some(folder)) => Location::Folder(whole(folder)?),
        (None, None) => return Ok(Supply::of_settings(settings)),
    };
    Ok(Supply::from(Ok(location), settings.network.clone()))
}

fn whole(folder: &Path) -> Result<PathBuf> {
    let whole = folder.canonicalize();
    whole.with_context(|| format!("looking for {}", folder.display()))
}

fn show(report: &Report, args: &Repair) -> Result<()> {
    match args.json {
        true => output::line(serde_json::to_string_pretty(report)?)?,
        false => output::print(report.to_text())?,
    }
    Ok(())
}
