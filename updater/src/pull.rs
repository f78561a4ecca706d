//! A commit comes in: its object and signatures by our own bounded HTTP code, checked before libostree
//! sees them, then its content by checksum.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::boot::records::hex;
use crate::fetch::{Location, Source};
use crate::refusal::Refusal;
use crate::sysroot::{self, CommitInfo, PullProgress, Sysroot};
use crate::trust::Root;
use crate::types::{BoardName, CommitChecksum};

/// A commit object lists every object of its tree with its sizes: some 45 bytes each.
pub const COMMIT_CAP: u64 = 16 << 20;
const DETACHED_CAP: u64 = 64 << 10;

/// A commit whose object has the right checksum and the trusted signatures. Only [`fetch_commit`]
/// makes one.
pub struct Verified {
    commit: CommitChecksum,
    raw: Vec<u8>,
    detached: Vec<u8>,
    info: CommitInfo,
}

impl Verified {
    pub fn commit(&self) -> &CommitChecksum {
        &self.commit
    }

    pub fn info(&self) -> &CommitInfo {
        &self.info
    }
}

/// Fetches a commit object and its signatures from `repo/` and verifies them.
pub fn fetch_commit(
    source: &Source,
    root: &Root,
    board: &BoardName,
    commit: &CommitChecksum,
) -> Result<Verified> {
    let path = object_path(commit);
    let raw = source.get(&format!("{path}.commit"), COMMIT_CAP)?;
    let found: CommitChecksum = hex(&Sha256::digest(&raw)).parse()?;
    if found != *commit {
        return Err(Refusal::CommitMismatch {
            expected: commit.clone(),
            found,
        }
        .into());
    }
    let detached = source
        .get_if_there(&format!("{path}.commitmeta"), DETACHED_CAP)?
        .unwrap_or_default();
    let info = verify(root, board, &raw, &detached)?;
    Ok(Verified {
        commit: commit.clone(),
        raw,
        detached,
        info,
    })
}

/// Checks the signatures of a commit object and what it says of itself.
pub fn verify(
    root: &Root,
    board: &BoardName,
    raw: &[u8],
    detached: &[u8],
) -> Result<CommitInfo, Refusal> {
    let malformed = |e: anyhow::Error| Refusal::Malformed {
        what: "commit",
        reason: format!("{e:#}"),
    };
    let signatures = sysroot::detached_signatures(detached).map_err(malformed)?;
    root.verify_commit(raw, &signatures)?;
    let info = CommitInfo::from_raw(raw).map_err(malformed)?;
    check_info(&info, board)?;
    Ok(info)
}

fn check_info(info: &CommitInfo, board: &BoardName) -> Result<(), Refusal> {
    let refuse = |reason: &str| {
        Err(Refusal::Malformed {
            what: "commit",
            reason: reason.to_owned(),
        })
    };
    if info.board != board.as_str() {
        let Ok(found) = info.board.parse() else {
            return refuse("it names no board");
        };
        return Err(Refusal::WrongBoard {
            expected: board.clone(),
            found,
        });
    }
    if !info.bootable {
        return refuse("it is not bootable (ostree.bootable)");
    }
    if !info.has_sizes() {
        return refuse("it does not say how large it is (ostree.sizes)");
    }
    Ok(())
}

/// Imports a verified commit and fetches its content.
pub fn pull(
    sysroot: &Sysroot,
    source: &Source,
    verified: &Verified,
    each: impl Fn(PullProgress) + 'static,
) -> Result<()> {
    sysroot.import_commit(&verified.commit, &verified.raw, &verified.detached)?;
    let url = match source.location() {
        Location::Web(base) => format!("{}/repo", base.as_str().trim_end_matches('/')),
        Location::Folder(folder) => format!("file://{}/repo", folder.display()),
    };
    sysroot
        .pull_content(&url, &verified.commit, each)
        .context("the content of the release did not come in whole")
}

/// Below the served folder, without an ending.
pub fn object_path(commit: &CommitChecksum) -> String {
    let (folder, file) = commit.as_str().split_at(2);
    format!("repo/objects/{folder}/{file}")
}
