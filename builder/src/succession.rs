//! What a commit goes on from: the commit before it, its users and groups, and the version that follows.

use anyhow::Result;
use edge_ota::types::CommitChecksum;

use crate::repo::Repo;
use crate::treefile::Treefile;
use crate::version;

pub struct Succession<'a> {
    /// Holds the commits.
    pub repo: &'a Repo,
    pub parent: Option<CommitChecksum>,
    /// Whose users and groups keep their numbers.
    pub accounts: Option<CommitChecksum>,
    pub version: String,
}

/// Of the next commit of a treefile's ref.
pub fn next<'a>(repo: &'a Repo, treefile: &Treefile, now: u64) -> Result<Succession<'a>> {
    let parent = repo.resolve(&treefile.reference)?;
    Ok(Succession {
        repo,
        version: next_version(repo, parent.as_ref(), treefile, now)?,
        accounts: parent.clone(),
        parent,
    })
}

/// Of a commit that is there. Where the commit before it is gone, the numbers are the commit's own.
pub fn of<'a>(repo: &'a Repo, commit: &CommitChecksum) -> Result<Succession<'a>> {
    let parent = repo.parent(commit)?;
    let accounts = match &parent {
        Some(parent) if !repo.has(parent)? => Some(commit.clone()),
        parent => parent.clone(),
    };
    Ok(Succession {
        repo,
        parent,
        accounts,
        version: repo.describe(commit)?.version,
    })
}

fn next_version(
    repo: &Repo,
    parent: Option<&CommitChecksum>,
    treefile: &Treefile,
    now: u64,
) -> Result<String> {
    let Some(prefix) = &treefile.automatic_version_prefix else {
        return version::next("<date:%Y%m%d.%H%M%S>", '.', None, now);
    };
    let previous = match parent {
        Some(commit) => Some(repo.describe(commit)?.version),
        None => None,
    };
    let separator = treefile.automatic_version_suffix;
    version::next(prefix, separator, previous.as_deref(), now)
}
