//! Whom a device believes: root documents, each signed by the one before it, and the roles they
//! name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::format::{self, Kind};
use crate::refusal::Refusal;
use crate::signed::{Domain, Envelope, KeyId, Role};

/// How many root documents one run follows; a longer history takes another run.
pub const MAX_STEPS: usize = 64;

const WHAT: &str = "root document";
const KIND: Kind = Kind {
    what: WHAT,
    format: 1,
    fields: &["format", "critical", "version", "keys", "roles"],
};

/// A root document that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    version: u64,
    root: Role,
    channel: Role,
    commit: Role,
}

impl Root {
    /// A document that came with the tree: signed by the keys it names itself.
    pub fn parse_self_signed(document: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(Domain::Root, document)?;
        let root = Self::from_payload(envelope.unverified_payload())?;
        envelope.verify(&root.root)?;
        Ok(root)
    }

    /// The next document of the history: signed by the keys of this one, then by its own.
    pub fn walk(&self, next: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(Domain::Root, next)?;
        let root = Self::from_payload(envelope.verify(&self.root)?)?;
        envelope.verify(&root.root)?;
        if root.version != self.next_version() {
            return Err(Refusal::WrongRoot {
                expected: self.next_version(),
                found: root.version,
            });
        }
        Ok(root)
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Who signs root documents.
    pub fn root(&self) -> &Role {
        &self.root
    }

    /// Who signs channel manifests.
    pub fn channel(&self) -> &Role {
        &self.channel
    }

    /// Who signs commits.
    pub fn commit(&self) -> &Role {
        &self.commit
    }

    /// Checks OSTree's own signatures (`ostree.sign.ed25519`), over the raw commit variant.
    pub fn verify_commit(&self, raw_commit: &[u8], signatures: &[Vec<u8>]) -> Result<(), Refusal> {
        self.commit.demand_bare("commit", raw_commit, signatures)
    }

    /// Refuses a history that ends before `seen`, the version reached in an earlier run.
    pub fn not_behind(&self, seen: u64) -> Result<(), Refusal> {
        if self.version >= seen {
            return Ok(());
        }
        Err(Refusal::RootWentBack {
            reached: self.version,
            seen,
        })
    }

    fn next_version(&self) -> u64 {
        self.version.saturating_add(1)
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Refusal> {
        let document: Document = format::parse(&KIND, payload)?;
        if document.version == 0 {
            return Err(malformed("versions begin at 1".to_owned()));
        }
        let keys = keys(&document.keys)?;
        Ok(Self {
            version: document.version,
            root: role("root", &document.roles.root, &keys)?,
            channel: role("channel", &document.roles.channel, &keys)?,
            commit: role("commit", &document.roles.commit, &keys)?,
        })
    }
}

/// The payload of a root document, ready to be signed.
pub fn payload(version: u64, root: &Role, channel: &Role, commit: &Role) -> Result<Vec<u8>> {
    let keys = [root, channel, commit]
        .into_iter()
        .flat_map(|role| role.keys())
        .map(|(id, key)| (id.clone(), KeyEntry::of(key)))
        .collect();
    let document = Document {
        format: KIND.format,
        critical: Vec::new(),
        version,
        keys,
        roles: Roles {
            root: RoleEntry::of(root),
            channel: RoleEntry::of(channel),
            commit: RoleEntry::of(commit),
        },
    };
    serde_json::to_vec(&document).context("writing a root document")
}

/// The highest `<n>.root` of a folder that is trusted as a whole: the tree's own.
pub fn load_highest(dir: &Path) -> Result<Root> {
    let versions = versions(dir)?;
    let Some(version) = versions.last() else {
        bail!("no root document in {}", dir.display());
    };
    let path = dir.join(file_name(*version));
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let root = Root::parse_self_signed(&bytes).with_context(|| path.display().to_string())?;
    if root.version != *version {
        bail!("{} holds version {}", path.display(), root.version);
    }
    Ok(root)
}

/// Where the history leads, and what stopped it other than its end.
pub struct Walked {
    pub root: Root,
    /// A stored document that cannot be used. It is fetched again by [`advance`].
    pub damaged: Option<anyhow::Error>,
}

/// Follows the documents that earlier runs stored in `dir`.
pub fn walk_stored(mut root: Root, dir: &Path) -> Walked {
    loop {
        let path = dir.join(file_name(root.next_version()));
        let next = match fs::read(&path) {
            Ok(bytes) => root.walk(&bytes).map_err(anyhow::Error::from),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Walked {
                    root,
                    damaged: None,
                };
            }
            Err(e) => Err(e.into()),
        };
        match next.with_context(|| path.display().to_string()) {
            Ok(next) => root = next,
            Err(damaged) => {
                return Walked {
                    root,
                    damaged: Some(damaged),
                };
            }
        }
    }
}

/// Fetches documents until there is none (`Ok(None)`), and stores each one that the one before it
/// vouches for in `dir`.
pub fn advance(
    mut root: Root,
    dir: &Path,
    mut fetch: impl FnMut(&str) -> Result<Option<Vec<u8>>>,
) -> Result<Root> {
    for _ in 0..MAX_STEPS {
        let name = file_name(root.next_version());
        let Some(bytes) = fetch(&format!("root/{name}"))? else {
            return Ok(root);
        };
        root = root.walk(&bytes).with_context(|| format!("root/{name}"))?;
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        durable::write(&dir.join(&name), &bytes)?;
    }
    Ok(root)
}

pub fn file_name(version: u64) -> String {
    format!("{version}.root")
}

/// The versions of the root documents in a folder, in ascending order.
pub fn versions(dir: &Path) -> Result<BTreeSet<u64>> {
    let act = || -> std::io::Result<BTreeSet<u64>> {
        let mut versions = BTreeSet::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let version = name
                .to_str()
                .and_then(|name| name.strip_suffix(".root"))
                .and_then(|n| n.parse().ok());
            versions.extend(version.filter(|n| name.to_str() == Some(&file_name(*n))));
        }
        Ok(versions)
    };
    act().with_context(|| format!("reading {}", dir.display()))
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u64,
    #[serde(default)]
    critical: Vec<String>,
    version: u64,
    keys: BTreeMap<KeyId, KeyEntry>,
    roles: Roles,
}

