//! Interfaces as files of systemd-networkd (systemd.network(5), systemd.netdev(5)).

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::{Content, Files};
use crate::kickstart::{Device, Interface, InterfaceName, Mac, Network, V4, V6};

/// Before the image's own files; interfaces without a line keep those.
pub fn files(network: &Network, boot_card: Option<&Mac>) -> Result<Files> {
    let mut files = Files::new();
    let mut put = |name: String, text: String| {
        let content = Content::New { text, mode: 0o644 };
        files.insert(format!("systemd/network/{name}"), content);
    };
    for (number, interface) in (10..).zip(by_precision(network)) {
        let matching = matching(&interface.device, boot_card)?;
        let (Some(id), Some(name)) = (interface.vlan, &interface.name) else {
            let vlans = vlans_on(network, &interface.device);
            put(
                format!("{number}-edge.network"),
                format!("{matching}\n{}", settings(interface, &vlans)),
            );
            continue;
        };
        put(
            format!("{number}-edge.netdev"),
            format!("[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={id}\n"),
        );
        put(
            format!("{number}-edge.network"),
            format!("[Match]\nName={name}\n\n{}", settings(interface, &[])),
        );
        if let Some(vlans) = carried_by_nothing_else(network, interface) {
            put(
                format!("{number}-edge-carrier.network"),
                format!(
                    "{matching}\n[Network]\n{}LinkLocalAddressing=no\n",
                    vlan_lines(&vlans)
                ),
            );
        }
    }
    Ok(files)
}

/// The first file that matches an interface counts: that for all of them comes last.
fn by_precision(network: &Network) -> impl Iterator<Item = &Interface> {
    let is_for_all = |interface: &&Interface| interface.device == Device::Wired;
    let named = network
        .interfaces
        .iter()
        .filter(move |one| !is_for_all(one));
    named.chain(network.interfaces.iter().filter(is_for_all))
}

fn matching(device: &Device, boot_card: Option<&Mac>) -> Result<String> {
    Ok(match device {
        // As the image's own: not the interfaces that containers make.
        Device::Wired => "[Match]\nType=ether\nKind=!*\n".into(),
        Device::Name(name) => format!("[Match]\nName={name}\n"),
        // VLANs have the address of what they are on.
        Device::Mac(mac) => format!("[Match]\nMACAddress={mac}\nKind=!*\n"),
        Device::BootIf => {
            let mac =
                boot_card.context("network --device=bootif: the kernel has no BOOTIF= argument")?;
            format!("[Match]\nMACAddress={mac}\nKind=!*\n")
        }
    })
}

/// The names of the VLANs on a device that has a line of its own.
fn vlans_on<'a>(network: &'a Network, device: &Device) -> Vec<&'a InterfaceName> {
    let on = |interface: &&Interface| interface.vlan.is_some() && interface.device == *device;
    let found = network.interfaces.iter().filter(on);
    found
        .filter_map(|interface| interface.name.as_ref())
        .collect()
}

/// All VLANs on the device of the first of them, where the device has no line of its own.
fn carried_by_nothing_else<'a>(
    network: &'a Network,
    vlan: &Interface,
) -> Option<Vec<&'a InterfaceName>> {
    let mut same = network
        .interfaces
        .iter()
        .filter(|other| other.device == vlan.device);
    let own_line = same.clone().any(|other| other.vlan.is_none());
    let first = same.next().is_some_and(|other| other.vlan == vlan.vlan);
    (first && !own_line).then(|| vlans_on(network, &vlan.device))
}

fn vlan_lines(names: &[&InterfaceName]) -> String {
    names.iter().map(|name| format!("VLAN={name}\n")).collect()
}

fn settings(interface: &Interface, vlans: &[&InterfaceName]) -> String {
    let mut text = String::new();
    if let Some(mtu) = interface.mtu {
        text.push_str(&format!("[Link]\nMTUBytes={mtu}\n"));
    }
    if !interface.on_boot {
        let begin = if interface.mtu.is_some() {
            ""
        } else {
            "[Link]\n"
        };
        text.push_str(&format!(
            "{begin}ActivationPolicy=manual\nRequiredForOnline=no\n"
        ));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&network_section(interface, vlans));
    text.push_str(&routes(interface));
    text.push_str(&automatic(interface));
    text
}

fn network_section(interface: &Interface, vlans: &[&InterfaceName]) -> String {
    let mut text = format!(
        "[Network]\nDHCP={}\n",
        match (&interface.ipv4, &interface.ipv6) {
            (V4::Dhcp, V6::Dhcp | V6::Auto) => "yes",
            (V4::Dhcp, _) => "ipv4",
            (_, V6::Dhcp) => "ipv6",
            _ => "no",
        }
    );
    match interface.ipv6 {
        V6::Off => text.push_str("LinkLocalAddressing=no\nIPv6AcceptRA=no\n"),
        V6::Static { .. } => text.push_str("IPv6AcceptRA=no\n"),
        V6::Auto | V6::Dhcp => text.push_str("IPv6AcceptRA=yes\n"),
    }
    if let V4::Static {
        address, prefix, ..
    } = interface.ipv4
    {
        text.push_str(&format!("Address={address}/{prefix}\n"));
    }
    if let V6::Static {
        address, prefix, ..
    } = interface.ipv6
    {
        text.push_str(&format!("Address={address}/{prefix}\n"));
    }
    for server in &interface.nameservers {
        text.push_str(&format!("DNS={server}\n"));
    }
    if !interface.search.is_empty() {
        text.push_str(&format!("Domains={}\n", interface.search.join(" ")));
    }
    text.push_str(&vlan_lines(vlans));
    text
}

fn routes(interface: &Interface) -> String {
    if !interface.default_route {
        return String::new();
    }
    let mut text = String::new();
    if let V4::Static {
        address,
        prefix,
        gateway: Some(gateway),
    } = interface.ipv4
    {
        text.push_str(&format!("\n[Route]\nGateway={gateway}\n"));
        // Clouds give an address of its own network, /32.
        if !in_network(gateway, address, prefix) {
            text.push_str("GatewayOnLink=yes\n");
        }
    }
    if let V6::Static {
        gateway: Some(gateway),
        ..
    } = interface.ipv6
    {
        // A router is mostly named by its link-local address, which is outside of any prefix.
        text.push_str(&format!(
            "\n[Route]\nGateway={gateway}\nGatewayOnLink=yes\n"
        ));
    }
    text
}

fn in_network(other: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    u32::from(other) & mask == u32::from(address) & mask
}

/// What DHCP and routers may say.
fn automatic(interface: &Interface) -> String {
    let mut lines = String::new();
    if interface.ignore_auto_dns {
        lines.push_str("UseDNS=no\n");
    }
    if !interface.default_route {
        lines.push_str("UseGateway=no\n");
    }
    if lines.is_empty() {
        return lines;
    }
    let mut text = String::new();
    if interface.ipv4 == V4::Dhcp {
        text.push_str(&format!("\n[DHCPv4]\n{lines}"));
    }
    if matches!(interface.ipv6, V6::Auto | V6::Dhcp) {
        text.push_str(&format!("\n[IPv6AcceptRA]\n{lines}"));
        if interface.ignore_auto_dns {
            text.push_str("\n[DHCPv6]\nUseDNS=no\n");
        }
    }
    text
}
