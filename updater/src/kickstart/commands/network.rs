//! `network`: the host's name, and one interface a line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{Device, Interface, InterfaceName, Kickstart, V4, V6};

use super::{Command, Meaning, Times};

const JOINED: &str = "bonds, bridges and teams are files for systemd-networkd: write them in a %post, or in the treefile";
const WIRELESS: &str = "wireless networks are not set up here";

pub const COMMANDS: &[Command] = &[Command {
    name: "network",
    meaning: Meaning::Read {
        grammar: &Grammar {
            options: &[
                ("--hostname", Value),
                ("--device", Value),
                ("--bootproto", Value),
                ("--ip", Value),
                ("--netmask", Value),
                ("--gateway", Value),
                ("--nameserver", Value),
                ("--noipv4", Nothing),
                ("--ipv6", Value),
                ("--ipv6gateway", Value),
                ("--noipv6", Nothing),
                ("--nodns", Nothing),
                ("--ipv4-dns-search", Value),
                ("--ipv6-dns-search", Value),
                ("--nodefroute", Nothing),
                ("--mtu", Value),
                ("--vlanid", Value),
                ("--interfacename", Value),
                ("--onboot", Value),
                ("--activate", Nothing),
                ("--no-activate", Nothing),
                ("--bindto", Refused("give the MAC address as --device")),
                ("--bondslaves", Refused(JOINED)),
                ("--bondopts", Refused(JOINED)),
                ("--bridgeslaves", Refused(JOINED)),
                ("--bridgeopts", Refused(JOINED)),
                ("--teamslaves", Refused(JOINED)),
                ("--teamconfig", Refused(JOINED)),
                ("--essid", Refused(WIRELESS)),
                ("--wepkey", Refused(WIRELESS)),
                ("--wpakey", Refused(WIRELESS)),
                (
                    "--ethtool",
                    Refused("write a .link file for systemd-udevd in a %post"),
                ),
                (
                    "--dhcpclass",
                    Refused("write a file for systemd-networkd in a %post"),
                ),
                (
                    "--ipv4-ignore-auto-dns",
                    Refused("for both protocols it is --nodns"),
                ),
                (
                    "--ipv6-ignore-auto-dns",
                    Refused("for both protocols it is --nodns"),
                ),
            ],
            words: Words::None,
        },
        times: Times::Many,
        read: network,
    },
}];

fn network(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let network = &mut kickstart.network;
    if let Some(name) = args.parsed("--hostname")? {
        if let Some(other) = &network.hostname {
            return Err(format!("--hostname: it is {other} already"));
        }
        network.hostname = Some(name);
        if args.names().count() == 1 {
            return Ok(());
        }
    }
    let interface = interface(args)?;
    let same =
        |other: &&Interface| other.device == interface.device && other.vlan == interface.vlan;
    if network.interfaces.iter().any(|other| same(&other)) {
        return Err(match interface.device {
            Device::Wired => {
                "another line is for every wired interface already: name them by --device".into()
            }
            _ => "another line is for the same interface".into(),
        });
    }
    let named = |other: &Interface| other.name.is_some() && other.name == interface.name;
    if network.interfaces.iter().any(named) {
        return Err("another VLAN has the name of --interfacename".into());
    }
    network.interfaces.push(interface);
    Ok(())
}

fn interface(args: &Args) -> Result<Interface, String> {
    let device = device(args.value("--device"))?;
    let vlan: Option<u16> = args.parsed("--vlanid")?;
    if vlan.is_some_and(|id| !(1..=4094).contains(&id)) {
        return Err("--vlanid: not a number from 1 to 4094".into());
    }
    let mtu: Option<u32> = args.parsed("--mtu")?;
    if mtu.is_some_and(|mtu| !(68..=65_535).contains(&mtu)) {
        return Err("--mtu: not a number from 68 to 65535".into());
    }
    let nameservers: Vec<IpAddr> = args.list("--nameserver")?;
    args.at_most_one(&["--activate", "--no-activate"])?;
    if args.has("--nodns") && !nameservers.is_empty() {
        return Err("--nodns and --nameserver exclude each other".into());
    }
    let (ipv4, ipv6) = (ipv4(args)?, ipv6(args)?);
    if (&ipv4, &ipv6) == (&V4::Off, &V6::Off) {
        return Err("--noipv4 and --noipv6 leave nothing".into());
    }
    Ok(Interface {
        name: name(args, &device, vlan)?,
        device,
        vlan,
        ignore_auto_dns: args.has("--nodns") || !nameservers.is_empty(),
        nameservers,
        search: search(args)?,
        ipv4,
        ipv6,
        default_route: !args.has("--nodefroute"),
        mtu,
        on_boot: on_boot(args.value("--onboot"))?,
    })
}

fn device(value: Option<&str>) -> Result<Device, String> {
    let text = value.unwrap_or("link");
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "link" => Ok(Device::Wired),
        "bootif" => Ok(Device::BootIf),
        "ibft" => Err("--device: there is no iSCSI: name the interface".into()),
        mac if mac.contains(':') => mac
            .parse()
            .map(Device::Mac)
            .map_err(|e| format!("--device: {e}")),
        _ => text
            .parse()
            .map(Device::Name)
            .map_err(|e| format!("--device: {e}")),
    }
}

