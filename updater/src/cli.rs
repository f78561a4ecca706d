//! The command line of `edge-ota`: types only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use edge_ota::fetch::Location;

/// A/B updates of an OSTree host: pulls signed releases, boots them on trial, goes back by itself.
#[derive(Debug, Parser)]
#[command(name = "edge-ota", version, after_help = after_help())]
pub struct Cli {
    /// The root of the system to work on.
    #[arg(long, global = true, default_value = "/", hide = true)]
    pub root: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the slots, what runs, and what waits for a reboot
    Status(Json),
    /// Ask the channel what it offers; nothing is changed
    Check(Json),
    /// Install the channel's release into the other slot, to be tried at the next boot
    Upgrade(Upgrade),
    /// Make the other slot's release the default again and reject the running one
    Rollback(Rollback),
    /// Check the system against its releases, and fetch what is damaged again
    Repair(Repair),
    /// Show what happened on this device
    History(Json),
    /// Give the running release its verdict by hand
    #[command(subcommand)]
    Mark(Mark),
    /// What the units of edge-ota run
    #[command(subcommand, hide = true)]
    Agent(Agent),
}

#[derive(Debug, Args)]
pub struct Json {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Upgrade {
    /// Reboot into the release at once
    #[arg(long)]
    pub reboot: bool,
    /// Take a release that failed on this device before
    #[arg(long)]
    pub retry: bool,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// Reboot at once
    #[arg(long)]
    pub reboot: bool,
}

#[derive(Debug, Args)]
pub struct Repair {
    /// Only look: exit code 14 where something is damaged
    #[arg(long)]
    pub check: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Fetch from here instead of the device's own source
    #[arg(long, value_name = "URL", conflicts_with_all = ["check", "bundle"])]
    pub url: Option<Location>,
    /// A folder that holds repo/, root/ and channels/, on a medium
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    pub bundle: Option<PathBuf>,
    /// Repair the system on this disk, which does not run
    #[arg(long, value_name = "DEVICE")]
    pub disk: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Mark {
    /// Keep the running release: it becomes the default
    Good,
    /// Reject the running release on trial and reboot into the default slot
    Bad {
        /// Why, for the history
        #[arg(long, default_value = "marked bad by an operator")]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Once after each boot: ids and size of the disk, what the loader did
    Boot,
    /// Run the health checks; on trial a failure is the verdict
    Health,
    /// The boot is complete: keep the release
    Good,
    /// At shutdown: arm the trial of what is staged
    Finalize,
    /// End a trial that has no verdict in time
    Deadline,
}

fn after_help() -> String {
    format!("Exit codes:\n{}", edge_ota::exit::help())
}
