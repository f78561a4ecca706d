//! The numbers of users and groups from release to release: `/var` outlives the tree that named the owners of its
//! files, so a name keeps its number, and a number its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

use super::rooted;

/// Numbers that packages get for the users and groups they add (Debian policy 9.2.2).
const OF_PACKAGES: std::ops::RangeInclusive<u32> = 100..=999;

/// File capabilities, which a change of the owner removes.
const CAPABILITY: &str = "security.capability";

/// A line of passwd or group: their names and numbers stand in the same places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    pub name: String,
    pub id: u32,
    /// None where only the number is known.
    pub line: Option<String>,
}

/// Who there was, or has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    pub users: Vec<Account>,
    pub groups: Vec<Account>,
}

/// The accounts of a text of passwd or group, `name:x:number:…`.
pub fn parse(text: &str) -> Result<Vec<Account>> {
    let account = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty());
        let id = fields.nth(1).and_then(|id| id.parse().ok());
        Some(Account {
            name: name?.to_owned(),
            id: id?,
            line: Some(line.to_owned()),
        })
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| account(line).with_context(|| format!("'{line}' is no account")))
        .collect()
}

/// The accounts of a tree that is not laid out yet.
pub fn of_tree(root: &Path) -> Result<Accounts> {
    let read = |name: &str| {
        let path = root.join("etc").join(name);
        parse(&rooted::read_text(&path)?).with_context(|| format!("reading {}", path.display()))
    };
    Ok(Accounts {
        users: read("passwd")?,
        groups: read("group")?,
    })
}

/// Gives the users and groups of a tree the numbers that they had, and others to whoever has one of those now. Who is
/// gone keeps the name and the number.
pub fn keep(root: &Path, before: &Accounts) -> Result<()> {
    let now = of_tree(root)?;
    let users = Change::new(&now.users, &before.users).context("users")?;
    let groups = Change::new(&now.groups, &before.groups).context("groups")?;
    let etc = root.join("etc");
    rewrite(&etc.join("group"), &now.groups, &groups, &BTreeMap::new())?;
    rewrite(&etc.join("passwd"), &now.users, &users, &groups.of_ids)?;
    for (name, gone, rest) in [
        ("shadow", &users.gone, ":!*::::::"),
        ("gshadow", &groups.gone, ":!::"),
    ] {
        append(
            &etc.join(name),
            gone.iter().map(|account| format!("{}{rest}", account.name)),
        )?;
    }
    if !users.of_ids.is_empty() || !groups.of_ids.is_empty() {
        Owners {
            users: &users.of_ids,
            groups: &groups.of_ids,
            linked: BTreeSet::new(),
        }
        .change(root)?;
    }
    Ok(())
}

/// Refuses users or groups that are gone or have another number than before; `gone` names those that may be gone, `*`
/// all of them.
pub fn check(what: &str, now: &[Account], before: &[Account], gone: &[String]) -> Result<()> {
    let ids: BTreeMap<&str, u32> = now.iter().map(|a| (a.name.as_str(), a.id)).collect();
    let may_go = |name: &String| gone.iter().any(|g| g == name || g == "*");
    let mut wrong = Vec::new();
    for account in before {
        match ids.get(account.name.as_str()) {
            Some(&id) if id == account.id => {}
            Some(id) => wrong.push(format!("{} was {} and is {id}", account.name, account.id)),
            None if may_go(&account.name) => {}
            None => wrong.push(format!("{} ({}) is gone", account.name, account.id)),
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{what}: {}: what is in /var is still theirs",
            wrong.join(", ")
        );
    }
    Ok(())
}

/// Refuses users whose group has another number than the second of `expected`.
pub fn check_groups_of_users(
    what: &str,
    now: &[Account],
    expected: &BTreeMap<String, (u32, Option<u32>)>,
) -> Result<()> {
    for account in now {
        let Some((_, Some(wanted))) = expected.get(&account.name) else {
            continue;
        };
        let line = account.line.as_deref().unwrap_or_default();
        let group = line.split(':').nth(3).and_then(|id| id.parse().ok());
        if group != Some(*wanted) {
            bail!(
                "{what}: the group of {} must be {wanted}: '{line}'",
                account.name
            );
        }
    }
    Ok(())
}

/// What becomes of the numbers of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    /// By name, of those who are there.
    ids: BTreeMap<String, u32>,
    /// Old to new, where they differ.
    of_ids: BTreeMap<u32, u32>,
    /// Who was there and is not.
    gone: Vec<Account>,
}

