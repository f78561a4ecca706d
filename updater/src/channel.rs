//! The channel manifest: what a channel offers a board, and whether this device may take it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::format::{self, Kind};
use crate::refusal::Refusal;
use crate::signed::{self, Domain, Role};
use crate::types::{BoardName, ChannelName, CommitChecksum, RefName, Sequence};

const WHAT: &str = "manifest";
const KIND: Kind = Kind {
    what: WHAT,
    format: 1,
    fields: &[
        "format",
        "critical",
        "board",
        "channel",
        "sequence",
        "min_sequence",
        "issued",
        "expires",
        "version",
        "commit",
        "ref",
    ],
};

/// The payload of `channels/<channel>/<board>`. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u64,
    #[serde(default)]
    critical: Vec<String>,
    pub board: BoardName,
    pub channel: ChannelName,
    pub sequence: Sequence,
    /// Releases below it are not installed any more. What is installed may still be booted.
    #[serde(default)]
    pub min_sequence: Sequence,
    pub issued: u64,
    pub expires: u64,
    /// For people; at most 64 printable ASCII characters without a space.
    pub version: String,
    pub commit: CommitChecksum,
    pub r#ref: RefName,
}

/// What a release is, for [`Manifest::new`].
#[derive(Debug, Clone)]
pub struct Release {
    pub board: BoardName,
    pub channel: ChannelName,
    pub version: String,
    pub commit: CommitChecksum,
    pub r#ref: RefName,
}

/// What a device is and has seen.
#[derive(Debug, Clone)]
pub struct Expected {
    pub board: BoardName,
    pub channel: ChannelName,
    /// The highest sequence accepted before.
    pub floor: Sequence,
    /// See [`clock`].
    pub now: u64,
}

/// A manifest that this device may install from. Only [`Manifest::accept`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate(Manifest);

/// The system's clock, unless it is behind what is known to be past: the time the tree was built
/// and the last manifest was issued.
pub fn clock(now: u64, built: u64, last_issued: u64) -> u64 {
    now.max(built).max(last_issued)
}

/// Where the manifest lies below the served folder.
pub fn path(channel: &ChannelName, board: &BoardName) -> String {
    format!("channels/{channel}/{board}")
}

impl Manifest {
    pub fn new(
        release: Release,
        sequence: Sequence,
        min_sequence: Sequence,
        issued: u64,
        expires: u64,
    ) -> Result<Self, Refusal> {
        let manifest = Self {
            format: KIND.format,
            critical: Vec::new(),
            board: release.board,
            channel: release.channel,
            sequence,
            min_sequence,
            issued,
            expires,
            version: release.version,
            commit: release.commit,
            r#ref: release.r#ref,
        };
        manifest.consistent()?;
        Ok(manifest)
    }

    /// Checks the signatures over the bytes, then reads them.
    pub fn parse_verified(document: &[u8], role: &Role) -> Result<Self, Refusal> {
        let payload = signed::verify(Domain::Manifest, role, document)?;
        let manifest: Self = format::parse(&KIND, payload)?;
        manifest.consistent()?;
        Ok(manifest)
    }

    /// Whether this device may install what the manifest names.
    pub fn accept(self, expected: &Expected) -> Result<Candidate, Refusal> {
        if self.board != expected.board {
            return Err(Refusal::WrongBoard {
                expected: expected.board.clone(),
                found: self.board,
            });
        }
        if self.channel != expected.channel {
            return Err(Refusal::WrongChannel {
                expected: expected.channel.clone(),
                found: self.channel,
            });
        }
        if self.sequence < expected.floor {
            return Err(Refusal::Downgrade {
                offered: self.sequence,
                floor: expected.floor,
            });
        }
        if self.expires <= expected.now {
            return Err(Refusal::Expired {
                expires: self.expires,
                now: expected.now,
            });
        }
        Ok(Candidate(self))
    }

    /// Whether a release that was fetched earlier may still be installed.
    pub fn still_allows(&self, sequence: Sequence) -> bool {
        sequence >= self.min_sequence
    }

    fn consistent(&self) -> Result<(), Refusal> {
        let printable = self.version.bytes().all(|b| b.is_ascii_graphic());
        let reason = if self.version.is_empty() || self.version.len() > 64 || !printable {
            "version must be 1 to 64 printable ASCII characters without a space"
        } else if self.expires <= self.issued {
            "it expires before it is issued"
        } else if self.min_sequence > self.sequence {
            "its sequence is below its own min_sequence"
        } else {
            return Ok(());
        };
        Err(Refusal::Malformed {
            what: WHAT,
            reason: reason.to_owned(),
        })
    }
}

impl Candidate {
    pub fn manifest(&self) -> &Manifest {
        &self.0
    }

    /// Whether these bytes are the commit object that the manifest names.
    pub fn check_commit(&self, raw_commit: &[u8]) -> Result<(), Refusal> {
        let found = format!("{:x}", Sha256::digest(raw_commit));
        if found == self.0.commit.as_str() {
            return Ok(());
        }
        Err(Refusal::CommitMismatch {
            expected: self.0.commit.clone(),
            found: found.parse().map_err(|e| Refusal::Malformed {
                what: "commit",
                reason: format!("{e}"),
            })?,
        })
    }
}

#[cfg(test)]
mod tests;
