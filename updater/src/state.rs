//! What a device remembers because it cannot be observed: the sequence floor, releases that
//! failed, the release that is staged.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::channel::Manifest;
use crate::durable;
use crate::format::{self, Kind};
use crate::types::{CommitChecksum, Sequence, Slot};

const KIND: Kind = Kind {
    what: "state",
    format: 1,
    fields: &[
        "format",
        "critical",
        "sequence",
        "issued",
        "root_version",
        "etag",
        "failures",
        "staged",
    ],
};
/// Written and read in this order.
const COPIES: [&str; 2] = ["state.json", "state.backup.json"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    format: u64,
    #[serde(default)]
    critical: Vec<String>,
    /// The highest sequence accepted.
    #[serde(default)]
    pub sequence: Sequence,
    /// `issued` of the last manifest accepted.
    #[serde(default)]
    pub issued: u64,
    /// The highest root document reached.
    #[serde(default)]
    pub root_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    #[serde(default)]
    pub failures: BTreeMap<CommitChecksum, Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
    /// Fields of a newer release, kept for it.
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

/// Of a manifest that left nothing to be done; stored any earlier, it would hide the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Etag {
    /// Where the manifest came from; an ETag means nothing elsewhere.
    pub url: String,
    pub value: String,
}

/// How a release failed on this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: String,
    pub at: u64,
    /// Trials whose tries were used up without a verdict.
    #[serde(default)]
    pub without_verdict: u32,
    /// A health check, or the second trial without a verdict, spoke against it.
    #[serde(default)]
    pub rejected: bool,
}

/// A release that lies in its slot, waiting for its boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    pub commit: CommitChecksum,
    pub version: String,
    pub sequence: Sequence,
    pub slot: Slot,
    /// `<checksum>.<serial>`.
    pub deployment: String,
    /// Fingerprint of `/etc` as it was merged; another one now means that it must be merged again.
    pub etc: String,
}

/// Whether a release may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Clear,
    /// Used up its tries once without a verdict; rests until then.
    RestsUntil(u64),
    Rejected,
}

/// What was found, and what must be reported about it.
#[derive(Debug)]
pub struct Loaded {
    pub state: State,
    /// A copy is damaged; it is whole again after the next save.
    pub warning: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: KIND.format,
            critical: Vec::new(),
            sequence: Sequence(0),
            issued: 0,
            root_version: 0,
            etag: None,
            failures: BTreeMap::new(),
            staged: None,
            others: BTreeMap::new(),
        }
    }
}

impl State {
    /// What waits for its trial. A release whose slot was not written to its end does not: the next
    /// upgrade begins there again.
    pub fn ready(&self) -> Option<&Staged> {
        self.staged
            .as_ref()
            .filter(|staged| !staged.deployment.is_empty())
    }

    /// Raises the floors. For a manifest that was accepted, before anything else is done with it.
    pub fn saw(&mut self, manifest: &Manifest) {
        self.sequence = self.sequence.max(manifest.sequence);
        self.issued = self.issued.max(manifest.issued);
    }

    pub fn standing(&self, commit: &CommitChecksum, retry_delay: Duration) -> Standing {
        match self.failures.get(commit) {
            None => Standing::Clear,
            Some(failure) if failure.rejected => Standing::Rejected,
            Some(failure) => Standing::RestsUntil(failure.at.saturating_add(retry_delay.as_secs())),
        }
    }

    /// A verdict against a release: it is not tried again.
    pub fn reject(&mut self, commit: CommitChecksum, reason: String, at: u64) {
        let failure = self.failures.entry(commit).or_insert_with(Failure::none);
        (failure.reason, failure.at, failure.rejected) = (reason, at, true);
    }

    /// The tries of a release were used up without a verdict: it is tried once more.
    pub fn without_verdict(&mut self, commit: CommitChecksum, at: u64) {
        let failure = self.failures.entry(commit).or_insert_with(Failure::none);
        failure.without_verdict = failure.without_verdict.saturating_add(1);
        failure.rejected |= failure.without_verdict > 1;
        failure.reason = "its tries were used up without a verdict".to_owned();
        failure.at = at;
    }

    /// Forgets how a release failed: it proved good, or somebody wants it tried again.
    pub fn forgive(&mut self, commit: &CommitChecksum) {
        self.failures.remove(commit);
    }
}

impl Failure {
    fn none() -> Self {
        Self {
            reason: String::new(),
            at: 0,
            without_verdict: 0,
            rejected: false,
        }
    }
}

/// Reads the first good copy in `dir`. No copy is a new device; a loss of both must not keep a
/// device from its updates, so it is a warning and an empty state.
pub fn load(dir: &Path) -> Loaded {
    let mut problems = Vec::new();
    for path in copies(dir) {
        match read(&path) {
            Ok(Some(state)) => {
                return Loaded {
                    state,
                    warning: warning(&problems),
                };
            }
            Ok(None) => {}
            Err(e) => problems.push(format!("{e:#}")),
        }
    }
    if !problems.is_empty() {
        problems.push("beginning with an empty state".to_owned());
    }
    Loaded {
        state: State::default(),
        warning: warning(&problems),
    }
}

/// Writes both copies, one after the other.
pub fn save(dir: &Path, state: &State) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    save_by(dir, state, durable::write)
}

fn save_by(
    dir: &Path,
    state: &State,
    mut write: impl FnMut(&Path, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(state).context("writing the state")?;
    bytes.push(b'\n');
    copies(dir).iter().try_for_each(|path| write(path, &bytes))
}

fn copies(dir: &Path) -> [PathBuf; 2] {
    COPIES.map(|name| dir.join(name))
}

fn read(path: &Path) -> Result<Option<State>> {
    let context = || path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => Ok(Some(format::parse(&KIND, &bytes).with_context(context)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(context),
    }
}

fn warning(problems: &[String]) -> Option<String> {
    (!problems.is_empty()).then(|| problems.join("; "))
}

#[cfg(test)]
mod tests;