impl Change {
    fn new(now: &[Account], before: &[Account]) -> Result<Self> {
        let known: BTreeMap<&str, u32> = before.iter().map(|a| (a.name.as_str(), a.id)).collect();
        let mut taken: BTreeSet<u32> = known.values().copied().collect();
        // A number that is free now but was somebody's at the start would be a second meaning of it on the way.
        let current: BTreeSet<u32> = now.iter().map(|a| a.id).collect();
        let mut change = Self::default();
        let mut sorted: Vec<&Account> = now.iter().collect();
        sorted.sort();
        for account in sorted {
            let id = match known.get(account.name.as_str()) {
                Some(&id) => id,
                None if taken.insert(account.id) => account.id,
                None => {
                    let mut free =
                        OF_PACKAGES.filter(|n| !taken.contains(n) && !current.contains(n));
                    let id = free.next().context("no number is left for a new one")?;
                    taken.insert(id);
                    id
                }
            };
            change.ids.insert(account.name.clone(), id);
            let other = change.of_ids.insert(account.id, id);
            if other.is_some_and(|other| other != id) {
                bail!("{} shares number {} with another", account.name, account.id);
            }
        }
        change.of_ids.retain(|old, new| old != new);
        let there = |account: &&Account| change.ids.contains_key(&account.name);
        change.gone = before.iter().filter(|a| !there(a)).cloned().collect();
        Ok(change)
    }
}

/// Writes passwd or group with the numbers changed, of passwd also those of the groups, and with those who are gone.
fn rewrite(
    path: &Path,
    now: &[Account],
    change: &Change,
    groups: &BTreeMap<u32, u32>,
) -> Result<()> {
    let mut text = String::new();
    for account in now {
        let line = account.line.as_deref().unwrap_or_default();
        let id = change.ids.get(&account.name).copied().unwrap_or(account.id);
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        if let Some(field) = fields.get_mut(2) {
            *field = id.to_string();
        }
        // In group a list of names stands there.
        if let Some(field) = fields.get_mut(3) {
            let group = field.parse().ok().and_then(|id: u32| groups.get(&id));
            if let Some(group) = group {
                *field = group.to_string();
            }
        }
        text.push_str(&fields.join(":"));
        text.push('\n');
    }
    for line in change
        .gone
        .iter()
        .filter_map(|account| account.line.as_ref())
    {
        text.push_str(line);
        text.push('\n');
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn append(path: &Path, lines: impl Iterator<Item = String>) -> Result<()> {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() || !path.exists() {
        return Ok(());
    }
    let text = rooted::read_text(path)?;
    fs::write(path, format!("{text}{}\n", lines.join("\n")))
        .with_context(|| format!("writing {}", path.display()))
}

/// The owners of files, by number: old to new.
struct Owners<'a> {
    users: &'a BTreeMap<u32, u32>,
    groups: &'a BTreeMap<u32, u32>,
    /// Files with several names that are done.
    linked: BTreeSet<(u64, u64)>,
}

impl Owners<'_> {
    fn change(&mut self, path: &Path) -> Result<()> {
        let meta =
            fs::symlink_metadata(path).with_context(|| format!("reading {}", path.display()))?;
        if meta.is_dir() {
            for name in rooted::names(path)? {
                self.change(&path.join(name))?;
            }
        } else if meta.nlink() > 1 && !self.linked.insert((meta.dev(), meta.ino())) {
            return Ok(());
        }
        self.change_one(path, &meta)
            .with_context(|| format!("changing the owner of {}", path.display()))
    }

    fn change_one(&self, path: &Path, meta: &Metadata) -> Result<()> {
        let user = self.users.get(&meta.uid()).copied();
        let group = self.groups.get(&meta.gid()).copied();
        if user.is_none() && group.is_none() {
            return Ok(());
        }
        let capability = match meta.is_file() {
            true => capability(path)?,
            false => None,
        };
        lchown(path, user, group)?;
        if !meta.is_symlink() {
            // The kernel takes the setuid bits away with the owner.
            fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        }
        if let Some(value) = capability {
            setxattr(path, CAPABILITY, &value, XattrFlags::empty())?;
        }
        Ok(())
    }
}

