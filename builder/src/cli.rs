//! The command line of `edge-build`: types only.

pub mod kickstart;
mod pxe;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use edge_build::image::Format;
use edge_build::provision::iso::Label;
use edge_build::sbom;
use edge_ota::types::{BoardName, ChannelName, CommitChecksum, Sequence};

pub use pxe::Pxe;

/// Composes, signs and publishes immutable OSTree hosts and makes their images.
#[derive(Debug, Parser)]
#[command(name = "edge-build", version)]
pub struct Cli {
    /// The folder of the boards [default: ./boards, then edge-build/boards in /usr/local/share and /usr/share]
    #[arg(long, global = true, value_name = "DIR")]
    pub boards: Option<PathBuf>,
    /// Where packages are kept between runs; root's is /var/cache/edge-build, a user's in ~/.cache
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "EDGE_BUILD_CACHE",
        hide_default_value = true,
        default_value_os_t = edge_build::rootless::default_cache(std::path::Path::new("/"))
    )]
    pub cache: PathBuf,
    /// Where a run keeps its files; removed when it ends [default: CACHE/work]
    #[arg(long, global = true, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make and keep the keys of a product
    #[command(subcommand)]
    Key(Key),
    /// Show the boards there are
    #[command(subcommand)]
    Board(Board),
    /// Read a treefile with its includes and say what it means
    Check(Check),
    /// Write down exactly which packages a treefile comes to now, and say what changes
    Lock(Lock),
    /// Compose a tree from a treefile, commit and sign it; prints the commit's checksum
    Compose(Compose),
    /// Compose a commit again and say whether it comes out the same, or which files differ and what made them
    Verify(Verify),
    /// Say what a commit is made of, by package and by folder
    Size(Size),
    /// Say what changes from one commit to another: packages, kernel, units, users, sysctls, files
    Diff(Diff),
    /// List what a commit holds: packages, versions, origins and licences
    Sbom(Sbom),
    /// Sign a commit
    Sign(Sign),
    /// Try a release on a machine in QEMU: upgrade to it, go back, and forward again with a power cut in the middle
    Rehearse(Rehearse),
    /// Offer a commit to the devices of a channel
    Release(Release),
    /// Make a disk image of a commit
    Image(Image),
    /// Make the kernel and the initramfs that install a release onto a machine without a system
    Installer(Installer),
    /// Make and check kickstart files
    #[command(subcommand)]
    Kickstart(kickstart::Kickstart),
    /// Make the folder from which machines start over the network and install themselves
    Pxe(Pxe),
    /// Serve a folder on loopback, for development
    Serve(Serve),
    /// Boot an image in QEMU with its console here
    Vm(Vm),
}

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make root, channel and commit keys and the first root document
    Generate {
        /// A folder; existing keys are never overwritten
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Board {
    /// List the boards
    List,
    /// Read board files and say what is wrong with them
    Check {
        /// All of them where none is named
        boards: Vec<BoardName>,
    },
}

#[derive(Debug, Args)]
pub struct Check {
    pub treefile: PathBuf,
    #[arg(long, default_value = "x86_64")]
    pub board: BoardName,
    /// Print the treefile with all that it includes as one JSON document, also what cannot be composed here
    #[arg(long)]
    pub print: bool,
}

/// Where packages come from beside the treefile's sources.
#[derive(Debug, Args)]
pub struct Origins {
    /// The updater's package, and any other to install that no mirror has
    /// [default: target/deb/edge-ota_*_ARCH.deb, or target/rpm/edge-ota-*.ARCH.rpm for a tree of RPMs]
    #[arg(long = "deb", visible_alias = "rpm", value_name = "FILE")]
    pub debs: Vec<PathBuf>,
    /// Debian's mirror [default: that of this machine's apt]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Debian's security mirror [default: that of this machine's apt]
    #[arg(long, value_name = "URL")]
    pub security_mirror: Option<String>,
    /// What the mirrors are signed with [default: Debian's keyring]
    #[arg(long, value_name = "FILE")]
    pub mirror_keyring: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Lock {
    pub treefile: PathBuf,
    #[arg(long)]
    pub board: BoardName,
    #[command(flatten)]
    pub origins: Origins,
    /// The lock to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Say what would change and write nothing; a change is an error
    #[arg(long)]
    pub check: bool,
    /// Fetch the packages into the cache too, for composes without a network
    #[arg(long, conflicts_with = "check")]
    pub download: bool,
}

#[derive(Debug, Args)]
pub struct Compose {
    pub treefile: PathBuf,
    #[arg(long)]
    pub board: BoardName,
    /// The repository to commit to; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// The folder of 'edge-build key generate'
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    #[command(flatten)]
    pub origins: Origins,
    /// Install exactly the packages of this lock
    #[arg(long, value_name = "FILE")]
    pub locked: Option<PathBuf>,
    /// Install the packages anew, whatever the cache holds
    #[arg(long)]
    pub no_cache: bool,
    /// Write how many seconds each step took, as JSON
    #[arg(long, value_name = "FILE")]
    pub timings: Option<PathBuf>,
    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Verify {
    pub commit: CommitChecksum,
    /// What it was composed from
    #[arg(long, value_name = "FILE")]
    pub treefile: PathBuf,
    /// The repository that holds it; nothing is written to it
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// The folder of the root documents that the tree trusts
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    #[command(flatten)]
    pub origins: Origins,
    /// The lock that it was composed from [default: what the mirrors have now]
    #[arg(long, value_name = "FILE")]
    pub locked: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Size {
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    #[arg(long)]
    pub commit: CommitChecksum,
    /// How deep folders are told apart
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub depth: usize,
    /// How many of each are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub lines: usize,
    /// Print everything as JSON, in bytes
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The commit before
    pub from: CommitChecksum,
    /// The commit after
    pub to: CommitChecksum,
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// How many of each kind are shown, but for packages
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub lines: usize,
    /// Print everything as JSON
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
    /// Write everything into a page for reviewers
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Sbom {
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    #[arg(long)]
    pub commit: CommitChecksum,
    #[arg(long, default_value = "spdx")]
    pub format: sbom::Format,
    /// Print it even where another edge-build composed the commit and the hash in its metadata is of another document
    #[arg(long)]
    pub anew: bool,
}

#[derive(Debug, Args)]
pub struct Sign {
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    #[arg(long)]
    pub commit: CommitChecksum,
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
}

#[derive(Debug, Args)]
pub struct Rehearse {
    #[arg(long)]
    pub board: BoardName,
    /// The commit to rehearse
    #[arg(long, value_name = "COMMIT")]
    pub to: CommitChecksum,
    /// What the machine runs before [default: what the channel offers now; if that is nothing, COMMIT is only booted]
    #[arg(long, value_name = "COMMIT")]
    pub from: Option<CommitChecksum>,
    #[arg(long, default_value = "stable")]
    pub channel: ChannelName,
    /// The repository; the record of the rehearsal is written beside it, for 'release --require-rehearsal'
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// The folder of 'edge-build key generate'
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// The fleet's memory in MiB [default: as in the board's file]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u32>,
    /// The fleet's disk
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = bytes)]
    pub disk: u64,
    /// How long one boot may take to its verdict, and one upgrade
    #[arg(long, value_name = "TIME", default_value = "20min", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Where the machine's firmware lies, by the paths in the board's file
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub firmware: PathBuf,
    /// Keep what the machine's console said
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Release {
    #[arg(long)]
    pub channel: ChannelName,
    #[arg(long)]
    pub board: BoardName,
    #[arg(long)]
    pub commit: CommitChecksum,
    /// The repository; channels/ and root/ are written beside it
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// How long devices may install it, '90d'
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = humantime::parse_duration)]
    pub expires_in: Duration,
    /// Devices install nothing below it any more
    #[arg(long, value_name = "N", value_parser = sequence)]
    pub min_sequence: Option<Sequence>,
    /// Instead of the next one
    #[arg(long, value_name = "N", value_parser = sequence)]
    pub sequence: Option<Sequence>,
    /// Sign only what 'edge-build rehearse' tried from what the channel offers now
    #[arg(long)]
    pub require_rehearsal: bool,
    /// Release a tree that could never confirm itself (for tests)
    #[arg(long)]
    pub skip_gate: bool,
    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Image {
    #[arg(long)]
    pub board: BoardName,
    #[arg(long)]
    pub commit: CommitChecksum,
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// Where devices look for releases: what serves repo/, channels/ and root/
    #[arg(long)]
    pub url: Option<String>,
    /// The channel they follow
    #[arg(long, default_value = "stable")]
    pub channel: ChannelName,
    #[arg(long, default_value = "raw")]
    pub format: Format,
    /// The smallest disk the image fits on; the root grows to the disk at the first boot
    #[arg(long, default_value = "4G", value_parser = bytes)]
    pub size: u64,
    /// A partition of at least this size for /var; it grows to the disk then, and the root does not
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub var: Option<u64>,
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Installer {
    #[arg(long)]
    pub board: BoardName,
    /// What it is made from [default: what the channel offers now]
    #[arg(long)]
    pub commit: Option<CommitChecksum>,
    #[arg(long, default_value = "stable")]
    pub channel: ChannelName,
    #[arg(long, value_name = "DIR")]
    pub repo: PathBuf,
    /// The folder of the root documents to trust
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// A kickstart file to carry, used unless the kernel's arguments name another
    #[arg(long, value_name = "FILE")]
    pub kickstart: Option<PathBuf>,
    /// Where devices look for releases, unless a kickstart file says it
    #[arg(long)]
    pub url: Option<String>,
    /// A kernel argument for the installer; may be repeated
    #[arg(long = "append", value_name = "ARGUMENT")]
    pub kernel_arguments: Vec<String>,
    /// A folder for vmlinuz, initramfs.img and installer.json
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Make an image for a disc or a stick too, with the installer and all that --repo lies beside
    #[arg(long, value_name = "FILE")]
    pub iso: Option<PathBuf>,
    /// The name of that medium
    #[arg(long, value_name = "LABEL", default_value = "EDGE")]
    pub label: Label,
    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Serve {
    pub dir: PathBuf,
    /// 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
}

#[derive(Debug, Args)]
pub struct Vm {
    pub image: PathBuf,
    #[arg(long, default_value = "x86_64")]
    pub board: BoardName,
    /// Keep what the machine writes to the image
    #[arg(long)]
    pub keep: bool,
}

fn sequence(text: &str) -> Result<Sequence, std::num::ParseIntError> {
    text.parse().map(Sequence)
}

/// `4G`, `512M`, or bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'G')) => (text.get(..at), 1 << 30),
        Some((at, 'M')) => (text.get(..at), 1 << 20),
        _ => (Some(text), 1),
    };
    let number: Option<u64> = number.and_then(|n| n.parse().ok());
    number
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(|| format!("'{text}' is not a size such as 4G or 512M"))
}
