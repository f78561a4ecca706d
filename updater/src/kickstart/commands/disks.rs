//! Which disks are written to, and how.

use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{DiskName, Erase, Kickstart};

use super::{Command, Meaning, NOTHING, Times};

const NO_LVM: &str = "the layout has plain partitions: no LVM, RAID or encryption";
const NO_MENU: &str = "the boot loader has neither menu nor prompt";
const OWN_LAYOUT: &str =
    "the layout's file systems are made anew, as ext4 with labels of their own";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "zerombr",
        meaning: Meaning::Read {
            grammar: &NOTHING,
            times: Times::Once("zerombr"),
            read: |kickstart, _| {
                kickstart.disks.zerombr = true;
                Ok(())
            },
        },
    },
    Command {
        name: "clearpart",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--all", Nothing),
                    ("--none", Nothing),
                    ("--drives", Value),
                    ("--initlabel", Nothing),
                    ("--disklabel", Value),
                    (
                        "--linux",
                        Refused("only whole disks are erased: --all, perhaps with --drives"),
                    ),
                    (
                        "--list",
                        Refused("only whole disks are erased: --all, perhaps with --drives"),
                    ),
                    ("--cdl", Refused("there are no DASDs")),
                ],
                words: Words::None,
            },
            times: Times::Once("clearpart"),
            read: clearpart,
        },
    },
    Command {
        name: "ignoredisk",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--drives", Value),
                    ("--only-use", Value),
                    ("--interactive", Refused("nobody is asked")),
                ],
                words: Words::None,
            },
            times: Times::Many,
            read: ignoredisk,
        },
    },
    Command {
        name: "part",
        meaning: PART,
    },
    Command {
        name: "partition",
        meaning: PART,
    },
    Command {
        name: "reqpart",
        meaning: Meaning::NoEffect(&Grammar {
            options: &[("--add-boot", Nothing)],
            words: Words::None,
        }),
    },
    Command {
        name: "autopart",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--type", Value),
                    ("--fstype", Value),
                    ("--nolvm", Nothing),
                    ("--nohome", Nothing),
                    ("--noswap", Nothing),
                    (
                        "--noboot",
                        Refused("the boot partition is part of the layout"),
                    ),
                    ("--encrypted", Refused(NO_LVM)),
                    ("--hibernation", Refused("there is no swap")),
                ],
                words: Words::None,
            },
            times: Times::Once("autopart"),
            read: autopart,
        },
    },
    Command {
        name: "bootloader",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--append", Value),
                    ("--boot-drive", Value),
                    ("--location", Value),
                    ("--default", Refused("the image brings its one kernel")),
                    (
                        "--disabled",
                        Refused("without its boot loader the image does not boot"),
                    ),
                    (
                        "--driveorder",
                        Refused("name the system's disk by --boot-drive"),
                    ),
                    ("--extlinux", Refused("the image brings its boot loader")),
                    ("--sdboot", Refused("the image brings its boot loader")),
                    ("--iscrypted", Refused(NO_MENU)),
                    ("--password", Refused(NO_MENU)),
                    ("--timeout", Refused(NO_MENU)),
                ],
                words: Words::None,
            },
            times: Times::Once("bootloader"),
            read: bootloader,
        },
    },
];

const PART: Meaning = Meaning::Read {
    grammar: &Grammar {
        options: &[
            ("--size", Value),
            ("--grow", Nothing),
            ("--ondisk", Value),
            ("--ondrive", Value),
            ("--fstype", Value),
            ("--asprimary", Nothing),
            (
                "--maxsize",
                Refused("a partition has its --size, or grows to the end of the disk"),
            ),
            ("--recommended", Refused("give --size in MiB, or --grow")),
            ("--onpart", Refused(OWN_LAYOUT)),
            ("--usepart", Refused(OWN_LAYOUT)),
            ("--noformat", Refused(OWN_LAYOUT)),
            ("--resize", Refused(OWN_LAYOUT)),
            ("--label", Refused(OWN_LAYOUT)),
            ("--mkfsoptions", Refused(OWN_LAYOUT)),
            ("--fsprofile", Refused(OWN_LAYOUT)),
            (
                "--fsoptions",
                Refused("the image says how file systems are mounted"),
            ),
            ("--encrypted", Refused(NO_LVM)),
            ("--passphrase", Refused(NO_LVM)),
            ("--hibernation", Refused("there is no swap")),
        ],
        words: Words::One("the mount point /"),
    },
    times: Times::Many,
    read: part,
};

fn clearpart(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    if let Some(label) = args.value("--disklabel").filter(|label| *label != "gpt") {
        return Err(format!("--disklabel: the layout's is gpt, not {label}"));
    }
    let drives = disks(args, "--drives")?;
    kickstart.disks.erase = match args.at_most_one(&["--all", "--none"])? {
        Some("--none") if !drives.is_empty() => {
            return Err("--none and --drives exclude each other".into());
        }
        Some("--none") => Erase::Nothing,
        Some(_) if drives.is_empty() => Erase::All,
        Some(_) => Erase::Drives(drives),
        None => return Err("--all or --none is missing".into()),
    };
    Ok(())
}

