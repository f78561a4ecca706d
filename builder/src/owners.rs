//! Which package a file of a commit came from.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_ota::types::CommitChecksum;

use crate::repo::{Entry, Repo};
use crate::{dpkg, rpmdb};

/// For files that no package brought: the initramfs, indexes, ours.
pub const NO_PACKAGE: &str = "(no package)";

/// Path in the tree to package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners(BTreeMap<String, String>);

impl Owners {
    pub fn read(
        repo: &Repo,
        commit: &CommitChecksum,
        entries: &BTreeMap<String, Entry>,
    ) -> Result<Self> {
        let of_rpms = rpmdb::of_commit(repo, commit, entries)?.files.into_iter();
        let mut owners: BTreeMap<String, String> = of_rpms
            .map(|(path, package)| (in_tree(&path), package))
            .collect();
        for path in entries.keys() {
            let list = path
                .strip_prefix(dpkg::INFO)
                .and_then(|p| p.strip_suffix(".list"));
            if let Some(package) = list {
                let bytes = repo.read(commit, path)?;
                let text =
                    String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))?;
                let name = package.split(':').next().unwrap_or(package);
                owners.extend(text.lines().map(|line| (in_tree(line), name.to_owned())));
            }
        }
        Ok(Self(owners))
    }

    /// From pairs of a path, as the package names it, and the package.
    pub fn from(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter();
        Self(
            pairs
                .map(|(path, name)| (in_tree(path), (*name).to_owned()))
                .collect(),
        )
    }

    /// A kernel module that was unpacked belongs to whom it was packed by, and the kernel to its modules.
    pub fn of(&self, path: &str) -> &str {
        let packed = ["", ".xz", ".zst", ".gz"].map(|ending| format!("{path}{ending}"));
        let moved = ["vmlinuz", "config"].into_iter().filter_map(|name| {
            let release = path.strip_prefix("/usr/lib/modules/")?.strip_suffix(name)?;
            Some(format!("/boot/{name}-{}", release.strip_suffix('/')?))
        });
        packed
            .into_iter()
            .chain(moved)
            .find_map(|path| self.0.get(&path))
            .map_or(NO_PACKAGE, String::as_str)
    }
}

/// Where a path of a package lies in a laid out tree.
pub fn in_tree(path: &str) -> String {
    for top in ["/bin/", "/sbin/", "/lib/", "/lib64/", "/etc/"] {
        if path.starts_with(top) {
            return format!("/usr{path}");
        }
    }
    path.to_owned()
}
