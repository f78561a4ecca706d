//! Whether a commit can be made again: if not, which files differ and what made them.

mod maker;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use anyhow::Result;
use edge_ota::types::CommitChecksum;
use serde::Serialize;

use crate::compose::{self, Request};
use crate::diff::{self, Changes};
use crate::dpkg;
use crate::owners::Owners;
use crate::progress::Progress;
use crate::repo::{Entry, Kind, Repo};
use crate::succession::Succession;
use crate::treefile::Treefile;
pub use maker::Maker;
use maker::Makers;

#[derive(Debug, Serialize)]
pub struct Verdict {
    pub commit: CommitChecksum,
    pub rebuilt: CommitChecksum,
    pub identical: bool,
    pub packages: Changes,
    /// Of the commit object itself, by key.
    pub metadata: Changes,
    /// Sorted by path.
    pub files: Vec<Difference>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub path: String,
    pub differs: Vec<Aspect>,
    pub made_by: Maker,
}

/// What of a file differs, the commit's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Only the rebuilt tree has it.
    Added,
    Removed,
    /// A file, a folder or a link.
    Kind,
    Content,
    Mode(u32, u32),
    /// User and group.
    Owner([u32; 2], [u32; 2]),
    ExtendedAttributes,
}

/// A commit and the repository that holds it.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub repo: &'a Repo,
    pub commit: &'a CommitChecksum,
}

/// Composes a commit again, into the repository of the request, and compares.
pub fn verify(
    request: &Request,
    commit: &CommitChecksum,
    succession: &Succession,
    progress: &Progress,
) -> Result<Verdict> {
    let rebuilt = compose::compose_again(request, succession, progress)?.commit;
    let old = Side {
        repo: succession.repo,
        commit,
    };
    let new = Side {
        repo: &Repo::open(request.repo)?,
        commit: &rebuilt,
    };
    compare(old, new, request.treefile)
}

/// The treefile is that of the second commit.
pub fn compare(old: Side, new: Side, treefile: &Treefile) -> Result<Verdict> {
    let identical = old.commit == new.commit;
    Ok(Verdict {
        commit: old.commit.clone(),
        rebuilt: new.commit.clone(),
        identical,
        packages: match identical {
            true => Changes::default(),
            false => Changes::between(&packages(old)?, &packages(new)?),
        },
        metadata: Changes::between(&old.repo.header(old.commit)?, &new.repo.header(new.commit)?),
        files: match identical {
            true => Vec::new(),
            false => differences(old, new, treefile)?,
        },
    })
}

fn packages(side: Side) -> Result<BTreeMap<String, String>> {
    let status = side.repo.read(side.commit, dpkg::STATUS)?;
    Ok(dpkg::versions(&String::from_utf8_lossy(&status)))
}

fn differences(old: Side, new: Side, treefile: &Treefile) -> Result<Vec<Difference>> {
    let entries = [old.repo.list(old.commit)?, new.repo.list(new.commit)?];
    let [before, after] = &entries;
    let makers = Makers {
        treefile,
        owners: [
            Owners::read(new.repo, new.commit, after)?,
            Owners::read(old.repo, old.commit, before)?,
        ],
    };
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut differences = Vec::new();
    for path in paths {
        let differs = match (before.get(path), after.get(path)) {
            (None, _) => vec![Aspect::Added],
            (_, None) => vec![Aspect::Removed],
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => aspects(path, (old, a), (new, b))?,
        };
        let made_by = makers.of(path, differs == [Aspect::Removed]);
        differences.push(Difference {
            path: path.clone(),
            differs,
            made_by,
        });
    }
    Ok(differences)
}

fn aspects(path: &str, (old, a): (Side, &Entry), (new, b): (Side, &Entry)) -> Result<Vec<Aspect>> {
    if a.kind != b.kind {
        return Ok(vec![Aspect::Kind]);
    }
    let content = match a.kind {
        Kind::Dir => false,
        // A link has no mode: it is where it leads to, or whose it is.
        Kind::Link => (a.uid, a.gid) == (b.uid, b.gid),
        Kind::File => old.repo.read(old.commit, path)? != new.repo.read(new.commit, path)?,
    };
    let mut found = Vec::new();
    if content {
        found.push(Aspect::Content);
    }
    if a.mode != b.mode {
        found.push(Aspect::Mode(a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        found.push(Aspect::Owner([a.uid, a.gid], [b.uid, b.gid]));
    }
    if found.is_empty() {
        found.push(Aspect::ExtendedAttributes);
    }
    Ok(found)
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
            Self::Kind => f.write_str("kind"),
            Self::Content => f.write_str("content"),
            Self::Mode(a, b) => write!(f, "mode {a:04o} → {b:04o}"),
            Self::Owner([a, b], [c, d]) => write!(f, "owner {a}:{b} → {c}:{d}"),
            Self::ExtendedAttributes => f.write_str("extended attributes"),
        }
    }
}

impl Verdict {
    /// One line that says how much differs; nothing where all is the same.
    pub fn complaint(&self) -> Option<String> {
        (!self.identical).then(|| {
            format!(
                "commit {} comes out as {}: differing files: {}, packages: {}, entries of metadata: {}",
                self.commit.short(),
                self.rebuilt.short(),
                self.files.len(),
                self.packages.len(),
                self.metadata.len(),
            )
        })
    }
}

/// `identical`, or everything that differs.
pub fn text(verdict: &Verdict) -> String {
    if verdict.identical {
        return "identical\n".to_owned();
    }
    let mut out = String::new();
    for (title, changes) in [
        ("packages", &verdict.packages),
        ("metadata", &verdict.metadata),
    ] {
        if !changes.is_empty() {
            let _ = writeln!(out, "{title}:");
        }
        for line in diff::lines(changes) {
            let _ = writeln!(out, "  {line}");
        }
    }
    if !verdict.files.is_empty() {
        out.push_str("files:\n");
    }
    for file in &verdict.files {
        let differs: Vec<String> = file.differs.iter().map(Aspect::to_string).collect();
        let (path, maker) = (&file.path, &file.made_by);
        let _ = writeln!(out, "  {path}: {} ({maker})", differs.join(", "));
    }
    out
}