fn ignoredisk(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let disks = match args.at_most_one(&["--drives", "--only-use"])? {
        Some(name) => (name, disks(args, name)?),
        None => return Err("--drives or --only-use is missing".into()),
    };
    let (to, names) = match disks {
        ("--drives", names) => (&mut kickstart.disks.ignore, names),
        (_, names) => (&mut kickstart.disks.only, names),
    };
    to.extend(names);
    Ok(())
}

fn part(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let point = args.word().unwrap_or_default();
    if point != "/" {
        return Err(not_in_layout(point));
    }
    if kickstart.disks.root.size.is_some() {
        return Err("/ is there twice".into());
    }
    if let Some(fstype) = args.value("--fstype").filter(|fstype| *fstype != "ext4") {
        return Err(format!(
            "--fstype: the layout's file systems are ext4, not {fstype}"
        ));
    }
    kickstart.disks.root.size = Some(size(args)?);
    if !args.has("--grow") {
        return Err("--grow is missing: / ends where the disk ends".into());
    }
    let disk = match args.at_most_one(&["--ondisk", "--ondrive"])? {
        Some(name) => disks(args, name)?.pop(),
        None => None,
    };
    disk.map_or(Ok(()), |disk| target(kickstart, disk))
}

/// MiB, at most a PiB: what comes later counts in bytes.
fn size(args: &Args) -> Result<u64, String> {
    match args.parsed("--size")? {
        Some(size @ 1..=0x4000_0000) => Ok(size),
        Some(_) => Err("--size: not a number of MiB that a disk has".into()),
        None => Err("--size is missing: the least it needs, in MiB".into()),
    }
}

fn not_in_layout(point: &str) -> String {
    match point {
        "/boot" | "/boot/efi" | "biosboot" | "prepboot" => {
            format!("{point} is part of every layout: leave the line out")
        }
        "swap" => "there is no swap: leave the line out".into(),
        _ => format!("the layout has / alone, with all of /var on it: leave out {point}"),
    }
}

fn autopart(_: &mut Kickstart, args: &Args) -> Result<(), String> {
    match (args.value("--type"), args.value("--fstype")) {
        (None | Some("plain"), None | Some("ext4")) => Ok(()),
        (None | Some("plain"), Some(other)) => Err(format!(
            "--fstype: the layout's file systems are ext4, not {other}"
        )),
        (Some(other), _) => Err(format!("--type: {NO_LVM}: --type=plain, not {other}")),
    }
}

fn bootloader(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    if let Some(place) = args.value("--location").filter(|place| *place != "mbr") {
        return Err(format!(
            "--location: the boot loader's place is the layout's (mbr), not {place}"
        ));
    }
    for argument in args
        .value("--append")
        .unwrap_or_default()
        .split_whitespace()
    {
        kickstart.kernel_arguments.push(kernel_argument(argument)?);
    }
    match disks(args, "--boot-drive")?.as_slice() {
        [] => Ok(()),
        [disk] => target(kickstart, disk.clone()),
        _ => Err("--boot-drive: one disk only".into()),
    }
}

fn kernel_argument(argument: &str) -> Result<String, String> {
    let key = argument.split('=').next().unwrap_or_default();
    if matches!(key, "root" | "ostree" | "BOOT_IMAGE" | "initrd") || key.starts_with("edge_ota.") {
        return Err(format!("--append: {key}= is what the boot loader adds"));
    }
    if !argument
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"'\\$`;{}".contains(&b))
    {
        return Err(format!(
            "--append: {argument:?} has characters that boot loaders read"
        ));
    }
    Ok(argument.to_owned())
}

fn target(kickstart: &mut Kickstart, disk: DiskName) -> Result<(), String> {
    match &kickstart.disks.target {
        Some(other) if *other != disk => {
            Err(format!("the system's disk is {other} already, not {disk}"))
        }
        _ => {
            kickstart.disks.target = Some(disk);
            Ok(())
        }
    }
}

fn disks(args: &Args, option: &str) -> Result<Vec<DiskName>, String> {
    let names = args.list::<String>(option)?;
    names
        .iter()
        .map(|name| disk(name).map_err(|e| format!("{option}: {e}")))
        .collect()
}

fn disk(name: &str) -> Result<DiskName, String> {
    if name.starts_with("LABEL=") || name.starts_with("UUID=") {
        return Err(format!("'{name}' is a file system, not a disk"));
    }
    let below = name.strip_prefix("/dev/").unwrap_or(name);
    below.parse().map_err(|error| format!("{error}"))
}
