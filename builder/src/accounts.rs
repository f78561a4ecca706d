//! Users and groups of a tree that is being composed, beside those of the commit before.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::succession::Succession;
use crate::tree::users::{self, Account, Accounts};
use crate::treefile::{Check, Treefile};

/// Users and groups get the numbers that they had; a number that differs all the same is an error.
pub fn settle(root: &Path, succession: &Succession, treefile: &Treefile) -> Result<()> {
    let before = |check: &Check, name: &str| -> Result<Vec<Account>> {
        let mut accounts = match (check, &succession.accounts) {
            (Check::File(path), _) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                users::parse(&text).with_context(|| format!("reading {}", path.display()))?
            }
            (_, Some(commit)) => {
                let text = succession.repo.read(commit, &format!("/usr/etc/{name}"))?;
                users::parse(&String::from_utf8(text)?)?
            }
            (_, None) => Vec::new(),
        };
        if let Check::Data(entries) = check {
            accounts.retain(|account| !entries.contains_key(&account.name));
            accounts.extend(of_data(entries));
        }
        Ok(accounts)
    };
    let (passwd, groups) = (&treefile.check_passwd, &treefile.check_groups);
    let before = Accounts {
        users: before(passwd, "passwd")?,
        groups: before(groups, "group")?,
    };
    if treefile.preserve_passwd {
        users::keep(root, &before)?;
    }
    let now = users::of_tree(root)?;
    let expected = |check: &Check, before: Vec<Account>| match check {
        Check::None => Vec::new(),
        Check::Data(entries) => of_data(entries).collect(),
        Check::Previous | Check::File(_) => before,
    };
    let gone = (
        &treefile.ignore_removed_users,
        &treefile.ignore_removed_groups,
    );
    users::check(
        "check-passwd",
        &now.users,
        &expected(passwd, before.users),
        gone.0,
    )?;
    users::check(
        "check-groups",
        &now.groups,
        &expected(groups, before.groups),
        gone.1,
    )?;
    if let Check::Data(entries) = passwd {
        users::check_groups_of_users("check-passwd", &now.users, entries)?;
    }
    Ok(())
}

fn of_data(entries: &BTreeMap<String, (u32, Option<u32>)>) -> impl Iterator<Item = Account> {
    entries.iter().map(|(name, (id, _))| Account {
        name: name.clone(),
        id: *id,
        line: None,
    })
}
