//! What a kickstart file tells the installer: text to [`Kickstart`], without reading or writing anything. An
//! `%include` is read by the caller.

mod commands;
pub mod etc;
mod lines;
mod names;
mod options;
#[cfg(test)]
mod oracle;
mod read;
mod words;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::config::UnitName;
use crate::types::{ChannelName, RefName};

pub use names::{Crypt, DiskName, GroupName, HostName, InterfaceName, Mac, UserName, ZoneName};
pub use read::{parse, pre_scripts};
pub use words::quote;

/// A whole file, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kickstart {
    /// What the device follows: `ostreesetup`. None: whoever starts the installer says it.
    pub source: Option<Source>,
    /// Where this installation takes it from: `harddrive`. None: from `source`.
    pub medium: Option<Medium>,
    pub disks: Disks,
    /// `bootloader --append`
    pub kernel_arguments: Vec<String>,
    pub network: Network,
    pub accounts: Accounts,
    pub system: System,
    pub scripts: Scripts,
    /// None: whoever starts the installer says it.
    pub finish: Option<Finish>,
}

/// A line of a file, counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct At {
    pub file: String,
    pub line: usize,
}

/// What is wrong in a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{}:{}: {message}", at.file, at.line)]
pub struct Mistake {
    pub at: At,
    pub message: String,
}

/// All that is wrong, in the order in which the lines are read; one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

/// `ostreesetup`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// What holds `repo/`, `root/` and `channels/`; a [`crate::fetch::Location`] reads it.
    pub url: String,
    /// `--ref=channel:NAME`; with a plain `--ref` it is `stable`.
    pub channel: ChannelName,
    /// A plain `--ref`: the channel's release must be of this ref.
    pub reference: Option<RefName>,
}

/// `harddrive`: the served folder on a file system of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Medium {
    /// `LABEL=…`, `UUID=…` or `/dev/…`.
    pub partition: String,
    /// The path on it, which begins with `/`.
    pub dir: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Disks {
    /// Disks without a readable partition table may be written to.
    pub zerombr: bool,
    pub erase: Erase,
    /// `ignoredisk --only-use`; empty: all.
    pub only: Vec<DiskName>,
    /// `ignoredisk --drives`
    pub ignore: Vec<DiskName>,
    /// The disk of the system: of `part / --ondisk`, or `bootloader --boot-drive`.
    pub target: Option<DiskName>,
    pub root: Root,
}

/// Which disks' partitions may go: `clearpart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Erase {
    /// Only an empty disk is written to.
    #[default]
    Nothing,
    /// Any disk that is used.
    All,
    /// These, if they are used.
    Drives(Vec<DiskName>),
}

/// The last partition; it grows to the end of the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Root {
    /// MiB that it must have at least.
    pub size: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    pub hostname: Option<HostName>,
    pub interfaces: Vec<Interface>,
}

/// One line `network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    pub device: Device,
    /// The name that it gets: `--interfacename`, of a VLAN.
    pub name: Option<InterfaceName>,
    /// A VLAN on `device`.
    pub vlan: Option<u16>,
    pub ipv4: V4,
    pub ipv6: V6,
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<String>,
    /// Nameservers of DHCP and of router advertisements are not taken.
    pub ignore_auto_dns: bool,
    /// May have the default route.
    pub default_route: bool,
    pub mtu: Option<u32>,
    /// Comes up at each boot.
    pub on_boot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// None given, or `link`: every wired one.
    Wired,
    /// The one the machine was booted from (`BOOTIF=` of the kernel arguments).
    BootIf,
    Name(InterfaceName),
    Mac(Mac),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum V4 {
    Off,
    Dhcp,
    Static {
        address: Ipv4Addr,
        prefix: u8,
        gateway: Option<Ipv4Addr>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum V6 {
    Off,
    /// Router advertisements.
    Auto,
    Dhcp,
    Static {
        address: Ipv6Addr,
        prefix: u8,
        gateway: Option<Ipv6Addr>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Accounts {
    pub root: RootPassword,
    pub groups: Vec<Group>,
    pub users: Vec<User>,
    pub ssh_keys: Vec<SshKey>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootPassword {
    /// As in the image, which has none.
    #[default]
    OfImage,
    Locked,
    Crypt(Crypt),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: GroupName,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    pub name: UserName,
    /// Made where the image has none of the name.
    pub groups: Vec<Group>,
    /// None: locked; there may be a key.
    pub password: Option<Crypt>,
    /// There is a password, and it does not count.
    pub locked: bool,
    pub uid: Option<u32>,
    /// Of the user's own group.
    pub gid: Option<u32>,
    pub home: Option<String>,
    pub shell: Option<String>,
    pub gecos: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SshKey {
    pub user: UserName,
    /// A line of `authorized_keys`.
    pub key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct System {
    pub timezone: Option<Timezone>,
    pub time_source: TimeSource,
    /// `LANG`
    pub lang: Option<String>,
    /// The console's.
    pub keymap: Option<String>,
    pub services: Services,
    pub firewall: Firewall,
    pub selinux: Selinux,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timezone {
    pub zone: ZoneName,
    /// The hardware's clock runs in local time, not in UTC.
    pub local_clock: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSource {
    #[default]
    OfImage,
    None,
    /// Host names or addresses.
    Servers(Vec<String>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Services {
    pub enabled: Vec<UnitName>,
    pub disabled: Vec<UnitName>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firewall {
    /// As in the image.
    #[default]
    OfImage,
    Off,
    On(Allowed),
}

/// What may come in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Allowed {
    pub ports: Vec<Ports>,
    /// Interfaces that everything may come in by.
    pub trusted: Vec<InterfaceName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ports {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selinux {
    #[default]
    OfImage,
    Disabled,
    Permissive,
    Enforcing,
}

/// In the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scripts {
    /// `%pre`: run before the file is read in full.
    pub pre: Vec<Script>,
    /// `%pre-install`: when the disk is partitioned and the file systems are mounted.
    pub pre_install: Vec<Script>,
    pub post: Vec<Script>,
    /// `%onerror`
    pub on_error: Vec<Script>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Script {
    /// Where it begins.
    pub at: At,
    /// `/bin/sh` where none is given.
    pub interpreter: String,
    pub text: String,
    /// Its failure ends the installation.
    pub error_on_fail: bool,
    /// Where what it prints is kept, in the system that it runs in.
    pub log: Option<String>,
    pub runs_in: RunsIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunsIn {
    Installer,
    /// The deployment, by chroot: `%post` without `--nochroot`.
    System,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    Reboot,
    PowerOff,
    Halt,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Mistake::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}
