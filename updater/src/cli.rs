//! The command line of `edge-ota`: types only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use edge_ota::fetch::Location;
use edge_ota::installer::drives::Wish;
use edge_ota::types::{BoardName, ChannelName};

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
    /// Factory reset: /etc as the device was born with it, from the next boot on
    Reset(Reset),
    /// Turn a stock OSTree installation, such as Anaconda's ostreesetup leaves, into a system of ours
    Adopt(Adopt),
    /// Show what happened on this device
    History(Json),
    /// Give the running release its verdict by hand
    #[command(subcommand)]
    Mark(Mark),
    /// Install a device's first system onto a disk, which is erased
    Install(Install),
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

#[derive(Debug, Args)]
pub struct Reset {
    /// Leave /var as it is (the default)
    #[arg(long, conflicts_with = "wipe_var")]
    pub keep_var: bool,
    /// Empty /var too, with all that containers and users keep there
    #[arg(long)]
    pub wipe_var: bool,
    /// Reboot at once
    #[arg(long)]
    pub reboot: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Adopt {
    /// Where the device reads its releases: what serves repo/, channels/ and root/
    #[arg(long)]
    pub url: String,
    #[arg(long, default_value = "stable")]
    pub channel: ChannelName,
    /// Refuse a tree of another board
    #[arg(long)]
    pub board: Option<BoardName>,
    /// The folder of the root documents to trust [default: those of the tree]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Verify the commit and find the partitions, say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Install {
    /// Which disk: rules that must all hold, separated by commas: /dev/…, serial=…, wwid=…, model=…, size=8G..64G,
    /// removable, smallest [default: the only one that is not removable]
    #[arg(long, value_name = "RULES")]
    pub disk: Option<Wish>,
    /// Where the device reads its releases: what serves repo/, channels/ and root/
    #[arg(long)]
    pub url: Option<String>,
    /// A folder that holds the same, to install from instead of the URL
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// [default: the kickstart file's, or stable]
    #[arg(long)]
    pub channel: Option<ChannelName>,
    /// A kickstart file; what is said here goes before it
    #[arg(long, value_name = "FILE")]
    pub kickstart: Option<PathBuf>,
    /// [default: that of the running system]
    #[arg(long)]
    pub board: Option<BoardName>,
    /// The folder of the root documents to trust [default: those of the running system]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    #[arg(long)]
    pub hostname: Option<String>,
    /// A kernel argument of the device, beside those of its board; may be repeated
    #[arg(long = "append", value_name = "ARGUMENT")]
    pub kernel_arguments: Vec<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Verify the release, choose the disk, say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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
    /// Before /var is mounted: the disk's own partition for it, if there is one
    Var,
    /// Before anything uses /var: what is left of a reset
    Reset,
    /// Run the health checks; on trial a failure is the verdict
    Health,
    /// The boot is complete: keep the release
    Good,
    /// At shutdown: arm the trial of what is staged
    Finalize,
    /// End a trial that has no verdict in time
    Deadline,
    /// In the installer: do what the kernel's arguments say; prints how the machine is to go on
    Installer,
}

fn after_help() -> String {
    format!("Exit codes:\n{}", edge_ota::exit::help())
}
