//! Users, groups and passwords: texts to texts (passwd(5), shadow(5), group(5), gshadow(5)).

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use super::Image;
use crate::kickstart::{Accounts, Group, RootPassword, User};

/// The four files below `/etc`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountFiles {
    pub passwd: String,
    pub shadow: String,
    pub group: String,
    pub gshadow: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Added {
    pub files: AccountFiles,
    /// Lines for tmpfiles.d(5): home folders are made at the first boot.
    pub homes: Vec<String>,
}

impl AccountFiles {
    pub fn of(image: &Image) -> Result<Self> {
        let read = |name: &str| -> Result<String> {
            Ok((image.read)(&format!("etc/{name}"))?.unwrap_or_default())
        };
        Ok(Self {
            passwd: read("passwd")?,
            shadow: read("shadow")?,
            group: read("group")?,
            gshadow: read("gshadow")?,
        })
    }

    /// Name, this text, the other's.
    pub fn pairs<'a>(&'a self, other: &'a Self) -> [(&'static str, &'a str, &'a str); 4] {
        [
            ("passwd", &self.passwd, &other.passwd),
            ("shadow", &self.shadow, &other.shadow),
            ("group", &self.group, &other.group),
            ("gshadow", &self.gshadow, &other.gshadow),
        ]
    }
}

/// Adds what a kickstart file says to the files of an image.
pub fn add(accounts: &Accounts, before: &AccountFiles, image: &Image) -> Result<Added> {
    let mut added = Added {
        files: before.clone(),
        homes: Vec::new(),
    };
    set_root(&accounts.root, &mut added.files);
    for group in &accounts.groups {
        if has(&added.files.group, group.name.as_str()) {
            bail!(
                "group --name={}: the image has this group already",
                group.name
            );
        }
        let taken: Vec<u32> = accounts
            .users
            .iter()
            .filter_map(|user| user.gid.or(user.uid))
            .collect();
        add_group(group, &taken, &mut added.files)?;
    }
    for user in &accounts.users {
        let others: Vec<u32> = accounts
            .users
            .iter()
            .filter_map(|other| other.uid)
            .collect();
        add_user(user, &others, image, &mut added)
            .with_context(|| format!("user --name={}", user.name))?;
    }
    Ok(added)
}

/// An image without passwords may have no line for root.
fn set_root(root: &RootPassword, files: &mut AccountFiles) {
    let password = match root {
        RootPassword::OfImage => return,
        // Unlike '!', nobody takes this for an account that may not log in with a key either.
        RootPassword::Locked => "*",
        RootPassword::Crypt(crypt) => crypt.as_str(),
    };
    if !has(&files.shadow, "root") {
        let line = format!("root:{password}:::::::\n");
        files.shadow.insert_str(0, &line);
        return;
    }
    let changed =
        files.shadow.lines().map(
            |line| match line.split(':').collect::<Vec<_>>().as_slice() {
                ["root", _, rest @ ..] => format!("root:{password}:{}\n", rest.join(":")),
                _ => format!("{line}\n"),
            },
        );
    files.shadow = changed.collect();
}

fn add_user(user: &User, others: &[u32], image: &Image, added: &mut Added) -> Result<()> {
    let name = user.name.as_str();
    let files = &mut added.files;
    if has(&files.passwd, name) {
        bail!("the image has this user already");
    }
    let shell = shell(user, image)?;
    let uid = match user.uid {
        Some(uid) if ids(&files.passwd).contains(&uid) => bail!("number {uid} is somebody else's"),
        Some(uid) => uid,
        None => free(&[&files.passwd, &files.group], others)?,
    };
    let gid = own_group(user, uid, files)?;
    for group in &user.groups {
        if !has(&files.group, group.name.as_str()) {
            add_group(group, others, files)?;
        }
        join(&mut files.group, group.name.as_str(), name);
        join(&mut files.gshadow, group.name.as_str(), name);
    }
    let home = user.home.clone().unwrap_or_else(|| format!("/home/{name}"));
    let gecos = user.gecos.as_deref().unwrap_or_default();
    line(
        &mut files.passwd,
        &format!("{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}"),
    );
    line(
        &mut files.shadow,
        &format!("{name}:{}:::::::", password(user)),
    );
    added
        .homes
        .push(format!("d {} 0700 {uid} {gid} -\n", in_var(&home)));
    Ok(())
}

