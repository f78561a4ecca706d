//! Who may log in.

use crate::kickstart::options::{Args, Grammar, Takes::*, Words};
use crate::kickstart::{Crypt, Group, Kickstart, RootPassword, SshKey, User};

use super::{Command, Meaning, Times};

const PLAINTEXT: &str = "a password that everybody can read in the file: give --iscrypted with what 'mkpasswd' prints, \
                         or an sshkey";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "rootpw",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--iscrypted", Nothing),
                    ("--lock", Nothing),
                    ("--plaintext", Refused(PLAINTEXT)),
                    (
                        "--allow-ssh",
                        Refused("SSH takes keys only: sshkey --username=root"),
                    ),
                ],
                words: Words::Perhaps,
            },
            times: Times::Once("rootpw"),
            read: rootpw,
        },
    },
    Command {
        name: "group",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[("--name", Value), ("--gid", Value)],
                words: Words::None,
            },
            times: Times::Many,
            read: group,
        },
    },
    Command {
        name: "user",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[
                    ("--name", Value),
                    ("--groups", Value),
                    ("--password", Value),
                    ("--iscrypted", Nothing),
                    ("--lock", Nothing),
                    ("--uid", Value),
                    ("--gid", Value),
                    ("--homedir", Value),
                    ("--shell", Value),
                    ("--gecos", Value),
                    ("--plaintext", Refused(PLAINTEXT)),
                ],
                words: Words::None,
            },
            times: Times::Many,
            read: user,
        },
    },
    Command {
        name: "sshkey",
        meaning: Meaning::Read {
            grammar: &Grammar {
                options: &[("--username", Value)],
                words: Words::One("a key, in quotes,"),
            },
            times: Times::Many,
            read: sshkey,
        },
    },
];

fn rootpw(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    kickstart.accounts.root = match (args.has("--lock"), args.has("--iscrypted"), args.word()) {
        (true, false, None) => RootPassword::Locked,
        (true, true, Some(password)) => {
            crypt(password)?;
            RootPassword::Locked
        }
        (false, true, Some(password)) => RootPassword::Crypt(crypt(password)?),
        (_, true, None) => return Err("--iscrypted: the crypted password is missing".into()),
        (_, false, Some(_)) => return Err(PLAINTEXT.into()),
        (false, false, None) => {
            return Err("--lock, or --iscrypted with a password, is missing".into());
        }
    };
    Ok(())
}

fn group(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let group = Group {
        name: args.parsed("--name")?.ok_or("--name is missing")?,
        gid: number(args, "--gid")?,
    };
    let groups = &mut kickstart.accounts.groups;
    if groups.iter().any(|known| known.name == group.name) {
        return Err(format!("{} is there twice", group.name));
    }
    groups.push(group);
    Ok(())
}

fn user(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let user = User {
        name: args.parsed("--name")?.ok_or("--name is missing")?,
        groups: groups(args)?,
        password: password(args)?,
        locked: args.has("--lock"),
        uid: number(args, "--uid")?,
        gid: number(args, "--gid")?,
        home: home(args)?,
        shell: path(args, "--shell")?,
        gecos: field(args, "--gecos")?,
    };
    if user.name.as_str() == "root" {
        return Err("root is there already: rootpw, and sshkey --username=root".into());
    }
    let users = &mut kickstart.accounts.users;
    if users.iter().any(|known| known.name == user.name) {
        return Err(format!("{} is there twice", user.name));
    }
    if user.uid.is_some() && users.iter().any(|known| known.uid == user.uid) {
        return Err(format!(
            "--uid: another user has it, not only {}",
            user.name
        ));
    }
    users.push(user);
    Ok(())
}

fn password(args: &Args) -> Result<Option<Crypt>, String> {
    match (args.value("--password"), args.has("--iscrypted")) {
        (None, false) => Ok(None),
        (None, true) => Err("--iscrypted: --password is missing".into()),
        (Some(_), false) => Err(PLAINTEXT.into()),
        (Some(password), true) => crypt(password).map(Some),
    }
}

fn crypt(password: &str) -> Result<Crypt, String> {
    // The message must not show it.
    password
        .parse::<Crypt>()
        .map_err(|error| format!("not a crypted password: {}", error.rule))
}

/// `wheel,operators(2000)`
fn groups(args: &Args) -> Result<Vec<Group>, String> {
    let parse = |text: &String| {
        let (name, gid) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((name, gid)) => (name, Some(gid)),
            None => (text.as_str(), None),
        };
        Ok(Group {
            name: name.parse().map_err(|e| format!("--groups: {e}"))?,
            gid: gid.map(|gid| id("--groups", gid)).transpose()?,
        })
    };
    args.list::<String>("--groups")?.iter().map(parse).collect()
}

fn number(args: &Args, option: &str) -> Result<Option<u32>, String> {
    args.value(option)
        .map(|value| id(option, value))
        .transpose()
}

/// Those below are of the image, whose releases bring more of them; those above are of systemd and containers.
fn id(option: &str, text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(id @ 1000..=59_999) => Ok(id),
        _ => Err(format!(
            "{option}: '{text}' is not a number from 1000 to 59999"
        )),
    }
}

fn home(args: &Args) -> Result<Option<String>, String> {
    let home = path(args, "--homedir")?;
    let writable = ["/home/", "/var/", "/srv/", "/opt/"];
    match home {
        Some(path) if !writable.iter().any(|prefix| path.starts_with(prefix)) => Err(format!(
            "--homedir: {path} is not below /home, /var, /srv or /opt, which alone can be written"
        )),
        home => Ok(home),
    }
}

fn path(args: &Args, option: &str) -> Result<Option<String>, String> {
    let Some(path) = args.value(option) else {
        return Ok(None);
    };
    let known = |b: u8| b.is_ascii_alphanumeric() || b"/._+@-".contains(&b);
    let plain = path
        .split('/')
        .skip(1)
        .all(|part| !matches!(part, "" | "." | ".."));
    match path.starts_with('/') && plain && path.bytes().all(known) {
        true => Ok(Some(path.to_owned())),
        false => Err(format!(
            "{option}: '{path}' is not a plain path that begins with /"
        )),
    }
}

/// Of passwd.
fn field(args: &Args, option: &str) -> Result<Option<String>, String> {
    match args.value(option) {
        Some(text) if text.contains([':', '\n']) => {
            Err(format!("{option}: ':' has no place in passwd"))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn sshkey(kickstart: &mut Kickstart, args: &Args) -> Result<(), String> {
    let user = args.parsed("--username")?.ok_or("--username is missing")?;
    let key = args.word().unwrap_or_default().trim();
    if !is_key(key) {
        return Err("this is not a public key, such as \"ssh-ed25519 AAAA… name\"".into());
    }
    let key = key.to_owned();
    kickstart.accounts.ssh_keys.push(SshKey { user, key });
    Ok(())
}

/// A type and base64 behind it that names the same type (RFC 4253 section 6.6), perhaps options before them.
fn is_key(key: &str) -> bool {
    use base64::Engine;
    let words: Vec<&str> = key.split_whitespace().collect();
    words.windows(2).any(|pair| {
        let [kind, blob] = pair else { return false };
        let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(blob)
            .unwrap_or_default();
        let named = bytes
            .get(4..)
            .is_some_and(|rest| rest.starts_with(kind.as_bytes()));
        known.iter().any(|prefix| kind.starts_with(prefix)) && named
    })
}
