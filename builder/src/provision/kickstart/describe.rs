//! What the installer would do with a kickstart file, for people.

use edge_ota::config::UnitName;
use edge_ota::kickstart::{
    Device, DiskName, Disks, Erase, Finish, Firewall, Interface, Kickstart, RootPassword, Script,
    Selinux, Source, System, TimeSource, User, V4, V6,
};

/// What it is about, and what is done.
pub fn describe(kickstart: &Kickstart) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    rows.push(("source", source(kickstart.source.as_ref())));
    if let Some(medium) = &kickstart.medium {
        rows.push(("medium", format!("{} of {}", medium.dir, medium.partition)));
    }
    rows.extend(disks(&kickstart.disks));
    if !kickstart.kernel_arguments.is_empty() {
        rows.push(("kernel arguments", kickstart.kernel_arguments.join(" ")));
    }
    if let Some(name) = &kickstart.network.hostname {
        rows.push(("hostname", name.to_string()));
    }
    let interfaces = kickstart.network.interfaces.iter();
    rows.extend(interfaces.map(|one| ("network", interface(one))));
    rows.extend(accounts(kickstart));
    rows.extend(system(&kickstart.system));
    rows.extend(scripts(kickstart));
    rows.push(("in the end", finish(kickstart.finish).into()));
    rows
}

fn source(source: Option<&Source>) -> String {
    let Some(source) = source else {
        return "as whoever starts the installer says".into();
    };
    let reference = source.reference.as_ref();
    let reference = reference.map(|name| format!(", which must be of ref {name}"));
    format!(
        "{}, channel {}{}",
        source.url,
        source.channel,
        reference.unwrap_or_default()
    )
}

fn disks(disks: &Disks) -> Vec<(&'static str, String)> {
    let mut rows = vec![(
        "disk",
        match (&disks.target, disks.only.as_slice()) {
            (Some(disk), _) => disk.to_string(),
            (None, []) => "the only one there is".into(),
            (None, only) => format!("the only one there is of {}", join(only)),
        },
    )];
    if !disks.ignore.is_empty() {
        rows.push(("left alone", join(&disks.ignore)));
    }
    let unreadable = if disks.zerombr {
        ""
    } else {
        "; not where no partition table can be read"
    };
    rows.push((
        "erased",
        match &disks.erase {
            Erase::Nothing => "nothing: the disk must be empty".into(),
            Erase::All => format!("the disk that is used{unreadable}"),
            Erase::Drives(drives) => format!(
                "the disk that is used, if it is {}{unreadable}",
                join(drives)
            ),
        },
    ));
    let least = disks.root.size.map(|size| format!(", {size} MiB or more"));
    rows.push((
        "partitions",
        format!("/ to the end of the disk{}", least.unwrap_or_default()),
    ));
    rows
}

fn join(disks: &[DiskName]) -> String {
    let names: Vec<&str> = disks.iter().map(DiskName::as_str).collect();
    names.join(", ")
}

fn interface(interface: &Interface) -> String {
    let device = match &interface.device {
        Device::Wired => "every wired interface".into(),
        Device::BootIf => "the interface of BOOTIF=".into(),
        Device::Name(name) => name.to_string(),
        Device::Mac(mac) => mac.to_string(),
    };
    let device = match (interface.vlan, &interface.name) {
        (Some(id), Some(name)) => format!("{name} (VLAN {id} on {device})"),
        _ => device,
    };
    let gateway =
        |gateway: Option<String>| gateway.map(|to| format!(" by {to}")).unwrap_or_default();
    let ipv4 = match &interface.ipv4 {
        V4::Off => String::new(),
        V4::Dhcp => ", DHCP".into(),
        V4::Static {
            address,
            prefix,
            gateway: to,
        } => {
            format!(
                ", {address}/{prefix}{}",
                gateway(to.map(|to| to.to_string()))
            )
        }
    };
    let ipv6 = match &interface.ipv6 {
        V6::Off => ", no IPv6".into(),
        V6::Auto => String::new(),
        V6::Dhcp => ", DHCPv6".into(),
        V6::Static {
            address,
            prefix,
            gateway: to,
        } => {
            format!(
                ", {address}/{prefix}{}",
                gateway(to.map(|to| to.to_string()))
            )
        }
    };
    let boot = if interface.on_boot {
        ""
    } else {
        ", not by itself"
    };
    format!("{device}{ipv4}{ipv6}{boot}")
}

