//! Where the system comes from.

use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{Kickstart, Medium, Source};
use crate::types::ChannelName;

use super::{Command, Meaning, Times};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "ostreesetup",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--osname", Value),
                    ("--remote", Value),
                    ("--url", Value),
                    ("--ref", Value),
                    ("--nogpg", Nothing),
                ],
                words: Words::None,
            },
            times: Times::Once("source"),
            read: ostreesetup,
        },
    },
    Command {
        name: "harddrive",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[("--partition", Value), ("--dir", Value)],
                words: Words::None,
            },
            times: Times::Once("medium"),
            read: harddrive,
        },
    },
];

fn ostreesetup(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let needed = |name| {
        args.value(name)
            .filter(|value| !value.is_empty())
            .ok_or(format!("{name} is missing"))
    };
    needed("--osname")?;
    let url = needed("--url")?;
    let schemes = ["http://", "https://", "file:///"];
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) || url.contains(char::is_whitespace) {
        return Err(format!(
            "--url: '{url}' does not begin with http://, https:// or file:///"
        ));
    }
    let reference = needed("--ref")?;
    let (channel, reference) = match reference.strip_prefix("channel:") {
        Some(name) => (name.parse().map_err(|e| format!("--ref: {e}"))?, None),
        None => {
            let name = reference
                .parse()
                .map_err(|e| format!("--ref: {e}; or channel:NAME"))?;
            (ChannelName::default(), Some(name))
        }
    };
    kickstart.source = Some(Source {
        url: served(url).to_owned(),
        channel,
        reference,
    });
    Ok(())
}

/// Anaconda wants the repository itself, which is below what we serve.
fn served(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/repo").unwrap_or(url)
}

fn harddrive(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let partition = args.value("--partition").ok_or("--partition is missing")?;
    let dir = args.value("--dir").ok_or("--dir is missing")?;
    let known = |b: u8| b.is_ascii_alphanumeric() || b"/._:+=@-".contains(&b);
    if partition.is_empty() || !partition.bytes().all(known) {
        return Err(format!(
            "--partition: '{partition}' is not LABEL=…, UUID=… or a device such as sdb1"
        ));
    }
    if !dir.starts_with('/') || dir.split('/').any(|part| part == "..") {
        return Err(format!("--dir: '{dir}' is not a path that begins with /"));
    }
    let whole = ["LABEL=", "UUID=", "/dev/"]
        .iter()
        .any(|start| partition.starts_with(start));
    kickstart.medium = Some(Medium {
        partition: match whole {
            true => partition.to_owned(),
            false => format!("/dev/{partition}"),
        },
        dir: dir.to_owned(),
    });
    Ok(())
}
