use anyhow::bail;
use proptest::prelude::*;

use super::*;
use crate::kickstart::{
    Device, Erase, Finish, Firewall, RootPassword, Selinux, TimeSource, V4, V6,
};

const CRYPT: &str = "$6$saltsalt$8RWsOfwR6M6PpnoeQiEiWzNTPo1f0HjVYjDnLZhGx16aBFRkeqiHAzfXP/LgrOWMBMXqiU2pLrXsSOHNUyUm91";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f op@site";

fn read(text: &str) -> Result<Kickstart, String> {
    let text = text.replace("CRYPT", CRYPT).replace("KEY", KEY);
    parse("ks", &text, &mut |_| bail!("no such file")).map_err(|e| e.to_string())
}

#[test]
fn a_whole_file() {
    let kickstart = read(
        "# a node\n\
         text\n\
         ostreesetup --osname=edge --remote=edge --url=http://updates.example/fleet/repo --ref=edge/13/x86_64/node --nogpg\n\
         zerombr\n\
         clearpart --all --drives=sda,/dev/disk/by-id/ata-X --initlabel\n\
         ignoredisk --only-use=sda,disk/by-id/ata-*\n\
         part / --size=4096 --grow --ondisk=/dev/sda\n\
         bootloader --append=\"quiet  panic=5\" --location=mbr\n\
         network --bootproto=static --device=eth0 --ip=192.0.2.7 --netmask=255.255.255.0 --gateway=192.0.2.1 \
         --nameserver=192.0.2.1,2001:db8::1 --hostname=node7.site.example\n\
         network --device=52:54:00:AB:CD:EF --noipv6 --onboot=no --activate\n\
         timezone Europe/Berlin --utc\n\
         timesource --ntp-server=ntp.example\n\
         keyboard --vckeymap=de\n\
         lang de_DE.UTF-8\n\
         rootpw --lock\n\
         user --name=op --groups=sudo,ops(2000) --iscrypted --password=CRYPT --shell=/bin/bash\n\
         sshkey --username=root \"KEY\"\n\
         services --enabled=chronyd,x.timer --disabled=foo\n\
         firewall --enabled --ssh --port=30000-32767:tcp,53:udp --trust=cni0\n\
         selinux --permissive\n\
         %pre --log=/tmp/pre.log\n\
         true\n\
         %end\n\
         %post --erroronfail --interpreter=/usr/bin/python3\n\
         print(1)\n\
         %end\n\
         %post --nochroot\n\
         %end\n\
         reboot --eject\n",
    )
    .unwrap();
    let source = kickstart.source.unwrap();
    assert_eq!(source.url, "http://updates.example/fleet");
    assert_eq!(source.channel.as_str(), "stable");
    assert_eq!(source.reference.unwrap().as_str(), "edge/13/x86_64/node");
    let disks = kickstart.disks;
    let names = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect();
    assert!(disks.zerombr);
    assert_eq!(
        disks.erase,
        Erase::Drives(names(&["sda", "disk/by-id/ata-X"]))
    );
    assert_eq!(disks.only, names(&["sda", "disk/by-id/ata-*"]));
    assert_eq!(disks.target.unwrap().as_str(), "sda");
    assert_eq!(disks.root.size, Some(4096));
    assert_eq!(kickstart.kernel_arguments, ["quiet", "panic=5"]);
    assert_eq!(
        kickstart.network.hostname.unwrap().as_str(),
        "node7.site.example"
    );
    let [eth0, by_mac] = kickstart.network.interfaces.as_slice() else {
        panic!("not two interfaces");
    };
    assert_eq!(
        eth0.ipv4,
        V4::Static {
            address: [192, 0, 2, 7].into(),
            prefix: 24,
            gateway: Some([192, 0, 2, 1].into())
        }
    );
    assert_eq!(
        (&eth0.ipv6, eth0.nameservers.len(), eth0.ignore_auto_dns),
        (&V6::Auto, 2, true)
    );
    assert_eq!(
        by_mac.device,
        Device::Mac("52:54:00:ab:cd:ef".parse().unwrap())
    );
    assert_eq!(
        (&by_mac.ipv4, &by_mac.ipv6, by_mac.on_boot),
        (&V4::Dhcp, &V6::Off, false)
    );
    let system = kickstart.system;
    assert!(!system.timezone.unwrap().local_clock);
    assert_eq!(
        system.time_source,
        TimeSource::Servers(vec!["ntp.example".into()])
    );
    assert_eq!(
        (system.keymap.as_deref(), system.lang.as_deref()),
        (Some("de"), Some("de_DE.UTF-8"))
    );
    let enabled: Vec<&str> = system.services.enabled.iter().map(|u| u.as_str()).collect();
    assert_eq!(enabled, ["chronyd.service", "x.timer"]);
    assert_eq!(system.selinux, Selinux::Permissive);
    let Firewall::On(allowed) = system.firewall else {
        panic!("no firewall")
    };
    let ports: Vec<(u16, u16)> = allowed.ports.iter().map(|p| (p.first, p.last)).collect();
    assert_eq!(ports, [(22, 22), (30000, 32767), (53, 53)]);
    let accounts = kickstart.accounts;
    assert_eq!(accounts.root, RootPassword::Locked);
    assert_eq!(accounts.users[0].groups[1].gid, Some(2000));
    assert_eq!(accounts.ssh_keys[0].key, KEY);
    let scripts = kickstart.scripts;
    assert_eq!(
        (scripts.pre[0].text.as_str(), scripts.pre[0].at.line),
        ("true\n", 21)
    );
    assert_eq!(scripts.pre[0].runs_in, RunsIn::Installer);
    assert_eq!(scripts.post.len(), 1);
    assert_eq!(scripts.post[0].interpreter, "/usr/bin/python3");
    assert!(scripts.post[0].error_on_fail && scripts.post[0].runs_in == RunsIn::System);
    assert_eq!(kickstart.finish, Some(Finish::Reboot));
}

