//! What may come in, as a table of nftables of its own: those of Kubernetes and containers stay as they are.

use anyhow::{Result, bail};

use super::{Content, Files, Image, units};
use crate::kickstart::{Allowed, Firewall, Protocol};

const RULES: &str = "edge-ota/firewall.nft";
const UNIT: &str = "edge-firewall.service";

/// Firewalls that images may bring.
const OTHERS: [&str; 2] = ["nftables.service", "firewalld.service"];

const SERVICE: &str = "\
[Unit]
Description=What may come into this machine
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/edge-ota/firewall.nft
ExecReload=/usr/sbin/nft -f /etc/edge-ota/firewall.nft
ExecStop=/usr/sbin/nft delete table inet edge_input

[Install]
WantedBy=sysinit.target
";

pub fn files(firewall: &Firewall, image: &Image) -> Result<Files> {
    let mut files = Files::new();
    match firewall {
        Firewall::OfImage => {}
        Firewall::Off => {
            let there = |unit: &str| (image.has)(&format!("usr/lib/systemd/system/{unit}"));
            for unit in OTHERS.into_iter().filter(|unit| there(unit)) {
                files.insert(units::path(unit), Content::Link("/dev/null".into()));
            }
        }
        Firewall::On(_) if !(image.has)("usr/sbin/nft") => {
            bail!("firewall: the image has no nft: add the package nftables in the treefile")
        }
        Firewall::On(allowed) => {
            let new = |text: String| Content::New { text, mode: 0o644 };
            files.insert(RULES.into(), new(rules(allowed)));
            files.insert(units::path(UNIT), new(SERVICE.into()));
            let wanted = units::path(&format!("sysinit.target.wants/{UNIT}"));
            files.insert(wanted, Content::Link(format!("../{UNIT}")));
        }
    }
    Ok(files)
}

/// Loaded in one go: there is no moment without rules. Answers of DHCP come from another address than was asked.
pub fn rules(allowed: &Allowed) -> String {
    let mut text = String::from(
        "table inet edge_input\n\
         delete table inet edge_input\n\
         table inet edge_input {\n\
         \tchain input {\n\
         \t\ttype filter hook input priority filter; policy drop;\n\
         \t\tct state established,related accept\n\
         \t\tct state invalid drop\n\
         \t\tiifname \"lo\" accept\n\
         \t\tmeta l4proto { icmp, ipv6-icmp } accept\n\
         \t\tudp sport 67 udp dport 68 accept\n\
         \t\tudp sport 547 udp dport 546 accept\n",
    );
    for name in &allowed.trusted {
        text.push_str(&format!("\t\tiifname \"{name}\" accept\n"));
    }
    for (protocol, word) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
        let ports = allowed
            .ports
            .iter()
            .filter(|port| port.protocol == protocol);
        for port in ports {
            let range = match port.first == port.last {
                true => port.first.to_string(),
                false => format!("{}-{}", port.first, port.last),
            };
            text.push_str(&format!("\t\t{word} dport {range} accept\n"));
        }
    }
    text.push_str("\t}\n}\n");
    text
}