fn accounts(kickstart: &Kickstart) -> Vec<(&'static str, String)> {
    let accounts = &kickstart.accounts;
    let mut rows = Vec::new();
    match &accounts.root {
        RootPassword::OfImage => {}
        RootPassword::Locked => rows.push(("root", "no password".into())),
        RootPassword::Crypt(_) => rows.push(("root", "a password".into())),
    }
    let groups = accounts.groups.iter();
    rows.extend(groups.map(|group| ("group", group.name.to_string())));
    rows.extend(accounts.users.iter().map(|one| ("user", user(one))));
    for key in &accounts.ssh_keys {
        let name = key.key.split_whitespace().last().unwrap_or_default();
        rows.push(("SSH key", format!("{} for {}", name, key.user)));
    }
    if accounts.root == RootPassword::OfImage
        && accounts.users.is_empty()
        && accounts.ssh_keys.is_empty()
    {
        rows.push(("log-in", "only with a key that the image has".into()));
    }
    rows
}

fn user(user: &User) -> String {
    let password = match (&user.password, user.locked) {
        (Some(_), false) => "a password",
        _ => "no password",
    };
    let groups: Vec<&str> = user
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    match groups.as_slice() {
        [] => format!("{}, {password}", user.name),
        groups => format!("{}, {password}, of {}", user.name, groups.join(", ")),
    }
}

fn system(system: &System) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(timezone) = &system.timezone {
        let clock = if timezone.local_clock {
            ", the hardware's clock too"
        } else {
            ""
        };
        rows.push(("timezone", format!("{}{clock}", timezone.zone)));
    }
    match &system.time_source {
        TimeSource::OfImage => {}
        TimeSource::None => rows.push(("time", "from nowhere".into())),
        TimeSource::Servers(names) => rows.push(("time", format!("from {}", names.join(", ")))),
    }
    rows.extend(system.lang.iter().map(|lang| ("language", lang.clone())));
    rows.extend(
        system
            .keymap
            .iter()
            .map(|keymap| ("keyboard", keymap.clone())),
    );
    for (what, units) in [
        ("enabled", &system.services.enabled),
        ("masked", &system.services.disabled),
    ] {
        let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
        if !names.is_empty() {
            rows.push((what, names.join(", ")));
        }
    }
    match &system.firewall {
        Firewall::OfImage => {}
        Firewall::Off => rows.push(("firewall", "off".into())),
        Firewall::On(allowed) => rows.push((
            "firewall",
            format!("{} ports are open", allowed.ports.len()),
        )),
    }
    match system.selinux {
        Selinux::OfImage => {}
        Selinux::Disabled => rows.push(("SELinux", "disabled".into())),
        Selinux::Permissive => rows.push(("SELinux", "permissive".into())),
        Selinux::Enforcing => rows.push(("SELinux", "enforcing".into())),
    }
    rows
}

fn scripts(kickstart: &Kickstart) -> Vec<(&'static str, String)> {
    let scripts = &kickstart.scripts;
    let all = [
        ("%pre", &scripts.pre),
        ("%pre-install", &scripts.pre_install),
        ("%post", &scripts.post),
        ("%onerror", &scripts.on_error),
    ];
    let shown = |script: &Script| {
        let fatal = if script.error_on_fail {
            ", must succeed"
        } else {
            ""
        };
        let count = script.text.lines().count();
        format!(
            "{count} lines for {}{fatal} ({})",
            script.interpreter, script.at
        )
    };
    let rows = all
        .into_iter()
        .flat_map(|(what, scripts)| scripts.iter().map(move |script| (what, shown(script))));
    rows.collect()
}

fn finish(finish: Option<Finish>) -> &'static str {
    match finish {
        None => "as whoever starts the installer says",
        Some(Finish::Reboot) => "reboot",
        Some(Finish::PowerOff) => "power off",
        Some(Finish::Halt) => "halt",
    }
}
