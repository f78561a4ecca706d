//! What a release changes, for those who must say yes to it.

mod changelog;
mod inventory;
mod page;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use edge_ota::types::CommitChecksum;
use serde::Serialize;

use crate::repo::{Entry, Kind, Repo};
use inventory::{Facts, Inventory};
pub use page::page;
pub use text::{lines, text};

/// From one commit to another. Everything is sorted by name.
#[derive(Debug, Serialize)]
pub struct Diff {
    pub from: Side,
    pub to: Side,
    pub packages: Changes,
    /// By package, where the tree has them: what is new since the version before.
    pub changelogs: BTreeMap<String, String>,
    pub kernel_options: Changes,
    pub kernel_arguments: Changes,
    pub units: Changes,
    pub users: Changes,
    pub groups: Changes,
    pub sysctls: Changes,
    pub files: Vec<FileChange>,
}

#[derive(Debug, Serialize)]
pub struct Side {
    pub commit: CommitChecksum,
    pub version: String,
    pub board: String,
    pub kernel: String,
    /// Of all files.
    pub bytes: u64,
}

/// Names with their values before and after.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub added: Facts,
    pub removed: Facts,
    pub changed: BTreeMap<String, [String; 2]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    pub path: String,
    pub package: String,
    /// A package that is another one now brought it, or took it away.
    pub expected: bool,
    pub before: Option<FileFacts>,
    pub after: Option<FileFacts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    pub bytes: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Compares two commits of a repository.
pub fn between(repo: &Repo, from: &CommitChecksum, to: &CommitChecksum) -> Result<Diff> {
    let (a, b) = (Inventory::read(repo, from)?, Inventory::read(repo, to)?);
    let packages = Changes::between(&a.packages, &b.packages);
    Ok(Diff {
        files: files(&a, &b, &packages),
        changelogs: changelog::of(repo, to, &b, &packages)?,
        packages,
        kernel_options: Changes::between(&a.kernel_options, &b.kernel_options),
        kernel_arguments: Changes::between(&a.kernel_arguments, &b.kernel_arguments),
        units: Changes::between(&a.units, &b.units),
        users: Changes::between(&a.users, &b.users),
        groups: Changes::between(&a.groups, &b.groups),
        sysctls: Changes::between(&a.sysctls, &b.sysctls),
        from: Side::new(from, &a),
        to: Side::new(to, &b),
    })
}

impl Diff {
    /// The kinds of things beside files, with their titles, in the order of interest.
    pub fn sections(&self) -> [(&'static str, &Changes); 7] {
        [
            ("packages", &self.packages),
            ("kernel options", &self.kernel_options),
            ("kernel arguments", &self.kernel_arguments),
            ("sysctls", &self.sysctls),
            ("enabled units", &self.units),
            ("users", &self.users),
            ("groups", &self.groups),
        ]
    }

    /// Files that no change of a package explains.
    pub fn unexpected(&self) -> impl Iterator<Item = &FileChange> {
        self.files.iter().filter(|file| !file.expected)
    }
}

impl Side {
    fn new(commit: &CommitChecksum, inventory: &Inventory) -> Self {
        Self {
            commit: commit.clone(),
            version: inventory.description.version.clone(),
            board: inventory.description.board.to_string(),
            kernel: inventory.description.kernel.clone(),
            bytes: inventory.bytes(),
        }
    }
}

impl Changes {
    pub fn between(from: &Facts, to: &Facts) -> Self {
        let mut changes = Self::default();
        for (name, old) in from {
            match to.get(name) {
                None => drop(changes.removed.insert(name.clone(), old.clone())),
                Some(new) if new != old => {
                    let pair = [old.clone(), new.clone()];
                    changes.changed.insert(name.clone(), pair);
                }
                Some(_) => {}
            }
        }
        let new = to.iter().filter(|(name, _)| !from.contains_key(*name));
        changes.added = new
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        changes
    }

    pub fn len(&self) -> usize {
        self.added.len() + self.removed.len() + self.changed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn names(&self, name: &str) -> bool {
        let Self {
            added,
            removed,
            changed,
        } = self;
        added.contains_key(name) || removed.contains_key(name) || changed.contains_key(name)
    }
}

impl FileChange {
    /// Rights that differ, not only content.
    pub fn rights_differ(&self) -> bool {
        let rights = |facts: Option<FileFacts>| facts.map(|f| (f.mode, f.uid, f.gid));
        match (rights(self.before), rights(self.after)) {
            (Some(before), Some(after)) => before != after,
            _ => false,
        }
    }

    pub fn what(&self) -> &'static str {
        match (self.before, self.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }

    /// Bytes more, or less.
    pub fn growth(&self) -> i64 {
        let bytes = |facts: Option<FileFacts>| {
            facts.map_or(0, |f| i64::try_from(f.bytes).unwrap_or(i64::MAX))
        };
        bytes(self.after) - bytes(self.before)
    }
}

fn files(from: &Inventory, to: &Inventory, packages: &Changes) -> Vec<FileChange> {
    let leaf = |entry: &&Entry| entry.kind != Kind::Dir;
    let paths: BTreeSet<&String> = from.entries.keys().chain(to.entries.keys()).collect();
    let mut changes = Vec::new();
    for path in paths {
        let before = from.entries.get(path).filter(leaf);
        let after = to.entries.get(path).filter(leaf);
        if before.map(|e| e.checksum) == after.map(|e| e.checksum) {
            continue;
        }
        let owners = [to.owners.of(path), from.owners.of(path)];
        changes.push(FileChange {
            path: path.clone(),
            package: owners[usize::from(after.is_none())].to_owned(),
            expected: owners.iter().any(|owner| packages.names(owner)),
            before: before.map(facts),
            after: after.map(facts),
        });
    }
    changes
}

fn facts(entry: &Entry) -> FileFacts {
    FileFacts {
        bytes: entry.size,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_go_and_change() {
        let facts = |pairs: &[(&str, &str)]| -> Facts {
            let pairs = pairs.iter();
            pairs
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let from = facts(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let to = facts(&[("b", "2"), ("c", "1"), ("d", "1")]);
        let changes = Changes::between(&from, &to);
        assert_eq!(changes.added, facts(&[("d", "1")]));
        assert_eq!(changes.removed, facts(&[("a", "1")]));
        assert_eq!(changes.changed["b"], ["1", "2"]);
        assert_eq!(changes.len(), 3);
        assert!(Changes::between(&to, &to).is_empty());
    }
}
