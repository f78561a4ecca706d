//! What each boot settles: a trial begun or ended, a verdict good or bad.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::boot::Trial;
use crate::cmd::Cmd;
use crate::decide::{self, AtBoot, OnGood, State};
use crate::device::{self, Device};
use crate::exit::Stop;
use crate::firstboot;
use crate::health;
use crate::history::Event;
use crate::install;
use crate::output;
use crate::state::Standing;
use crate::types::Slot;

/// The disk has ids of its own, no longer those of the image.
const OWN_IDS: &str = "disk-has-own-ids";
/// The size of the last partition that its file system was grown to.
const GROWN_TO: &str = "root-grown-to";

/// Once after each boot: what the loader did, then the chores of a first boot. A chore that fails is
/// reported and tried again at the next boot.
pub fn at_boot(device: &mut Device) -> Result<()> {
    settle(device)?;
    for chore in [firstboot::run, name, own_ids, grow] {
        if let Err(error) = chore(device) {
            output::say(format_args!("edge-ota: {error:#}"));
        }
    }
    Ok(())
}

fn name(device: &Device) -> Result<()> {
    firstboot::name(device).map(drop)
}

fn own_ids(device: &Device) -> Result<()> {
    if device.note(OWN_IDS)?.is_some() {
        return Ok(());
    }
    device
        .disk
        .make_unique()
        .context("giving the disk ids of its own")?;
    device.write_note(OWN_IDS, "")
}

fn grow(device: &Device) -> Result<()> {
    if device.note(GROWN_TO)?.as_deref() == Some(&device.disk.grown_size()?.to_string()) {
        return Ok(());
    }
    device
        .disk
        .grow()
        .context("growing the last file system to the disk")?;
    device.write_note(GROWN_TO, &device.disk.grown_size()?.to_string())
}

fn settle(device: &mut Device) -> Result<()> {
    match decide::at_boot(&device.observe()?) {
        AtBoot::Nothing => Ok(()),
        AtBoot::TrialBegins => trial_begins(device),
        AtBoot::FinishGood => good(device),
        AtBoot::FellBack => note_booted(
            device,
            Event::Fallback,
            "the loader could not boot the default slot",
        ),
        AtBoot::TrialEnded(trial) => trial_ended(device, &trial),
    }
}

/// A release that was rejected before the power went is not tried again.
fn trial_begins(device: &mut Device) -> Result<()> {
    if is_rejected(device)? {
        device.boot.clear_trial()?;
        return reboot();
    }
    note_booted(device, Event::TrialStarted, "")
}

fn is_rejected(device: &Device) -> Result<bool> {
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    Ok(device.state.standing(&booted.commit, Duration::ZERO) == Standing::Rejected)
}

fn note_booted(device: &Device, event: Event, detail: &str) -> Result<()> {
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    let version = device.sysroot.commit_info(&booted.commit)?.version;
    device.record(
        event,
        device.observe()?.booted,
        Some(&booted.commit),
        &version,
        detail,
    )
}

/// The tries are used up without a verdict. Once that may be a power cut; twice it is the release.
fn trial_ended(device: &mut Device, trial: &Trial) -> Result<()> {
    // Without it the end was counted already, and only the record is left to clear.
    let Some(staged) = device
        .state
        .staged
        .take()
        .filter(|staged| staged.commit == trial.commit)
    else {
        return device.boot.clear_trial();
    };
    device
        .state
        .without_verdict(trial.commit.clone(), device::now()?);
    let detail = match device
        .state
        .standing(&trial.commit, device.settings.trial.retry_delay)
    {
        Standing::Rejected => "no verdict again: rejected",
        _ => "no verdict; to be tried once more after a while",
    };
    device.save_state()?;
    device.boot.clear_trial()?;
    device.record(
        Event::WentBack,
        Some(trial.slot),
        Some(&trial.commit),
        &staged.version,
        detail,
    )
}

/// Keeps what runs: it waits no longer, it is the default, its trial is over, and what neither slot uses
/// goes. The state is first: what it held for staged would be in the default slot.
pub fn good(device: &mut Device) -> Result<()> {
    let seen = device.observe()?;
    if decide::state(&seen) == State::OnTrial && is_rejected(device)? {
        bail!("this release was rejected already and the machine is about to go back");
    }
    match decide::on_good(&seen) {
        OnGood::ResetBoots => device.boot.reset_boots(),
        OnGood::Promote(slot) => promote(device, slot),
    }
}

fn promote(device: &mut Device, slot: Slot) -> Result<()> {
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
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
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    let slot = device.observe()?.booted;
    device
        .state
        .reject(booted.commit.clone(), reason.to_owned(), device::now()?);
    device.state.staged = None;
    device.save_state()?;
    device.boot.clear_trial()?;
    let version = device.sysroot.commit_info(&booted.commit)?.version;
    device.record(Event::Bad, slot, Some(&booted.commit), &version, reason)
}

/// Runs the checks. On trial a failure is the verdict, and the machine goes back; otherwise it is
/// reported and nothing reboots.
pub fn judge(
    open: impl Fn() -> Result<Device>,
    settings: &crate::config::Settings,
    root: &std::path::Path,
) -> Result<()> {
    let report = health::run(root, &settings.health.units, settings.health.check_timeout)?;
    for warning in &report.warnings {
        output::say(format_args!("edge-ota: wanted check: {warning}"));
    }
    if report.failed.is_empty() {
        output::say(format_args!(
            "edge-ota: {} health checks passed",
            report.passed
        ));
        return Ok(());
    }
    let reason = report.failed.join("; ");
    let device = open()?;
    if decide::state(&device.observe()?) == State::OnTrial {
        end_trial(device, &format!("health: {reason}"))?;
    }
    Err(Stop::HealthFailed(reason).into())
}

/// Rejects the release and reboots, the latter whatever happens: the loader counts the tries anyway.
fn end_trial(mut device: Device, reason: &str) -> Result<()> {
    let noted = bad(&mut device, reason);
    drop(device);
    reboot()?;
    noted
}

/// Waits for the deadline of this boot and ends a trial that has no verdict by then. A machine that can't
/// even be looked at goes back too.
pub fn deadline(open: impl Fn() -> Result<Device>, after: Duration) -> Result<()> {
    thread::sleep(after.saturating_sub(uptime()?));
    let opened = open().and_then(|device| Ok((decide::state(&device.observe()?), device)));
    match opened {
        Ok((State::OnTrial, device)) => end_trial(
            device,
            &format!("no verdict within {}", humantime::format_duration(after)),
        ),
        Ok(_) => Ok(()),
        Err(error) => {
            output::say(format_args!("edge-ota: {error:#}"));
            reboot()
        }
    }
}

fn uptime() -> Result<Duration> {
    let text = fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
    let seconds = text
        .split_whitespace()
        .next()
        .and_then(|s| s.parse::<f64>().ok());
    Ok(Duration::from_secs_f64(
        seconds.context("/proc/uptime holds no number")?,
    ))
}

pub fn reboot() -> Result<()> {
    Cmd::new("systemctl").args(["--no-block", "reboot"]).run()
}