/// What a VLAN is called: `eth0.7` where nothing is said.
fn name(args: &Args, device: &Device, vlan: Option<u16>) -> Result<Option<InterfaceName>, String> {
    let given = args.parsed("--interfacename")?;
    let Some(vlan) = vlan else {
        return match given {
            Some(_) => Err("--interfacename: only a VLAN (--vlanid) is given a name".into()),
            None => Ok(None),
        };
    };
    match (given, device) {
        (_, Device::Wired | Device::BootIf) => {
            Err("--vlanid: --device is missing, by its name or MAC address".into())
        }
        (Some(name), _) => Ok(Some(name)),
        (None, Device::Mac(_)) => {
            Err("--vlanid: with a MAC address --interfacename is needed".into())
        }
        (None, Device::Name(device)) => {
            let name = format!("{device}.{vlan}");
            name.parse()
                .map(Some)
                .map_err(|e| format!("--vlanid: {e}: give --interfacename"))
        }
    }
}

fn ipv4(args: &Args) -> Result<V4, String> {
    let protocol = args.value("--bootproto").unwrap_or("dhcp");
    let address: Option<Ipv4Addr> = args.parsed("--ip")?;
    let gateway: Option<Ipv4Addr> = args.parsed("--gateway")?;
    let stray = ["--ip", "--netmask", "--gateway"]
        .iter()
        .find(|name| args.has(name));
    match (protocol, args.has("--noipv4"), stray) {
        ("dhcp" | "bootp" | "static", true, Some(stray)) => {
            Err(format!("--noipv4 and {stray} exclude each other"))
        }
        ("dhcp" | "bootp" | "static", true, None) => Ok(V4::Off),
        ("dhcp" | "bootp", false, Some(stray)) => {
            Err(format!("{stray}: only with --bootproto=static"))
        }
        ("dhcp" | "bootp", false, None) => Ok(V4::Dhcp),
        ("static", false, _) => Ok(V4::Static {
            address: address.ok_or("--bootproto=static: --ip is missing")?,
            prefix: netmask(args.value("--netmask"))?,
            gateway,
        }),
        _ => Err(format!("--bootproto: dhcp or static, not {protocol}")),
    }
}

fn netmask(value: Option<&str>) -> Result<u8, String> {
    let text = value.ok_or("--bootproto=static: --netmask is missing")?;
    let mask: Ipv4Addr = text
        .parse()
        .map_err(|_| format!("--netmask: '{text}' is not one such as 255.255.255.0"))?;
    let bits = u32::from(mask);
    let prefix = bits.leading_ones();
    match prefix > 0 && bits.count_ones() == prefix {
        true => Ok(prefix as u8),
        false => Err(format!(
            "--netmask: '{text}' is not one such as 255.255.255.0"
        )),
    }
}

fn ipv6(args: &Args) -> Result<V6, String> {
    let gateway: Option<Ipv6Addr> = args.parsed("--ipv6gateway")?;
    let value = args.value("--ipv6");
    if args.has("--noipv6") {
        return match (value, gateway) {
            (None, None) => Ok(V6::Off),
            _ => Err("--noipv6 excludes --ipv6 and --ipv6gateway".into()),
        };
    }
    match value {
        None | Some("auto" | "dhcp") if gateway.is_some() => {
            Err("--ipv6gateway: only with an address as --ipv6".into())
        }
        None | Some("auto") => Ok(V6::Auto),
        Some("dhcp") => Ok(V6::Dhcp),
        Some(text) => {
            let wrong = || {
                format!("--ipv6: '{text}' is not auto, dhcp or an address such as 2001:db8::7/64")
            };
            let (address, prefix) = text.split_once('/').unwrap_or((text, "64"));
            let prefix = prefix
                .parse()
                .ok()
                .filter(|prefix| (1..=128).contains(prefix));
            Ok(V6::Static {
                address: address.parse().map_err(|_| wrong())?,
                prefix: prefix.ok_or_else(wrong)?,
                gateway,
            })
        }
    }
}

fn search(args: &Args) -> Result<Vec<String>, String> {
    let mut domains: Vec<String> = Vec::new();
    for option in ["--ipv4-dns-search", "--ipv6-dns-search"] {
        if args.has(option) && !args.has("--device") {
            return Err(format!("{option}: --device is missing"));
        }
        for domain in args.list::<crate::kickstart::HostName>(option)? {
            if !domains.iter().any(|known| known == domain.as_str()) {
                domains.push(domain.into());
            }
        }
    }
    Ok(domains)
}

fn on_boot(value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("yes" | "on" | "true" | "1") => Ok(true),
        Some("no" | "off" | "false" | "0") => Ok(false),
        Some(other) => Err(format!("--onboot: yes or no, not {other}")),
    }
}
