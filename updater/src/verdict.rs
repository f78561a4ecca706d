//! What each boot settles: a trial begun or ended, a verdict good or bad.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::boot::Trial;
use crate::cmd::Cmd;
use crate::decide::{self, AtBoot, OnGood, State};
use crate::device::{self, Device};
use crate::exit::Stop;
use crate::health;
use crate::history::Event;
use crate::install;
use crate::state::Standing;
use crate::types::Slot;

/// Once after each boot: ids and size of the disk, then what the loader did.
pub fn at_boot(device: &mut Device) -> Result<()> {
    if !device.disk_is_unique()? {
        device.disk.make_unique().context("giving the disk ids of its own")?;
        device.note_disk_is_unique()?;
    }
    if device.disk.grow_root().context("growing the root partition")? {
        eprintln!("edge-ota: the root file system was grown to the disk");
    }
    let seen = device.observe()?;
    match decide::at_boot(&seen) {
        AtBoot::Nothing => Ok(()),
        AtBoot::TrialBegins => note_booted(device, Event::TrialStarted, ""),
        AtBoot::FinishGood => good(device),
        AtBoot::FellBack => note_booted(device, Event::Fallback, "the loader could not boot the default slot"),
        AtBoot::TrialEnded(trial) => trial_ended(device, &trial),
    }
}

fn note_booted(device: &Device, event: Event, detail: &str) -> Result<()> {
    let booted = device.sysroot.booted()?.context("not booted from a deployment")?;
    let version = device.sysroot.commit_info(&booted.commit)?.version;
    device.record(event, device.observe()?.booted, Some(&booted.commit), &version, detail)
}

/// The tries are used up without a verdict. Once that may be a power cut; twice it is the release.
fn trial_ended(device: &mut Device, trial: &Trial) -> Result<()> {
    let Some(staged) = device.state.staged.take() else {
        // Settled already, by a boot or a verdict that a power cut kept from clearing the record.
        return device.boot.clear_trial();
    };
    device.state.without_verdict(trial.commit.clone(), device::now()?);
    let detail = match device.state.standing(&trial.commit, device.settings.trial.retry_delay) {
        Standing::Rejected => "no verdict again: rejected",
        _ => "no verdict; to be tried once more after a while",
    };
    device.save_state()?;
    device.boot.clear_trial()?;
    device.record(Event::WentBack, Some(trial.slot), Some(&trial.commit), &staged.version, detail)
}

/// Keeps what runs: it waits no longer, it is the default, its trial is over, and what neither slot uses
/// goes. The state is first: what it held for staged would be in the default slot.
pub fn good(device: &mut Device) -> Result<()> {
    let seen = device.observe()?;
    match decide::on_good(&seen) {
        OnGood::ResetBoots => device.boot.reset_boots(),
        OnGood::Promote(slot) => promote(device, slot),
    }
}

fn promote(device: &mut Device, slot: Slot) -> Result<()> {
    let booted = device.sysroot.booted()?.context("not booted from a deployment")?;
    device.state.staged.take_if(|staged| staged.slot == slot);
    device.state.forgive(&booted.commit);
    device.save_state()?;
    install::promote(device.boot.as_mut(), slot)?;
    let version = device.sysroot.commit_info(&booted.commit)?.version;
    device.record(Event::Good, Some(slot), Some(&booted.commit), &version, "")?;
    install::drop_unused(&device.sysroot, device.boot.as_mut())
}

/// Ends a trial: the commit is rejected, the default boots next.
pub fn bad(device: &mut Device, reason: &str) -> Result<()> {
    let booted = device.sysroot.booted()?.context("not booted from a deployment")?;
    let slot = device.observe()?.booted;
    device.state.reject(booted.commit.clone(), reason.to_owned(), device::now()?);
    device.state.staged = None;
    device.save_state()?;
    device.boot.clear_trial()?;
    let version = device.sysroot.commit_info(&booted.commit)?.version;
    device.record(Event::Bad, slot, Some(&booted.commit), &version, reason)
}

/// Runs the checks. On trial a failure is the verdict, and the machine goes back; otherwise it is
/// reported and nothing reboots.
pub fn judge(open: impl Fn() -> Result<Device>, settings: &crate::config::Settings, root: &std::path::Path) -> Result<()> {
    let report = health::run(root, &settings.health.units, settings.health.check_timeout)?;
    for warning in &report.warnings {
        eprintln!("edge-ota: wanted check: {warning}");
    }
    if report.failed.is_empty() {
        eprintln!("edge-ota: {} health checks passed", report.passed);
        return Ok(());
    }
    let reason = report.failed.join("; ");
    let mut device = open()?;
    if decide::state(&device.observe()?) == State::OnTrial {
        bad(&mut device, &format!("health: {reason}"))?;
        drop(device);
        reboot()?;
    }
    Err(Stop::HealthFailed(reason).into())
}

/// Waits for the deadline of this boot and ends a trial that has no verdict by then.
pub fn deadline(open: impl Fn() -> Result<Device>, after: Duration) -> Result<()> {
    thread::sleep(after.saturating_sub(uptime()?));
    let mut device = open()?;
    if decide::state(&device.observe()?) != State::OnTrial {
        return Ok(());
    }
    bad(&mut device, &format!("no verdict within {}", humantime::format_duration(after)))?;
    drop(device);
    reboot()
}

fn uptime() -> Result<Duration> {
    let text = fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|s| s.parse::<f64>().ok());
    Ok(Duration::from_secs_f64(seconds.context("/proc/uptime holds no number")?))
}

pub fn reboot() -> Result<()> {
    Cmd::new("systemctl").args(["--no-block", "reboot"]).run()
}
