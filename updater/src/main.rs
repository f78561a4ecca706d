//! `edge-ota`: parses, dispatches, and maps an error to an exit code.

mod cli;
mod commands;
mod progress;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use edge_ota::device::{self, Device};
use edge_ota::exit::{self, Exit, Stop};
use edge_ota::{config, decide, history, output, refusal, reset, status, upgrade, verdict};

use cli::{Agent, Cli, Command, Mark};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            output::say(format_args!("edge-ota: {error:#}"));
            exit::of(&error).into()
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let root = cli.root.as_path();
    match &cli.command {
        Command::Status(args) => show_status(root, args.json),
        Command::History(args) => show_history(root, args.json),
        Command::Check(args) => check(root, args.json),
        Command::Upgrade(args) => upgrade(root, args.retry, args.reboot),
        Command::Rollback(args) => roll_back(root, args.reboot),
        Command::Reset(args) => commands::reset::run(root, args),
        Command::Adopt(args) => commands::adopt::run(root, args),
        Command::Repair(args) => commands::repair::run(root, args),
        Command::Mark(Mark::Good) => verdict::good(&mut Device::open_to_write(root)?),
        Command::Mark(Mark::Bad { reason }) => mark_bad(root, reason),
        Command::Install(args) => commands::install::run(root, args),
        Command::Agent(agent) => act(root, agent),
    }
}

fn act(root: &Path, agent: &Agent) -> Result<()> {
    let open = || Device::open_to_write_waiting(root);
    match agent {
        Agent::Boot => verdict::at_boot(&mut open()?),
        Agent::Var => device::mount_var(root),
        Agent::Reset => reset::at_boot(&mut open()?),
        Agent::Health => verdict::judge(open, &config::load(root)?, root),
        Agent::Good => verdict::good(&mut open()?),
        Agent::Finalize => upgrade::arm(&mut open()?).map(drop),
        Agent::Deadline => verdict::deadline(open, deadline(root)),
        Agent::Installer => commands::install::unattended(root),
    }
}

/// Settings that can't be read must not leave a trial without its end.
fn deadline(root: &Path) -> Duration {
    match config::load(root) {
        Ok(settings) => settings.trial.deadline,
        Err(error) => {
            output::say(format_args!("edge-ota: {error:#}"));
            config::DEADLINE
        }
    }
}

fn show_status(root: &Path, json: bool) -> Result<()> {
    let status = status::collect(&Device::open_to_read(root)?)?;
    match json {
        true => output::line(status.to_json()?)?,
        false => output::print(status.to_text())?,
    }
    Ok(())
}

fn show_history(root: &Path, json: bool) -> Result<()> {
    let entries = Device::open_to_read(root)?.history()?;
    match json {
        true => output::line(history::json(&entries)?)?,
        false => output::print(history::table(&entries))?,
    }
    Ok(())
}

fn check(root: &Path, json: bool) -> Result<()> {
    let device = Device::open_to_read(root)?;
    let offer = upgrade::check(&device)?;
    let manifest = offer.candidate.manifest();
    if json {
        output::line(serde_json::to_string_pretty(manifest)?)?;
    } else {
        let expires = refusal::utc(manifest.expires);
        output::line(format_args!(
            "{} ({}), sequence {}, expires {expires}",
            manifest.version,
            manifest.commit.short(),
            manifest.sequence
        ))?;
    }
    match device.sysroot.booted()? {
        Some(booted) if booted.commit == manifest.commit => Err(Stop::NothingNew.into()),
        _ => Ok(()),
    }
}

fn upgrade(root: &Path, retry: bool, reboot: bool) -> Result<()> {
    let mut device = Device::open_to_write(root)?;
    let staged = upgrade::upgrade(&mut device, retry, progress::reporter())?;
    if !reboot {
        output::line(format_args!(
            "{} is staged in slot {}: reboot to try it",
            staged.version, staged.slot
        ))?;
        return Ok(());
    }
    upgrade::arm(&mut device)?;
    output::line(format_args!(
        "{} is armed in slot {}: rebooting",
        staged.version, staged.slot
    ))?;
    drop(device);
    verdict::reboot()
}

fn roll_back(root: &Path, reboot: bool) -> Result<()> {
    let slot = upgrade::rollback(&mut Device::open_to_write(root)?)?;
    output::line(format_args!("slot {slot} boots next"))?;
    match reboot {
        true => verdict::reboot(),
        false => Ok(()),
    }
}

fn mark_bad(root: &Path, reason: &str) -> Result<()> {
    let mut device = Device::open_to_write(root)?;
    if decide::state(&device.observe()?) != decide::State::OnTrial {
        bail!(
            "the running release is not on trial: 'edge-ota rollback' goes back to the other slot"
        );
    }
    verdict::bad(&mut device, reason)?;
    drop(device);
    verdict::reboot()
}