#[derive(Serialize, Deserialize)]
struct KeyEntry {
    r#type: KeyType,
    /// Base64 of 32 bytes.
    public: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyType {
    Ed25519,
}

#[derive(Serialize, Deserialize)]
struct Roles {
    root: RoleEntry,
    channel: RoleEntry,
    commit: RoleEntry,
}

#[derive(Serialize, Deserialize)]
struct RoleEntry {
    threshold: usize,
    keys: Vec<KeyId>,
}

impl KeyEntry {
    fn of(key: &VerifyingKey) -> Self {
        Self {
            r#type: KeyType::Ed25519,
            public: STANDARD.encode(key.as_bytes()),
        }
    }
}

impl RoleEntry {
    fn of(role: &Role) -> Self {
        Self {
            threshold: role.threshold(),
            keys: role.keys().keys().cloned().collect(),
        }
    }
}

type Keys = BTreeMap<KeyId, VerifyingKey>;

fn keys(entries: &BTreeMap<KeyId, KeyEntry>) -> Result<Keys, Refusal> {
    let mut keys = Keys::new();
    for (id, entry) in entries {
        let key = public_key(&entry.public).ok_or_else(|| malformed(format!("bad key {id}")))?;
        if KeyId::of(&key) != *id {
            return Err(malformed(format!("key {id} is another key")));
        }
        keys.insert(id.clone(), key);
    }
    Ok(keys)
}

/// Base64 of the 32 byte public key, as in root documents and `*.public` files.
pub fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes = STANDARD.decode(text).ok()?;
    VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok()
}

fn role(name: &str, entry: &RoleEntry, keys: &Keys) -> Result<Role, Refusal> {
    let mut members = Vec::new();
    for id in &entry.keys {
        let key = keys
            .get(id)
            .ok_or_else(|| malformed(format!("role {name} names an unknown key {id}")))?;
        members.push(*key);
    }
    Role::new(entry.threshold, members).map_err(|e| malformed(format!("role {name}: {e}")))
}

fn malformed(reason: String) -> Refusal {
    Refusal::Malformed { what: WHAT, reason }
}

#[cfg(test)]
mod tests;