#[test]
fn a_medium_is_named_by_what_is_on_it_or_by_its_device() {
    let medium = |line: &str| {
        let medium = read(line).unwrap().medium.unwrap();
        (medium.partition, medium.dir)
    };
    for (given, expected) in [
        ("LABEL=EDGE", "LABEL=EDGE"),
        ("sdb1", "/dev/sdb1"),
        ("/dev/sdb1", "/dev/sdb1"),
    ] {
        let line = format!("harddrive --partition={given} --dir=/edge");
        assert_eq!(medium(&line), (expected.to_owned(), "/edge".to_owned()));
    }
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(read("").unwrap(), Kickstart::default());
    assert_eq!(read("# only this\n\n").unwrap(), Kickstart::default());
}

#[test]
fn mistakes_name_line_command_and_remedy() {
    let ostree = "ostreesetup --osname=edge --url=http://u.example --ref=channel:stable";
    let table: &[(&str, &str)] = &[
        (
            "frobnicate",
            "unknown command 'frobnicate': docs/provisioning/kickstart.md lists those that are read",
        ),
        (
            "%packages\n%end",
            "%packages: the system is a commit that ostreesetup names, with all its packages in it",
        ),
        (
            "%foo\n%end",
            "%foo: unknown section: there are %pre %pre-install %post %onerror",
        ),
        (
            "%post --nochrot\n%end",
            "%post: unknown option --nochrot: there are --interpreter --erroronfail --log --logfile --nochroot",
        ),
        (
            "%pre --nochroot\n%end",
            "%pre: unknown option --nochroot: there are --interpreter --erroronfail --log --logfile",
        ),
        (
            "%pre --log=x\n%end",
            "%pre: --log: one path that begins with / is needed",
        ),
        (
            "url --url=http://x",
            "url: the system is a commit that ostreesetup names, with all its packages in it",
        ),
        (
            "ostreesetup --url=http://u --ref=channel:x",
            "ostreesetup: --osname is missing",
        ),
        (
            "ostreesetup --osname=e --url=ftp://u --ref=channel:x",
            "ostreesetup: --url: 'ftp://u' does not begin with http://, https:// or file:///",
        ),
        (
            "ostreesetup --osname=e --url=http://u --ref=channel:a/b",
            "ostreesetup: --ref: 'a/b' is not a channel name: letters, digits, '.', '_' and '-', not starting with '.' or '-'",
        ),
        (
            "ostreesetup --osname=e --url=http://u --ref=/x",
            "ostreesetup: --ref: '/x' is not a ref: path parts of letters, digits, '.', '_' and '-', joined by '/', none starting with '.' or '-'; or channel:NAME",
        ),
        (
            "harddrive --partition=LABEL=E",
            "harddrive: --dir is missing",
        ),
        (
            "harddrive --partition=LABEL=E --dir=../x",
            "harddrive: --dir: '../x' is not a path that begins with /",
        ),
        ("zerombr yes", "zerombr: 'yes' is one word too many"),
        (
            "clearpart --linux",
            "clearpart: --linux: only whole disks are erased: --all, perhaps with --drives",
        ),
        (
            "clearpart --drives=sda",
            "clearpart: --all or --none is missing",
        ),
        (
            "clearpart --all --none",
            "clearpart: --all and --none exclude each other",
        ),
        (
            "clearpart --all --disklabel=msdos",
            "clearpart: --disklabel: the layout's is gpt, not msdos",
        ),
        (
            "clearpart --all --drives=LABEL=x",
            "clearpart: --drives: 'LABEL=x' is a file system, not a disk",
        ),
        (
            "clearpart --all --drives=sda,",
            "clearpart: --drives: '' is not a disk: a name below /dev such as sda, nvme0n1 or disk/by-id/ata-X",
        ),
        (
            "ignoredisk",
            "ignoredisk: --drives or --only-use is missing",
        ),
        ("part", "part: the mount point / is missing"),
        (
            "part / --fstype=xfs --grow",
            "part: --fstype: the layout's file systems are ext4, not xfs",
        ),
        (
            "part /",
            "part: --size is missing: the least it needs, in MiB",
        ),
        (
            "part / --size=0",
            "part: --size: not a number of MiB that a disk has",
        ),
        (
            "part / --size=4G",
            "part: --size: '4G': invalid digit found in string",
        ),
        (
            "part /var --size=9",
            "part: the layout has / alone, with all of /var on it: leave out /var",
        ),
        (
            "part /boot --size=512",
            "part: /boot is part of every layout: leave the line out",
        ),
        (
            "part swap --size=512",
            "part: there is no swap: leave the line out",
        ),
        (
            "partition /home --size=512",
            "partition: the layout has / alone, with all of /var on it: leave out /home",
        ),
        (
            "part / --grow --encrypted",
            "part: --encrypted: the layout has plain partitions: no LVM, RAID or encryption",
        ),
        (
            "autopart --type=lvm",
            "autopart: --type: the layout has plain partitions: no LVM, RAID or encryption: --type=plain, not lvm",
        ),
        (
            "bootloader --location=none",
            "bootloader: --location: the boot loader's place is the layout's (mbr), not none",
        ),
        (
            "bootloader --append=\"root=/dev/sda\"",
            "bootloader: --append: root= is what the boot loader adds",
        ),
        (
            "bootloader --append='x=$(y)'",
            "bootloader: --append: \"x=$(y)\" has characters that boot loaders read",
        ),
        (
            "bootloader --timeout=5",
            "bootloader: --timeout: the boot loader has neither menu nor prompt",
        ),
        (
            "network --bootproto=static --ip=192.0.2.7",
            "network: --bootproto=static: --netmask is missing",
        ),
        (
            "network --bootproto=static --ip=192.0.2.7 --netmask=255.0.255.0",
            "network: --netmask: '255.0.255.0' is not one such as 255.255.255.0",
        ),
        (
            "network --bootproto=static --ip=192.0.2 --netmask=255.0.0.0",
            "network: --ip: '192.0.2': invalid IPv4 address syntax",
        ),
        (
            "network --ipv6-dns-search=a.example",
            "network: --ipv6-dns-search: --device is missing",
        ),
        (
            "network --ip=192.0.2.7",
            "network: --ip: only with --bootproto=static",
        ),
        (
            "network --bootproto=ibft",
            "network: --bootproto: dhcp or static, not ibft",
        ),
        (
            "network --device=toolonganame0000",
            "network: --device: 'toolonganame0000' is not a network interface: at most 15 letters, digits, '.', '_' and '-'",
        ),
        (
            "network --device=52:54",
            "network: --device: '52:54' is not a MAC address: six pairs of hex digits joined by ':'",
        ),
        (
            "network --vlanid=7",
            "network: --vlanid: --device is missing, by its name or MAC address",
        ),
        (
            "network --device=eth0 --vlanid=4095",
            "network: --vlanid: not a number from 1 to 4094",
        ),
        (
            "network --noipv4 --noipv6",
            "network: --noipv4 and --noipv6 leave nothing",
        ),
        (
            "network --ipv6=2001:db8::1/129",
            "network: --ipv6: '2001:db8::1/129' is not auto, dhcp or an address such as 2001:db8::7/64",
        ),
        (
            "network --hostname=a_b",
            "network: --hostname: 'a_b' is not a host name: letters, digits and '-' in parts joined by '.', at most 64 in all, no part beginning or ending with '-'",
        ),
        (
            "network --bondslaves=a,b",
            "network: --bondslaves: bonds, bridges and teams are files for systemd-networkd: write them in a %post, or in the treefile",
        ),
        (
            "timezone",
            "timezone: a time zone such as Europe/Berlin is missing",
        ),
        (
            "timezone ../etc/passwd",
            "timezone: '../etc/passwd' is not a time zone: a name such as UTC or Europe/Berlin",
        ),
        (
            "lang en_US.UTF-8;x",
            "lang: 'en_US.UTF-8;x' is not a language such as en_US.UTF-8",
        ),
        ("keyboard", "keyboard: a keymap such as us is missing"),
        (
            "rootpw secret",
            "rootpw: a password that everybody can read in the file: give --iscrypted with what 'mkpasswd' prints, or an sshkey",
        ),
        (
            "rootpw --plaintext secret",
            "rootpw: --plaintext: a password that everybody can read in the file: give --iscrypted with what 'mkpasswd' prints, or an sshkey",
        ),
        (
            "rootpw --iscrypted secret",
            "rootpw: not a crypted password: what 'mkpasswd' prints: $y$…, $gy$…, $7$…, $2b$…, $6$… or $5$…",
        ),
        (
            "rootpw",
            "rootpw: --lock, or --iscrypted with a password, is missing",
        ),
        (
            "user --name=op --password=x",
            "user: a password that everybody can read in the file: give --iscrypted with what 'mkpasswd' prints, or an sshkey",
        ),
        (
            "user --name=root",
            "user: root is there already: rootpw, and sshkey --username=root",
        ),
        (
            "user --name=op --uid=5",
            "user: --uid: '5' is not a number from 1000 to 59999",
        ),
        (
            "user --name=Op",
            "user: --name: 'Op' is not a user name: lower-case letters, digits, '_' and '-', at most 32, beginning with a letter or '_'",
        ),
        (
            "user --name=op --homedir=/home/../etc",
            "user: --homedir: '/home/../etc' is not a plain path that begins with /",
        ),
        (
            "user --name=op --gecos=a:b",
            "user: --gecos: ':' has no place in passwd",
        ),
        (
            "sshkey --username=root",
            "sshkey: a key, in quotes, is missing",
        ),
        (
            "sshkey --username=root KEY",
            "sshkey: 'AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f' is one word too many",
        ),
        (
            "sshkey --username=root \"ssh-rsa AAAA\"",
            "sshkey: this is not a public key, such as \"ssh-ed25519 AAAA… name\"",
        ),
        (
            "services --enabled=a --disabled=a.service",
            "services: a.service is both enabled and disabled",
        ),
        (
            "services --enabled=a/b",
            "services: --enabled: 'a/b.service' is not a unit name such as ssh.service",
        ),
        (
            "firewall --port=0:tcp",
            "firewall: --port: '0:tcp' is not one such as 22:tcp or 30000-32767:tcp",
        ),
        (
            "firewall --service=foo",
            "firewall: --service: no ports are known of 'foo': give --port, or one of ssh http https cockpit dhcp dhcpv6-client dns kube-apiserver kubelet mdns mqtt ntp snmp wireguard",
        ),
        (
            "firewall --disabled --ssh",
            "firewall: --disabled lets everything in already",
        ),
        (
            "selinux",
            "selinux: --disabled, --permissive or --enforcing is missing",
        ),
        (
            "reboot --kexec",
            "reboot: --kexec: the machine must start by its own boot loader",
        ),
        (
            "firstboot --enable",
            "firstboot: --enable: the image asks nobody at its first boot",
        ),
        ("%include /none", "including /none: no such file"),
    ];
    for (line, expected) in table {
        assert_eq!(
            read(line).unwrap_err(),
            format!("ks:1: {expected}"),
            "{line}"
        );
    }
    let twice = format!("{ostree}\n{ostree}\n");
    let table: &[(&str, &str)] = &[
        (
            &twice,
            "ks:2: ostreesetup: there is a line 'ostreesetup' already, ks:1",
        ),
        (
            "reboot\n\nhalt\n",
            "ks:3: halt: there is a line 'reboot' already, ks:1",
        ),
        (
            "part / --size=9 --grow\nautopart --nolvm\n",
            "ks:2: autopart: with part it says the layout twice: leave one out",
        ),
        (
            "reqpart\nautopart\n",
            "ks:2: autopart: with reqpart it says the layout twice: leave one out",
        ),
        (
            "part / --size=1 --grow\npartition / --size=1 --grow\n",
            "ks:2: partition: / is there twice",
        ),
        (
            "bootloader --boot-drive=sda\npart / --size=9 --grow --ondisk=sdb\n",
            "ks:2: part: the system's disk is sda already, not sdb",
        ),
        (
            "ignoredisk --only-use=sdb\nbootloader --boot-drive=sda\n",
            "ks:1: ignoredisk: sda is the disk of a part or of the bootloader, and may not be used",
        ),
        (
            "network --device=eth0\nnetwork --device=eth0\n",
            "ks:2: network: another line is for the same interface",
        ),
        (
            "network --device=a --vlanid=7 --interfacename=x\nnetwork --device=a --vlanid=8 --interfacename=x\n",
            "ks:2: network: another VLAN has the name of --interfacename",
        ),
        (
            "network\nnetwork --hostname=a\nnetwork --hostname=b\n",
            "ks:3: network: --hostname: it is a already",
        ),
        (
            "user --name=a\nuser --name=a\n",
            "ks:2: user: a is there twice",
        ),
        (
            "timesource --ntp-disable\ntimesource --ntp-server=a\n",
            "ks:2: timesource: --ntp-disable and --ntp-server exclude each other",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(read(text).unwrap_err(), *expected, "{text}");
    }
}

#[test]
fn all_mistakes_are_named_in_their_order() {
    let text = "%include part\nlang\n%post\nfoo\n";
    let mut include = |_: &str| Ok("zerombr\nvnc\n".to_owned());
    let error = parse("ks", text, &mut include).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ks:2: lang: a language such as en_US.UTF-8 is missing\n\
         ks:3: %post does not end with %end\n\
         part:2: vnc: the installer lets nobody in: it reports on the console and by HTTP"
    );
}

