//! Time, language, services, firewall, and how the installer ends.

use crate::config::UnitName;
use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{
    Allowed, Finish, Firewall, HostName, InterfaceName, Kickstart, LogHost, Ports, Protocol,
    Selinux, TimeSource, Timezone,
};

use super::{Command, Meaning, NOTHING, Times};

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
        name: "firewall",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--enabled", Nothing),
                    ("--enable", Nothing),
                    ("--disabled", Nothing),
                    ("--disable", Nothing),
                    ("--port", Values),
                    ("--service", Values),
                    ("--ssh", Nothing),
                    ("--http", Nothing),
                    ("--ftp", Refused("give its ports: --port=21:tcp")),
                    ("--smtp", Refused("give its port: --port=25:tcp")),
                    ("--trust", Values),
                    (
                        "--remove-service",
                        Refused("what is not named is not let in"),
                    ),
                    ("--use-system-defaults", Refused("leave the whole line out")),
                ],
                words: Words::None,
            },
            times: Times::Once("firewall"),
            read: firewall,
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
    Command {
        name: "logging",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[("--host", Value), ("--port", Value)],
                words: Words::None,
            },
            times: Times::Once("logging"),
            read: logging,
        },
    },
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

fn firewall(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let switch = ["--enabled", "--enable", "--disabled", "--disable"];
    let off = args
        .at_most_one(&switch)?
        .is_some_and(|name| name.starts_with("--disable"));
    let allowed = allowed(args)?;
    kickstart.system.firewall = match off {
        true if allowed != Allowed::default() => {
            return Err("--disabled lets everything in already".into());
        }
        true => Firewall::Off,
        false => Firewall::On(allowed),
    };
    Ok(())
}

fn allowed(args: &Args) -> Result<Allowed, String> {
    let mut ports = Vec::new();
    for text in args.list::<String>("--port")? {
        ports.push(port(&text)?);
    }
    for name in args.list::<String>("--service")? {
        ports.extend(service(&name)?);
    }
    for (option, name) in [("--ssh", "ssh"), ("--http", "http")] {
        if args.has(option) {
            ports.extend(service(name)?);
        }
    }
    ports.sort();
    ports.dedup();
    let trusted: Vec<InterfaceName> = args.list("--trust")?;
    Ok(Allowed { ports, trusted })
}

/// `22:tcp`, `30000-32767:tcp`; without a protocol it is tcp.
fn port(text: &str) -> Result<Ports, String> {
    let wrong = || format!("--port: '{text}' is not one such as 22:tcp or 30000-32767:tcp");
    let (numbers, protocol) = text.split_once(':').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = (
        number(first).ok_or_else(wrong)?,
        number(last).ok_or_else(wrong)?,
    );
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(wrong()),
    };
    match first <= last {
        true => Ok(Ports {
            protocol,
            first,
            last,
        }),
        false => Err(wrong()),
    }
}

/// The services of firewalld that nodes have, by its names.
fn service(name: &str) -> Result<Vec<Ports>, String> {
    use Protocol::{Tcp, Udp};
    const KNOWN: [(&str, &[(Protocol, u16)]); 14] = [
        ("ssh", &[(Tcp, 22)]),
        ("http", &[(Tcp, 80)]),
        ("https", &[(Tcp, 443)]),
        ("cockpit", &[(Tcp, 9090)]),
        ("dhcp", &[(Udp, 67)]),
        ("dhcpv6-client", &[(Udp, 546)]),
        ("dns", &[(Tcp, 53), (Udp, 53)]),
        ("kube-apiserver", &[(Tcp, 6443)]),
        ("kubelet", &[(Tcp, 10250)]),
        ("mdns", &[(Udp, 5353)]),
        ("mqtt", &[(Tcp, 1883)]),
        ("ntp", &[(Udp, 123)]),
        ("snmp", &[(Udp, 161)]),
        ("wireguard", &[(Udp, 51820)]),
    ];
    let found = KNOWN.iter().find(|(known, _)| *known == name);
    let (_, ports) = found.ok_or_else(|| {
        let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
        format!(
            "--service: no ports are known of '{name}': give --port, or one of {}",
            names.join(" ")
        )
    })?;
    let port = |(protocol, port): &(Protocol, u16)| Ports {
        protocol: *protocol,
        first: *port,
        last: *port,
    };
    Ok(ports.iter().map(port).collect())
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

fn logging(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let host: HostName = args.parsed("--host")?.ok_or("--host is missing")?;
    kickstart.log = Some(LogHost {
        host: host.into(),
        // RFC 5426
        port: args.parsed("--port")?.unwrap_or(514),
    });
    Ok(())
}
