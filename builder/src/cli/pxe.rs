//! `edge-build pxe`.

use std::path::PathBuf;

use clap::Args;
use edge_build::provision::pxe::url::Base;
use edge_build::provision::pxe::{host, orders};
use edge_ota::types::ChannelName;

#[derive(Debug, Args)]
pub struct Pxe {
    /// Folders of 'edge-build installer', one for each architecture
    #[arg(
        long = "installer",
        value_name = "DIR",
        required = true,
        value_delimiter = ','
    )]
    pub installers: Vec<PathBuf>,
    /// Where machines find the folder by HTTP
    #[arg(long)]
    pub url: Base,
    /// The folder to make, or to bring up to date
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// For every machine that --host does not name [default: these are left as they are]
    #[arg(long, value_name = "FILE")]
    pub kickstart: Option<PathBuf>,
    /// A machine's own kickstart: MAC=52:54:00:12:34:56:FILE or SERIAL=ABC123:FILE
    #[arg(long = "host", value_name = "MACHINE:FILE", value_parser = host::parse_assignment)]
    pub hosts: Vec<(host::Key, String)>,
    /// Without a kickstart: what serves repo/, root/ and channels/
    #[arg(
        long,
        value_name = "URL",
        requires = "disk",
        conflicts_with = "kickstart"
    )]
    pub source: Option<Base>,
    /// Without a kickstart: the channel to install
    #[arg(long, default_value = "stable")]
    pub channel: ChannelName,
    /// Without a kickstart: the device to install to, as Linux names it
    #[arg(long, value_name = "DEVICE", requires = "source", value_parser = orders::argument)]
    pub disk: Option<String>,
    /// A kernel argument for the installer; may be repeated
    #[arg(long = "append", value_name = "ARGUMENT", value_parser = orders::argument)]
    pub arguments: Vec<String>,
    /// Where the packages of the boot loaders are unpacked, by the paths in the boards' files [default: fetch them]
    #[arg(long, value_name = "DIR")]
    pub loaders: Option<PathBuf>,
    /// Debian's mirror [default: that of this machine's apt]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// What the mirror is signed with [default: Debian's keyring]
    #[arg(long, value_name = "FILE")]
    pub mirror_keyring: Option<PathBuf>,
    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,
}