#[test]
fn scripts_before_may_write_what_is_included() {
    let text = "%include /tmp/disks\n%pre\necho zerombr > /tmp/disks\n%end\n";
    let scripts = pre_scripts("ks", text, &mut |_| bail!("no such file")).unwrap();
    assert_eq!(scripts[0].text, "echo zerombr > /tmp/disks\n");
    let whole = parse("ks", text, &mut |_| Ok("zerombr\n".to_owned())).unwrap();
    assert!(whole.disks.zerombr);
    assert_eq!(whole.scripts.pre, scripts);
    let table = [
        (
            "vnc\n%pre\nx\n%end\n",
            "ks:1: vnc: the installer lets nobody in: it reports on the console and by HTTP",
        ),
        (
            "%pre\n%include /tmp/disks\n%end\n",
            "ks:2: including /tmp/disks: no such file",
        ),
    ];
    for (text, expected) in table {
        let error = pre_scripts("ks", text, &mut |_| bail!("no such file")).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

/// Lines of kickstart's words in any order.
fn scrambled() -> impl Strategy<Value = String> {
    let names: Vec<&str> = commands::all().map(|command| command.name).collect();
    let options: Vec<&str> = commands::all()
        .flat_map(|command| match &command.meaning {
            commands::Meaning::Read { grammar, .. } | commands::Meaning::NoEffect(grammar) => {
                grammar.options
            }
            commands::Meaning::Refused(_) => &[],
        })
        .map(|(name, _)| *name)
        .collect();
    const VALUES: &[&str] = &[
        "", "=x", "=1", "=/a", "=sda,sdb", "=1.2.3.4", " /", " /var", " \"a b\"", "='", "=é:tcp",
    ];
    let option = (prop::sample::select(options), prop::sample::select(VALUES));
    let line = (
        prop::sample::select(names),
        prop::collection::vec(option, 0..5),
    )
        .prop_map(|(name, options)| {
            let options: Vec<String> = options
                .iter()
                .map(|(name, value)| format!(" {name}{value}"))
                .collect();
            format!("{name}{}\n", options.join(""))
        });
    let section = prop::sample::select(
        &[
            "%pre\n",
            "%post --nochroot\n",
            "%end\n",
            "%include a\n",
            "%packages\n",
        ][..],
    )
    .prop_map(str::to_owned);
    prop::collection::vec(prop_oneof![9 => line, 1 => section], 0..12)
        .prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(.|\n)*") {
        let _ = read(&text);
    }

    #[test]
    fn any_lines_are_read_or_refused_with_their_place(text in scrambled()) {
        if let Err(mistakes) = read(&text) {
            for line in mistakes.lines() {
                prop_assert!(line.starts_with("ks:") || line.starts_with("a:"), "{}", line);
            }
        }
    }
}
