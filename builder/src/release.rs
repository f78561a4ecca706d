//! Publishes a release: the signed channel manifest, and the root documents beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use edge_ota::channel::{self, Manifest, Release};
use edge_ota::durable;
use edge_ota::signed::{self, Domain};
use edge_ota::trust::{self, Root};
use edge_ota::types::{BoardName, ChannelName, Sequence};
use rustix::fs::{FlockOperation, flock};

use crate::rehearsal;

/// For how long a manifest holds unless told otherwise.
pub const EXPIRES_IN: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(Debug, Clone)]
pub struct Terms {
    pub expires_in: Duration,
    /// Never lower than in the manifest before; `None` keeps that one.
    pub min_sequence: Option<Sequence>,
    /// `None` takes the next one. Anything is taken here, so that a test can go back.
    pub sequence: Option<Sequence>,
    /// Nothing is signed that was not rehearsed from what the channel offers now.
    pub require_rehearsal: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            expires_in: EXPIRES_IN,
            min_sequence: None,
            sequence: None,
            require_rehearsal: false,
        }
    }
}

/// Writes the manifest of `release` below `served`, after the root documents of `keys`, and
/// returns its path. `signers` must satisfy the channel role of the newest of these documents.
/// `now` is in Unix seconds.
pub fn publish(
    served: &Path,
    keys: &Path,
    signers: &[SigningKey],
    release: Release,
    terms: &Terms,
    now: u64,
) -> Result<(PathBuf, Manifest)> {
    let path = served.join(channel::path(&release.channel, &release.board));
    let folder = path.parent().context("a manifest lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let _lock = lock(folder)?;
    let history = history(keys)?;
    let root = &history.newest;
    let previous = previous(&path, root)?;
    if terms.require_rehearsal {
        let offered = previous.as_ref().map(|manifest| &manifest.commit);
        rehearsal::record::require(served, &release.board, &release.commit, offered)?;
    }
    let manifest = next(previous.as_ref(), release, terms, now)?;
    let payload = serde_json::to_vec(&manifest).context("writing a manifest")?;
    let document = signed::create(Domain::Manifest, &payload, signers);
    Manifest::parse_verified(&document, root.channel())
        .with_context(|| format!("signing by the channel keys of root {}", root.version()))?;
    publish_roots(&served.join("root"), &history)?;
    durable::write(&path, &document)?;
    Ok((path, manifest))
}

/// What a channel offers now.
pub fn offered(
    served: &Path,
    keys: &Path,
    channel: &ChannelName,
    board: &BoardName,
) -> Result<Option<Manifest>> {
    let path = served.join(channel::path(channel, board));
    previous(&path, &history(keys)?.newest)
}

/// The key history of a product, verified from its first document on.
struct History {
    documents: Vec<(u64, Vec<u8>)>,
    newest: Root,
}

fn history(keys: &Path) -> Result<History> {
    let mut documents = Vec::new();
    let mut newest: Option<Root> = None;
    for version in trust::versions(keys)? {
        let path = keys.join(trust::file_name(version));
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let root = match &newest {
            None => Root::parse_self_signed(&bytes),
            Some(before) => before.walk(&bytes),
        };
        let root = root.with_context(|| path.display().to_string())?;
        if root.version() != version {
            bail!("{} holds version {}", path.display(), root.version());
        }
        newest = Some(root);
        documents.push((version, bytes));
    }
    let newest = newest.with_context(|| format!("no root document in {}", keys.display()))?;
    Ok(History { documents, newest })
}

/// The manifest that is served now. A damaged one ends the release: its sequence is the floor of
/// every device.
fn previous(path: &Path, root: &Root) -> Result<Option<Manifest>> {
    let bytes = match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    Manifest::parse_verified(&bytes, root.channel())
        .map(Some)
        .with_context(|| format!("the manifest before, {}", path.display()))
}

fn next(
    previous: Option<&Manifest>,
    release: Release,
    terms: &Terms,
    now: u64,
) -> Result<Manifest> {
    let last = previous.map_or(Sequence(0), |m| m.sequence);
    let following = last.0.checked_add(1).context("no sequence is left")?;
    let sequence = terms.sequence.unwrap_or(Sequence(following));
    let least = previous.map_or(Sequence(0), |m| m.min_sequence);
    let min_sequence = terms.min_sequence.unwrap_or(least.min(sequence));
    if terms.sequence.is_none() && min_sequence < least {
        bail!("min_sequence is {least} already and can't go back to {min_sequence}");
    }
    // A device's clock never runs below the last `issued`; neither may ours.
    let issued = previous.map_or(now, |m| now.max(m.issued));
    let expires = issued.saturating_add(terms.expires_in.as_secs());
    Manifest::new(release, sequence, min_sequence, issued, expires).context("making a manifest")
}

/// A root document that is served is never changed.
fn publish_roots(folder: &Path, history: &History) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (version, bytes) in &history.documents {
        let path = folder.join(trust::file_name(*version));
        match fs::read(&path) {
            Ok(served) if served == *bytes => {}
            Ok(_) => bail!("{} is served with another content", path.display()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => durable::write(&path, bytes)?,
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        }
    }
    Ok(())
}

/// Held until it is dropped.
fn lock(folder: &Path) -> Result<File> {
    let act = || -> std::io::Result<File> {
        let lock = File::open(folder)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(lock)
    };
    act().with_context(|| format!("locking {}", folder.display()))
}

#[cfg(test)]
mod tests;
