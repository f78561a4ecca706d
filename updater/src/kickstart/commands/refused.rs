//! Commands that kickstart knows and that cannot be done here, each with the reason and what to do.

use super::{Command, Meaning};

const NO_PACKAGES: &str =
    "the system is a commit that ostreesetup names, with all its packages in it";
const NO_STORAGE: &str =
    "the layout has plain partitions: no LVM, RAID, encryption or network storage";
const NO_DIALOG: &str = "the installer asks nobody: leave the line out";
const NO_ACCESS: &str = "the installer lets nobody in: it reports on the console and by HTTP";
const OF_IMAGE: &str = "this is part of the image: say it in the treefile";
const IN_FILE: &str = "say it in a %post, or in the treefile";

pub const COMMANDS: &[Command] = &[
    refused("auth", OF_IMAGE),
    refused("authconfig", OF_IMAGE),
    refused("authselect", OF_IMAGE),
    refused("autostep", NO_DIALOG),
    refused("bootc", "the system is no container: ostreesetup"),
    refused("btrfs", NO_STORAGE),
    refused(
        "cdrom",
        "a medium's folder is named by harddrive --partition=LABEL=… --dir=…",
    ),
    refused("device", OF_IMAGE),
    refused("deviceprobe", OF_IMAGE),
    refused("dmraid", NO_STORAGE),
    refused("driverdisk", OF_IMAGE),
    refused("fcoe", NO_STORAGE),
    refused("hmc", NO_PACKAGES),
    refused("install", NO_PACKAGES),
    refused("iscsi", NO_STORAGE),
    refused("iscsiname", NO_STORAGE),
    refused("liveimg", NO_PACKAGES),
    refused(
        "logging",
        "the installer reports by HTTP: edge.report= on the kernel's command line",
    ),
    refused("logvol", NO_STORAGE),
    refused(
        "mediacheck",
        "what is installed is checked by its signatures: leave the line out",
    ),
    refused("method", NO_PACKAGES),
    refused("module", NO_PACKAGES),
    refused("mount", "the layout is made anew: part / and part /var"),
    refused("multipath", NO_STORAGE),
    refused(
        "nfs",
        "a server's folder is named by ostreesetup --url, over HTTP",
    ),
    refused("nvdimm", NO_STORAGE),
    refused("ostreecontainer", "the system is no container: ostreesetup"),
    refused("raid", NO_STORAGE),
    refused("rdp", NO_ACCESS),
    refused("realm", IN_FILE),
    refused("repo", NO_PACKAGES),
    refused(
        "rescue",
        "to repair a system start the installer with edge.action=repair",
    ),
    refused("rhsm", NO_PACKAGES),
    refused("snapshot", NO_STORAGE),
    refused("sshpw", NO_ACCESS),
    refused("syspurpose", NO_PACKAGES),
    refused(
        "updates",
        "the installer is made by edge-build: make it anew",
    ),
    refused("url", NO_PACKAGES),
    refused("vnc", NO_ACCESS),
    refused("volgroup", NO_STORAGE),
    refused("xconfig", OF_IMAGE),
    refused("zfcp", NO_STORAGE),
    refused("zipl", "the boards have no zipl"),
];

const fn refused(name: &'static str, reason: &'static str) -> Command {
    Command {
        name,
        meaning: Meaning::Refused(reason),
    }
}
