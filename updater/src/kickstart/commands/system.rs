//! Time, language, services, SELinux.

use crate::config::UnitName;
use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{HostName, Kickstart, Selinux, TimeSource, Timezone};

use super::{Command, Meaning, Times};

const NO_GRAPHICS: &str = "the image has no graphical desktop";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "timezone",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--utc", Nothing),
                    (
                        "--isUtc",
                        Refused("write --utc: newer readers know no other word"),
                    ),
                    ("--nontp", Refused("timesource --ntp-disable")),
                    ("--ntpservers", Refused("timesource --ntp-server=…")),
                ],
                words: Words::One("a time zone such as Europe/Berlin"),
            },
            times: Times::Once("timezone"),
            read: timezone,
        },
    },
    Command {
        name: "timesource",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--ntp-server", Value),
                    ("--ntp-disable", Nothing),
                    ("--ntp-pool", Refused("give its name as --ntp-server")),
                    ("--nts", Refused("systemd-timesyncd has no NTS")),
                ],
                words: Words::None,
            },
            times: Times::Many,
            read: timesource,
        },
    },
    Command {
        name: "lang",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[(
                    "--addsupport",
                    Refused("the image has its languages: say them in the treefile"),
                )],
                words: Words::One("a language such as en_US.UTF-8"),
            },
            times: Times::Once("lang"),
            read: lang,
        },
    },
    Command {
        name: "keyboard",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--vckeymap", Value),
                    ("--xlayouts", Refused(NO_GRAPHICS)),
                    ("--switch", Refused(NO_GRAPHICS)),
                ],
                words: Words::Perhaps,
            },
            times: Times::Once("keyboard"),
            read: keyboard,
        },
    },
    Command {
        name: "services",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[("--enabled", Value), ("--disabled", Value)],
                words: Words::None,
            },
            times: Times::Once("services"),
            read: services,
        },
    },
    Command {
        name: "selinux",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--disabled", Nothing),
                    ("--permissive", Nothing),
                    ("--enforcing", Nothing),
                ],
                words: Words::None,
            },
            times: Times::Once("selinux"),
            read: selinux,
        },
    },
];

fn timezone(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let zone = args.word().unwrap_or_default();
    kickstart.system.timezone = Some(Timezone {
        zone: zone.parse().map_err(|e| format!("{e}"))?,
        local_clock: !args.has("--utc"),
    });
    Ok(())
}

fn timesource(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let source = &mut kickstart.system.time_source;
    let server: Option<HostName> = match args.at_most_one(&["--ntp-server", "--ntp-disable"])? {
        Some("--ntp-server") => args.parsed("--ntp-server")?,
        Some(_) => None,
        None => return Err("--ntp-server or --ntp-disable is missing".into()),
    };
    match (server, source) {
        (Some(server), TimeSource::Servers(known)) => known.push(server.into()),
        (Some(server), source @ TimeSource::OfImage) => {
            *source = TimeSource::Servers(vec![server.into()])
        }
        (None, source @ (TimeSource::OfImage | TimeSource::None)) => *source = TimeSource::None,
        _ => return Err("--ntp-disable and --ntp-server exclude each other".into()),
    }
    Ok(())
}

fn lang(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    kickstart.system.lang = args
        .word()
        .map(|word| setting(word, "a language such as en_US.UTF-8"))
        .transpose()?;
    Ok(())
}

fn keyboard(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let keymap = match (args.value("--vckeymap"), args.word()) {
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => return Err("a keymap such as us is missing".into()),
        (Some(_), Some(_)) => return Err("the keymap is there twice".into()),
    };
    kickstart.system.keymap = Some(setting(keymap, "a keymap such as us")?);
    Ok(())
}

/// A value of locale.conf or vconsole.conf that needs no quotes.
fn setting(text: &str, what: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
    match !text.is_empty()
        && text.len() <= 64
        && !text.starts_with(['.', '-'])
        && text.bytes().all(known)
    {
        true => Ok(text.to_owned()),
        false => Err(format!("'{text}' is not {what}")),
    }
}

fn services(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let services = &mut kickstart.system.services;
    services.enabled = units(args, "--enabled")?;
    services.disabled = units(args, "--disabled")?;
    if services.enabled.is_empty() && services.disabled.is_empty() {
        return Err("--enabled or --disabled is missing".into());
    }
    match services
        .enabled
        .iter()
        .find(|unit| services.disabled.contains(unit))
    {
        Some(unit) => Err(format!("{} is both enabled and disabled", unit.as_str())),
        None => Ok(()),
    }
}

/// A name without a suffix is a service's.
fn units(args: &Args, option: &str) -> Result<Vec<UnitName>, String> {
    const SUFFIXES: [&str; 6] = [
        ".service", ".socket", ".timer", ".path", ".mount", ".target",
    ];
    let unit = |name: String| {
        let name = match SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            true => name,
            false => format!("{name}.service"),
        };
        UnitName::try_from(name).map_err(|e| format!("{option}: {e}"))
    };
    args.list::<String>(option)?.into_iter().map(unit).collect()
}

fn selinux(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    kickstart.system.selinux =
        match args.at_most_one(&["--disabled", "--permissive", "--enforcing"])? {
            Some("--disabled") => Selinux::Disabled,
            Some("--permissive") => Selinux::Permissive,
            Some(_) => Selinux::Enforcing,
            None => return Err("--disabled, --permissive or --enforcing is missing".into()),
        };
    Ok(())
}
