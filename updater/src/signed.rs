//! The signed document: signature lines, an empty line, the exact payload bytes. The signatures
//! are checked over the bytes before anybody parses the payload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::refusal::Refusal;

pub const MAX_BYTES: usize = 64 * 1024;
pub const MAX_SIGNATURES: usize = 16;
const HEADER: &[u8] = b"edge-ota-signed 1";

/// What a signature is for, so that none made for one kind of document counts for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    Manifest,
    Root,
}

impl Domain {
    fn prefix(self) -> &'static [u8] {
        match self {
            Domain::Manifest => b"edge-ota manifest v1\0",
            Domain::Root => b"edge-ota root v1\0",
        }
    }

    pub fn what(self) -> &'static str {
        match self {
            Domain::Manifest => "manifest",
            Domain::Root => "root document",
        }
    }
}

/// Lower-case hex SHA-256 of the 32 byte public key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    pub fn of(key: &VerifyingKey) -> Self {
        Self(format!("{:x}", Sha256::digest(key.as_bytes())))
    }
}

impl FromStr for KeyId {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.len() == 64 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(s.to_owned()))
        } else {
            Err("a key id is 64 lower-case hex digits")
        }
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keys of which a number must have signed. The threshold is between 1 and the number of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    threshold: usize,
    keys: BTreeMap<KeyId, VerifyingKey>,
}

impl Role {
    pub fn new(threshold: usize, keys: Vec<VerifyingKey>) -> Result<Self, &'static str> {
        let keys: BTreeMap<_, _> = keys.into_iter().map(|k| (KeyId::of(&k), k)).collect();
        if threshold == 0 {
            return Err("a threshold of 0 trusts anybody");
        }
        if threshold > keys.len() {
            return Err("the threshold is higher than the number of distinct keys");
        }
        if keys.values().any(VerifyingKey::is_weak) {
            return Err("a weak key");
        }
        Ok(Self { threshold, keys })
    }

    pub fn threshold(&self) -> usize {
        self.threshold
    }

    pub fn keys(&self) -> &BTreeMap<KeyId, VerifyingKey> {
        &self.keys
    }

    /// Counts distinct keys; a key that signs twice counts once, an unknown key or a wrong
    /// signature does not count.
    fn demand(&self, envelope: &Envelope<'_>, domain: Domain) -> Result<(), Refusal> {
        let message = message(domain, envelope.payload);
        let valid: BTreeSet<&KeyId> = envelope
            .signatures
            .iter()
            .filter(|(id, signature)| {
                self.keys
                    .get(id)
                    .is_some_and(|key| key.verify_strict(&message, signature).is_ok())
            })
            .map(|(id, _)| id)
            .collect();
        self.enough(valid.len(), domain.what())
    }

    /// For signatures that come without key ids, as OSTree stores them over a raw commit.
    pub(crate) fn demand_bare(
        &self,
        what: &'static str,
        message: &[u8],
        signatures: &[Vec<u8>],
    ) -> Result<(), Refusal> {
        let signed = |key: &VerifyingKey| {
            signatures
                .iter()
                .take(MAX_SIGNATURES)
                .filter_map(|s| Signature::from_slice(s).ok())
                .any(|s| key.verify_strict(message, &s).is_ok())
        };
        let valid = self.keys.values().filter(|key| signed(key)).count();
        self.enough(valid, what)
    }

    fn enough(&self, valid: usize, what: &'static str) -> Result<(), Refusal> {
        if valid >= self.threshold {
            return Ok(());
        }
        Err(Refusal::BadSignature {
            what,
            valid,
            threshold: self.threshold,
        })
    }
}

