//! What may come in.

use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{Allowed, Firewall, InterfaceName, Kickstart, Ports, Protocol};

use super::{Command, Meaning, Times};

pub const COMMANDS: &[Command] = &[Command {
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
}];

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
