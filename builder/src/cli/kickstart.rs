//! `edge-build kickstart`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use edge_build::provision::kickstart::Reader;
use edge_ota::types::{BoardName, ChannelName, RefName};

#[derive(Debug, Subcommand)]
pub enum Kickstart {
    /// Make a kickstart file for Anaconda or for our installer
    Generate(Box<Generate>),
    /// Read kickstart files as our installer does, and say what it would do
    Check(Check),
}

#[derive(Debug, Args)]
pub struct Generate {
    /// Who reads the file
    #[arg(long = "for", value_name = "READER")]
    pub reader: Reader,
    /// Where the machine looks for releases: what serves repo/, channels/ and root/
    #[arg(long)]
    pub url: String,
    /// The channel it follows
    #[arg(long, default_value = "stable")]
    pub channel: ChannelName,
    #[arg(long)]
    pub board: BoardName,
    /// For Anaconda: the ref that the channel's release is of
    #[arg(long = "ref", value_name = "REF", conflicts_with = "repo")]
    pub reference: Option<RefName>,
    /// For Anaconda: read the ref from the channel's manifest beside this repository
    #[arg(long, value_name = "DIR", requires = "keys")]
    pub repo: Option<PathBuf>,
    /// What that manifest is signed with: the folder of 'edge-build key generate'
    #[arg(long, value_name = "DIR", requires = "repo")]
    pub keys: Option<PathBuf>,
    /// The disk to erase and install to, such as sda or disk/by-id/ata-X [default: the only one there is; needed for
    /// Anaconda]
    #[arg(long)]
    pub disk: Option<String>,
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// A public key that may log in as root; may be repeated
    #[arg(long = "ssh-key", value_name = "FILE")]
    pub ssh_keys: Vec<PathBuf>,
    /// A script to run in the system that was installed
    #[arg(long = "kickstart-post", value_name = "FILE")]
    pub post: Option<PathBuf>,
    /// The file to write [default: print it]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print a summary as JSON
    #[arg(long, requires = "out")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Print all that is read, as JSON
    #[arg(long)]
    pub json: bool,
}