/// A document taken apart, nothing of it believed yet.
#[derive(Debug)]
pub struct Envelope<'a> {
    domain: Domain,
    signatures: Vec<(KeyId, Signature)>,
    payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub fn parse(domain: Domain, document: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = |reason: String| Refusal::Malformed {
            what: domain.what(),
            reason,
        };
        if document.len() > MAX_BYTES {
            return Err(malformed(format!("larger than {MAX_BYTES} bytes")));
        }
        let mut rest = match line(document) {
            Some((HEADER, rest)) => rest,
            _ => return Err(not_ours(domain.what(), document)),
        };
        let mut signatures = Vec::new();
        loop {
            let (text, after) = line(rest).ok_or_else(|| malformed("it ends early".to_owned()))?;
            rest = after;
            if text.is_empty() {
                break;
            }
            if signatures.len() == MAX_SIGNATURES {
                return Err(malformed(format!("more than {MAX_SIGNATURES} signatures")));
            }
            let signature = signature_line(text)
                .ok_or_else(|| malformed(format!("bad signature line {}", signatures.len() + 1)))?;
            signatures.push(signature);
        }
        Ok(Self {
            domain,
            signatures,
            payload: rest,
        })
    }

    /// The payload, once the role has signed it.
    pub fn verify(&self, role: &Role) -> Result<&'a [u8], Refusal> {
        role.demand(self, self.domain)?;
        Ok(self.payload)
    }

    /// For a document that brings its own keys, and for signing tools. Believe nothing of it.
    pub fn unverified_payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Parses the envelope, checks it and returns the payload.
pub fn verify<'a>(domain: Domain, role: &Role, document: &'a [u8]) -> Result<&'a [u8], Refusal> {
    Envelope::parse(domain, document)?.verify(role)
}

/// A document signed by each of the keys.
pub fn create(domain: Domain, payload: &[u8], keys: &[SigningKey]) -> Vec<u8> {
    let message = message(domain, payload);
    let signatures: Vec<_> = keys
        .iter()
        .map(|key| (KeyId::of(&key.verifying_key()), key.sign(&message)))
        .collect();
    assemble(&signatures, payload)
}

/// Adds a signature that was made elsewhere, over [`message`].
pub fn attach(
    domain: Domain,
    document: &[u8],
    key: &VerifyingKey,
    signature: &[u8; 64],
) -> Result<Vec<u8>, Refusal> {
    let envelope = Envelope::parse(domain, document)?;
    let signature = Signature::from_bytes(signature);
    Role::new(1, vec![*key])
        .map_err(|reason| Refusal::Malformed {
            what: "key",
            reason: reason.to_owned(),
        })?
        .demand_bare(
            domain.what(),
            &message(domain, envelope.payload),
            &[signature.to_vec()],
        )?;
    let mut signatures = envelope.signatures;
    signatures.retain(|(id, _)| *id != KeyId::of(key));
    signatures.push((KeyId::of(key), signature));
    let document = assemble(&signatures, envelope.payload);
    Envelope::parse(domain, &document)?;
    Ok(document)
}

/// The bytes that are signed.
pub fn message(domain: Domain, payload: &[u8]) -> Vec<u8> {
    [domain.prefix(), payload].concat()
}

fn assemble(signatures: &[(KeyId, Signature)], payload: &[u8]) -> Vec<u8> {
    let mut document = [HEADER, b"\n"].concat();
    for (id, signature) in signatures {
        let encoded = STANDARD.encode(signature.to_bytes());
        document.extend_from_slice(format!("sig {id} {encoded}\n").as_bytes());
    }
    document.push(b'\n');
    document.extend_from_slice(payload);
    document
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let (text, rest) = bytes.split_at_checked(end)?;
    Some((text, rest.get(1..)?))
}

/// `sig <key id> <base64>`, single spaces, canonical base64.
fn signature_line(text: &[u8]) -> Option<(KeyId, Signature)> {
    let text = std::str::from_utf8(text).ok()?;
    let (id, encoded) = text.strip_prefix("sig ")?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    Some((id.parse().ok()?, Signature::from_slice(&bytes).ok()?))
}

fn not_ours(what: &'static str, document: &[u8]) -> Refusal {
    match document.trim_ascii_start() {
        [b'<', ..] => Refusal::WebPage { what },
        _ => Refusal::Malformed {
            what,
            reason: "it does not begin with 'edge-ota-signed 1'".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
