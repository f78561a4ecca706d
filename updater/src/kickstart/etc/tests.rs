use std::collections::BTreeMap;

use anyhow::bail;

use super::*;
use crate::kickstart::parse;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f op@site";
const CRYPT: &str = "$6$saltsalt$8RWsOfwR6M6PpnoeQiEiWzNTPo1f0HjVYjDnLZhGx16aBFRkeqiHAzfXP/LgrOWMBMXqiU2pLrXsSOHNUyUm91";

const IMAGE: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n",
    ),
    ("etc/shadow", "root:*:::::::\nsync:*:::::::\n"),
    ("etc/group", "root:x:0:\nsudo:x:27:\n"),
    ("etc/gshadow", "root:*::\nsudo:*::\n"),
    (
        "etc/ssh/sshd_config.d/50-edge.conf",
        include_str!("../../../../treefiles/files/base/50-edge-sshd.conf"),
    ),
    ("usr/bin/bash", ""),
    ("usr/sbin/nft", ""),
    ("usr/share/zoneinfo/Europe/Berlin", ""),
    ("usr/lib/systemd/system/systemd-timesyncd.service", ""),
    ("usr/lib/systemd/system/nftables.service", ""),
    (
        "usr/lib/systemd/system/chronyd.service",
        "[Unit]\n[Install]\nWantedBy=multi-user.target\nAlias=chrony.service ntp.service\nAlso=chrony-wait.service\n",
    ),
    (
        "usr/lib/systemd/system/chrony-wait.service",
        "[Install]\nAlso=chronyd.service\nRequiredBy=time-sync.target\n[X]\nWantedBy=no.target\n",
    ),
    (
        "usr/lib/systemd/system/getty@.service",
        "[Install]\nWantedBy=getty.target\n",
    ),
    ("usr/lib/systemd/system/static.service", "[Service]\n"),
];

fn read(text: &str) -> Kickstart {
    let text = text.replace("CRYPT", CRYPT).replace("KEY", KEY);
    parse("ks", &text, &mut |_| bail!("none")).unwrap()
}

fn change(text: &str) -> Result<Changes> {
    let image: BTreeMap<&str, &str> = IMAGE.iter().copied().collect();
    let image = Image {
        read: &|path| Ok(image.get(path).map(|text| (*text).to_owned())),
        has: &|path| image.contains_key(path),
    };
    changes(&read(text), &image, None)
}

/// `path: text` or `path -> target` for each file.
fn shown(text: &str) -> String {
    let changes = change(text).unwrap();
    let files = changes.files.iter().map(|(path, content)| match content {
        Content::New { text, mode: 0o644 } => format!("{path}:\n{text}"),
        Content::New { mode, .. } => panic!("{path} has mode {mode:o}"),
        Content::Edited(text) => format!("{path} edited:\n{text}"),
        Content::Link(target) => format!("{path} -> {target}\n"),
    });
    let notes = changes.notes.iter().map(|note| format!("note: {note}\n"));
    files.chain(notes).collect()
}

#[test]
fn nothing_said_changes_nothing() {
    assert_eq!(shown(""), "");
    assert_eq!(shown("rootpw --lock\ntimezone UTC --utc\n"), "");
}