fn capability(path: &Path) -> Result<Option<Vec<u8>>> {
    // The largest form, with a root id, has 24 bytes.
    let mut value = vec![0; 64];
    match getxattr(path, CAPABILITY, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn accounts(pairs: &[(&str, u32)]) -> Vec<Account> {
        let account = |(name, id): &(&str, u32)| Account {
            name: (*name).to_owned(),
            id: *id,
            line: None,
        };
        pairs.iter().map(account).collect()
    }

    #[test]
    fn names_keep_their_numbers_and_numbers_their_names() {
        type Numbers<'a> = &'a [(&'a str, u32)];
        type Case<'a> = (Numbers<'a>, Numbers<'a>, &'a [(u32, u32)]);
        let table: &[Case] = &[
            (&[("a", 100)], &[], &[]),
            (
                &[("a", 100), ("b", 101)],
                &[("b", 100), ("a", 101)],
                &[(100, 101), (101, 100)],
            ),
            // a new one has taken the number of an old one
            (
                &[("a", 101), ("new", 100)],
                &[("a", 100)],
                &[(100, 102), (101, 100)],
            ),
            // one that is gone keeps its number from others
            (&[("new", 100)], &[("gone", 100)], &[(100, 101)]),
            (
                &[("root", 0), ("nobody", 65534)],
                &[("root", 0), ("nobody", 65534)],
                &[],
            ),
        ];
        for (now, before, expected) in table {
            let change = Change::new(&accounts(now), &accounts(before)).unwrap();
            let expected: BTreeMap<u32, u32> = expected.iter().copied().collect();
            assert_eq!(change.of_ids, expected, "{now:?} {before:?}");
        }
        let shared = accounts(&[("a", 100), ("b", 100)]);
        let error = Change::new(&shared, &accounts(&[("a", 101)])).unwrap_err();
        assert!(error.to_string().contains("b shares number 100"), "{error}");
    }

    #[test]
    fn a_change_is_refused() {
        let (now, before) = (
            accounts(&[("a", 1), ("b", 2)]),
            accounts(&[("a", 1), ("b", 3), ("c", 4)]),
        );
        let error = |gone: &[String]| check("users", &now, &before, gone).unwrap_err().to_string();
        assert_eq!(
            error(&[]),
            "users: b was 3 and is 2, c (4) is gone: what is in /var is still theirs"
        );
        assert!(!error(&["c".to_owned()]).contains("c (4)"));
        assert!(!error(&["*".to_owned()]).contains("c (4)"));
        check("users", &now, &now, &[]).unwrap();
    }

    #[test]
    fn what_is_no_account_is_named() {
        assert_eq!(parse("a:x:1:\n\nb:x:2:a,c\n").unwrap().len(), 2);
        for line in ["a", "a:x:", "a:x:y:", ":x:1:"] {
            let error = parse(line).unwrap_err().to_string();
            assert_eq!(error, format!("'{line}' is no account"));
        }
    }

    #[test]
    fn files_go_with_their_owners() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let put = |name: &str, text: &str| rooted::put(&root.join(name), text).unwrap();
        put(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\na:x:101:101::/:/bin/sh\nb:x:100:100::/:/bin/sh\n",
        );
        put("etc/group", "root:x:0:\na:x:101:b\nb:x:100:\n");
        put("etc/shadow", "root:*:::::::\n");
        let own = |name: &str, uid: u32, gid: u32, mode: u32| {
            put(name, "x");
            lchown(root.join(name), Some(uid), Some(gid)).unwrap();
            rooted::set_mode(&root.join(name), mode).unwrap();
        };
        own("usr/bin/a", 101, 101, 0o6755);
        own("usr/bin/b", 100, 0, 0o644);
        // CAP_NET_RAW, as setcap writes it (linux/capability.h, revision 2).
        let mut value = [0u8; 20];
        value[3] = 2;
        value[5] = 0x20;
        setxattr(
            root.join("usr/bin/b"),
            CAPABILITY,
            &value,
            XattrFlags::empty(),
        )
        .unwrap();
        fs::hard_link(root.join("usr/bin/b"), root.join("usr/bin/c")).unwrap();
        symlink("b", root.join("usr/bin/l")).unwrap();
        lchown(root.join("usr/bin/l"), Some(100), Some(101)).unwrap();

        let before = Accounts {
            users: parse(
                "root:x:0:0::/:/bin/sh\na:x:100:100::/:/bin/sh\nold:x:102:102::/:/bin/sh\n",
            )
            .unwrap(),
            groups: parse("root:x:0:\na:x:100:\nold:x:102:\n").unwrap(),
        };
        keep(root, &before).unwrap();
        let owner = |name: &str| {
            let meta = fs::symlink_metadata(root.join(name)).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        assert_eq!(owner("usr/bin/a"), (100, 100, 0o6755));
        assert_eq!(owner("usr/bin/b"), (103, 0, 0o644));
        assert_eq!(owner("usr/bin/l"), (103, 100, 0o777));
        assert_eq!(capability(&root.join("usr/bin/c")).unwrap().unwrap(), value);
        let text = |name: &str| rooted::read_text(&root.join(name)).unwrap();
        assert_eq!(
            text("etc/passwd"),
            "root:x:0:0::/:/bin/sh\na:x:100:100::/:/bin/sh\nb:x:103:103::/:/bin/sh\nold:x:102:102::/:/bin/sh\n"
        );
        assert_eq!(
            text("etc/group"),
            "root:x:0:\na:x:100:b\nb:x:103:\nold:x:102:\n"
        );
        assert_eq!(text("etc/shadow"), "root:*:::::::\nold:!*::::::\n");
        let now = of_tree(root).unwrap();
        check("users", &now.users, &before.users, &[]).unwrap();
        let groups_are = |group: u32| {
            let expected = BTreeMap::from([("a".to_owned(), (100, Some(group)))]);
            check_groups_of_users("users", &now.users, &expected)
        };
        groups_are(100).unwrap();
        let error = groups_are(101).unwrap_err().to_string();
        assert!(error.contains("the group of a must be 101"), "{error}");
        keep(root, &now).unwrap();
        assert_eq!(of_tree(root).unwrap(), now);
    }
}