fn password(user: &User) -> String {
    match (&user.password, user.locked) {
        (Some(crypt), false) => crypt.to_string(),
        (Some(crypt), true) => format!("!{crypt}"),
        (None, _) => "*".into(),
    }
}

fn shell(user: &User, image: &Image) -> Result<String> {
    let usual = ["/bin/bash", "/bin/sh"];
    let there = |path: &&str| {
        let path = path.trim_start_matches('/');
        (image.has)(path) || (image.has)(&format!("usr/{path}"))
    };
    let found = match &user.shell {
        Some(shell) => Some(shell.as_str()).filter(there),
        None => usual.into_iter().find(there),
    };
    let wanted = user.shell.as_deref().unwrap_or("/bin/sh");
    found
        .map(str::to_owned)
        .with_context(|| format!("the image has no {wanted}"))
}

/// The number of the user's own group, which is made where there is none of the number asked for.
fn own_group(user: &User, uid: u32, files: &mut AccountFiles) -> Result<u32> {
    let name = user.name.as_str();
    let taken = ids(&files.group);
    if let Some(gid) = user.gid.filter(|gid| taken.contains(gid)) {
        return Ok(gid);
    }
    if has(&files.group, name) {
        bail!("the image has a group of this name: give its number as --gid");
    }
    let gid = match user.gid {
        Some(gid) => gid,
        None if taken.contains(&uid) => free(&[&files.group], &[])?,
        None => uid,
    };
    line(&mut files.group, &format!("{name}:x:{gid}:"));
    line(&mut files.gshadow, &format!("{name}:!::"));
    Ok(gid)
}

/// `reserved` are numbers of users to come, whose own groups have the same.
fn add_group(group: &Group, reserved: &[u32], files: &mut AccountFiles) -> Result<()> {
    let taken = ids(&files.group);
    let gid = match group.gid {
        Some(gid) if taken.contains(&gid) => {
            bail!("group {}: number {gid} is another's", group.name)
        }
        Some(gid) => gid,
        None => free(&[&files.passwd, &files.group], reserved)?,
    };
    line(&mut files.group, &format!("{}:x:{gid}:", group.name));
    line(&mut files.gshadow, &format!("{}:!::", group.name));
    Ok(())
}

fn free(texts: &[&str], reserved: &[u32]) -> Result<u32> {
    let mut taken: BTreeSet<u32> = texts.iter().flat_map(|text| ids(text)).collect();
    taken.extend(reserved);
    (1000..60_000)
        .find(|id| !taken.contains(id))
        .context("no number from 1000 to 59999 is free")
}

fn ids(text: &str) -> BTreeSet<u32> {
    let id = |line: &str| line.split(':').nth(2).and_then(|id| id.parse().ok());
    text.lines().filter_map(id).collect()
}

fn has(text: &str, name: &str) -> bool {
    text.lines()
        .any(|line| line.split(':').next() == Some(name))
}

/// Makes a user a member of a group: the last field of group and of gshadow.
fn join(text: &mut String, group: &str, user: &str) {
    let changed = text.lines().map(|line| match line.rsplit_once(':') {
        Some((_, members)) if line.split(':').next() == Some(group) => {
            let there = members.split(',').any(|member| member == user);
            let comma = if members.is_empty() { "" } else { "," };
            if there {
                format!("{line}\n")
            } else {
                format!("{line}{comma}{user}\n")
            }
        }
        _ => format!("{line}\n"),
    });
    *text = changed.collect();
}

fn line(text: &mut String, line: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

/// `/home`, `/srv` and `/opt` of our trees are links into `/var`, and systemd-tmpfiles follows no link on the way.
fn in_var(home: &str) -> String {
    let linked = ["/home/", "/srv/", "/opt/"];
    match linked.iter().any(|prefix| home.starts_with(prefix)) {
        true => format!("/var{home}"),
        false => home.to_owned(),
    }
}