#[test]
fn each_command_has_its_files() {
    let table = [
        ("network --hostname=node7", "hostname:\nnode7\n"),
        (
            "timezone Europe/Berlin",
            "adjtime:\n0.0 0 0.0\n0\nLOCAL\nlocaltime -> ../usr/share/zoneinfo/Europe/Berlin\n",
        ),
        (
            "timesource --ntp-server=a.example\ntimesource --ntp-server=b.example",
            "systemd/timesyncd.conf.d/50-edge-kickstart.conf:\n[Time]\nNTP=a.example b.example\n",
        ),
        (
            "timesource --ntp-disable",
            "systemd/system/systemd-timesyncd.service -> /dev/null\n",
        ),
        ("lang C", "locale.conf:\nLANG=C\n"),
        (
            "lang de_DE.UTF-8",
            "locale.conf:\nLANG=de_DE.UTF-8\nnote: lang de_DE.UTF-8: the image does not have it; programs use C\n",
        ),
        (
            "keyboard de",
            "vconsole.conf:\nKEYMAP=de\nnote: keyboard de: the image has no loadkeys; the console has the kernel's keymap\n",
        ),
        (
            "sshkey --username=root \"KEY\"",
            &format!("edge-ota/ssh/root.pub:\n{KEY}\n"),
        ),
        (
            "firewall --disabled",
            "systemd/system/nftables.service -> /dev/null\n",
        ),
        (
            "services --enabled=chronyd,getty@ttyS1 --disabled=static",
            "systemd/system/chrony.service -> /usr/lib/systemd/system/chronyd.service\n\
             systemd/system/getty.target.wants/getty@ttyS1.service -> /usr/lib/systemd/system/getty@.service\n\
             systemd/system/multi-user.target.wants/chronyd.service -> /usr/lib/systemd/system/chronyd.service\n\
             systemd/system/ntp.service -> /usr/lib/systemd/system/chronyd.service\n\
             systemd/system/static.service -> /dev/null\n\
             systemd/system/time-sync.target.requires/chrony-wait.service -> /usr/lib/systemd/system/chrony-wait.service\n",
        ),
        (
            "user --name=op --groups=sudo,ops --iscrypted --password=CRYPT\nrootpw --iscrypted CRYPT",
            &format!(
                "group edited:\nroot:x:0:\nsudo:x:27:op\nop:x:1000:\nops:x:1001:op\n\
                 gshadow edited:\nroot:*::\nsudo:*::op\nop:!::\nops:!::op\n\
                 passwd edited:\nroot:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n\
                 op:x:1000:1000::/home/op:/bin/bash\n\
                 shadow edited:\nroot:{CRYPT}:::::::\nsync:*:::::::\nop:{CRYPT}:::::::\n\
                 tmpfiles.d/edge-kickstart.conf:\nd /var/home/op 0700 1000 1000 -\n"
            ),
        ),
        (
            "group --name=ops --gid=2000\nuser --name=a --uid=1001 --gid=2000 --homedir=/var/lib/a --gecos=\"A B\"\n\
             user --name=b --lock --iscrypted --password=CRYPT\nuser --name=c",
            &format!(
                "group edited:\nroot:x:0:\nsudo:x:27:\nops:x:2000:\nb:x:1000:\nc:x:1002:\n\
                 gshadow edited:\nroot:*::\nsudo:*::\nops:!::\nb:!::\nc:!::\n\
                 passwd edited:\nroot:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n\
                 a:x:1001:2000:A B:/var/lib/a:/bin/bash\nb:x:1000:1000::/home/b:/bin/bash\n\
                 c:x:1002:1002::/home/c:/bin/bash\n\
                 shadow edited:\nroot:*:::::::\nsync:*:::::::\na:*:::::::\nb:!{CRYPT}:::::::\nc:*:::::::\n\
                 tmpfiles.d/edge-kickstart.conf:\nd /var/lib/a 0700 1001 2000 -\nd /var/home/b 0700 1000 1000 -\n\
                 d /var/home/c 0700 1002 1002 -\n"
            ),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn interfaces_become_files_of_networkd() {
    let table = [
        (
            "network --bootproto=dhcp",
            "10-edge.network:\n[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n",
        ),
        (
            "network --device=eth0 --bootproto=static --ip=192.0.2.7 --netmask=255.255.255.0 --gateway=192.0.2.1 \
             --nameserver=192.0.2.1 --ipv4-dns-search=site.example --noipv6 --mtu=9000",
            "10-edge.network:\n[Match]\nName=eth0\n\n[Link]\nMTUBytes=9000\n\n[Network]\nDHCP=no\n\
             LinkLocalAddressing=no\nIPv6AcceptRA=no\nAddress=192.0.2.7/24\nDNS=192.0.2.1\nDomains=site.example\n\
             \n[Route]\nGateway=192.0.2.1\n",
        ),
        (
            "network --device=52:54:00:00:00:01 --noipv4 --ipv6=2001:db8::7/64 --ipv6gateway=fe80::1 --onboot=no",
            "10-edge.network:\n[Match]\nMACAddress=52:54:00:00:00:01\nKind=!*\n\n[Link]\nActivationPolicy=manual\n\
             RequiredForOnline=no\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nAddress=2001:db8::7/64\n\
             \n[Route]\nGateway=fe80::1\nGatewayOnLink=yes\n",
        ),
        (
            "network --device=eth0 --bootproto=static --ip=203.0.113.5 --netmask=255.255.255.255 --gateway=10.0.0.1",
            "10-edge.network:\n[Match]\nName=eth0\n\n[Network]\nDHCP=no\nIPv6AcceptRA=yes\nAddress=203.0.113.5/32\n\
             \n[Route]\nGateway=10.0.0.1\nGatewayOnLink=yes\n",
        ),
        (
            "network --device=eth0 --nodefroute --nodns --ipv6=dhcp",
            "10-edge.network:\n[Match]\nName=eth0\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\
             \n[DHCPv4]\nUseDNS=no\nUseGateway=no\n\n[IPv6AcceptRA]\nUseDNS=no\nUseGateway=no\n\n[DHCPv6]\nUseDNS=no\n",
        ),
        (
            "network --device=eth0 --vlanid=7\nnetwork --device=eth0 --vlanid=8 --interfacename=back --noipv6",
            "10-edge-carrier.network:\n[Match]\nName=eth0\n\n[Network]\nVLAN=eth0.7\nVLAN=back\nLinkLocalAddressing=no\n\
             10-edge.netdev:\n[NetDev]\nName=eth0.7\nKind=vlan\n\n[VLAN]\nId=7\n\
             10-edge.network:\n[Match]\nName=eth0.7\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\
             11-edge.netdev:\n[NetDev]\nName=back\nKind=vlan\n\n[VLAN]\nId=8\n\
             11-edge.network:\n[Match]\nName=back\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        ),
        (
            "network --noipv6\nnetwork --device=eth0 --noipv6",
            "10-edge.network:\n[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
             11-edge.network:\n[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        ),
        (
            "network --device=eth0 --vlanid=7\nnetwork --device=eth0",
            "10-edge.netdev:\n[NetDev]\nName=eth0.7\nKind=vlan\n\n[VLAN]\nId=7\n\
             10-edge.network:\n[Match]\nName=eth0.7\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\
             11-edge.network:\n[Match]\nName=eth0\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\nVLAN=eth0.7\n",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(
            shown(text).replace("systemd/network/", ""),
            expected,
            "{text}"
        );
    }
    let by_boot_card = read("network --device=bootif").network;
    let mac = "52:54:00:00:00:01".parse().unwrap();
    let files = network_files(&by_boot_card, Some(&mac)).unwrap();
    let Content::New { text, .. } = &files["systemd/network/10-edge.network"] else {
        panic!("not a file");
    };
    assert!(
        text.starts_with("[Match]\nMACAddress=52:54:00:00:00:01\n"),
        "{text}"
    );
    let error = network_files(&by_boot_card, None).unwrap_err().to_string();
    assert_eq!(
        error,
        "network --device=bootif: the kernel has no BOOTIF= argument"
    );
}

#[test]
fn what_the_image_lacks_is_named_with_the_remedy() {
    let table = [
        (
            "timezone Mars/Base",
            "timezone Mars/Base: the image does not know it: add the package tzdata in the treefile",
        ),
        (
            "services --enabled=foo",
            "services --enabled: the image has no foo.service",
        ),
        (
            "services --disabled=foo",
            "services --disabled: the image has no foo.service",
        ),
        (
            "services --enabled=static",
            "services --enabled: static.service cannot be enabled: it has no [Install]",
        ),
        (
            "selinux --enforcing",
            "selinux --enforcing: the image has no policy: say it in the treefile",
        ),
        (
            "user --name=sync",
            "user --name=sync: the image has this user already",
        ),
        (
            "user --name=sudo",
            "user --name=sudo: the image has a group of this name: give its number as --gid",
        ),
        (
            "user --name=a --shell=/bin/fish",
            "user --name=a: the image has no /bin/fish",
        ),
        (
            "group --name=sudo",
            "group --name=sudo: the image has this group already",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(
            format!("{:#}", change(text).unwrap_err()),
            expected,
            "{text}"
        );
    }
    let bare = Image {
        read: &|_| Ok(None),
        has: &|_| false,
    };
    for (text, expected) in [
        (
            "firewall --ssh",
            "firewall: the image has no nft: add the package nftables in the treefile",
        ),
        (
            "timesource --ntp-server=a",
            "timesource: the image has no systemd-timesyncd.service: add its package in the treefile",
        ),
        (
            "sshkey --username=root \"KEY\"",
            "sshkey: the image's sshd does not read /etc/edge-ota/ssh/%u.pub: say it in its AuthorizedKeysFile",
        ),
    ] {
        let error = changes(&read(text), &bare, None).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn kernel_arguments_come_from_two_commands() {
    let kickstart = read("bootloader --append=\"quiet panic=5\"\nselinux --disabled\n");
    assert_eq!(kickstart.kargs(), ["quiet", "panic=5", "selinux=0"]);
}

mod tools;
