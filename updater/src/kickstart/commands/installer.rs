//! How the installer ends, and what it has no need to be told.

use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{Finish, Kickstart};

use super::{Command, Meaning, NOTHING, Times};

pub const COMMANDS: &[Command] = &[
    finish("reboot", |kickstart, _| {
        kickstart.finish = Some(Finish::Reboot);
        Ok(())
    }),
    finish("poweroff", |kickstart, _| {
        kickstart.finish = Some(Finish::PowerOff);
        Ok(())
    }),
    finish("shutdown", |kickstart, _| {
        kickstart.finish = Some(Finish::PowerOff);
        Ok(())
    }),
    finish("halt", |kickstart, _| {
        kickstart.finish = Some(Finish::Halt);
        Ok(())
    }),
    Command {
        name: "firstboot",
        meaning: Meaning::NoEffect(&Grammar {
            options: &[
                ("--disable", Nothing),
                ("--disabled", Nothing),
                (
                    "--enable",
                    Refused("the image asks nobody at its first boot"),
                ),
                (
                    "--enabled",
                    Refused("the image asks nobody at its first boot"),
                ),
                (
                    "--reconfig",
                    Refused("the image asks nobody at its first boot"),
                ),
            ],
            words: Words::None,
        }),
    },
    Command {
        name: "eula",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[("--agreed", Nothing)],
                words: Words::None,
            },
            times: Times::Many,
            read: |_, args| match args.has("--agreed") {
                true => Ok(()),
                false => Err("--agreed is missing".into()),
            },
        },
    },
    no_effect("skipx"),
    no_effect("cmdline"),
    no_effect("graphical"),
    Command {
        name: "text",
        meaning: Meaning::NoEffect(&Grammar {
            options: &[("--non-interactive", Nothing)],
            words: Words::None,
        }),
    },
];

const fn no_effect(name: &'static str) -> Command {
    Command {
        name,
        meaning: Meaning::NoEffect(&NOTHING),
    }
}

const fn finish(
    name: &'static str,
    read: fn(&mut Kickstart, &Args) -> Result<(), String>,
) -> Command {
    Command {
        name,
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--eject", Nothing),
                    (
                        "--kexec",
                        Refused("the machine must start by its own boot loader"),
                    ),
                ],
                words: Words::None,
            },
            times: Times::Once("finish"),
            read,
        },
    }
}
