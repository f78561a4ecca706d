//! `edge-node.lock.json`: exactly which packages a tree is made of, and what they weigh in SHA-256.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use edge_ota::types::BoardName;
use serde::{Deserialize, Serialize};

use crate::diff::Changes;

const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    pub board: BoardName,
    /// Sorted.
    pub packages: Vec<Locked>,
    /// Packages of which only files are taken.
    pub firmware: Vec<Locked>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// Bytes
    pub size: u64,
    pub sha256: String,
    /// Below the address of a mirror.
    pub path: String,
}

impl Lock {
    pub fn new(board: BoardName, mut packages: Vec<Locked>, mut firmware: Vec<Locked>) -> Self {
        packages.sort();
        firmware.sort();
        Self {
            format: FORMAT,
            board,
            packages,
            firmware,
        }
    }

    /// None where there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        let lock: Self = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is no lock: make it anew with 'edge-build lock'",
                path.display()
            )
        })?;
        if lock.format != FORMAT {
            bail!(
                "{} has format {}, not {FORMAT}",
                path.display(),
                lock.format
            );
        }
        Ok(Some(lock))
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        durable::write(path, text.as_bytes())
    }

    /// Names with their versions; the same version with other bytes is another.
    fn versions(&self) -> BTreeMap<String, String> {
        let all = self.packages.iter().chain(&self.firmware);
        all.map(|p| {
            let short = p.sha256.get(..8).unwrap_or(&p.sha256);
            (
                format!("{}:{}", p.name, p.arch),
                format!("{} ({short})", p.version),
            )
        })
        .collect()
    }

    pub fn changes_from(&self, old: &Lock) -> Changes {
        Changes::between(&old.versions(), &self.versions())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(name: &str, version: &str, sum: &str) -> Locked {
        Locked {
            name: name.into(),
            version: version.into(),
            arch: "all".into(),
            size: 1,
            sha256: sum.into(),
            path: format!("pool/{name}"),
        }
    }

    #[test]
    fn a_lock_is_kept_and_compared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.lock.json");
        assert_eq!(Lock::load(&path).unwrap(), None);
        let board: BoardName = "armhf".parse().unwrap();
        let old = Lock::new(
            board.clone(),
            vec![locked("b", "1", "x"), locked("a", "1", "x")],
            vec![],
        );
        old.save(&path).unwrap();
        assert_eq!(Lock::load(&path).unwrap().as_ref(), Some(&old));
        let new = Lock::new(
            board,
            vec![locked("a", "1", "y"), locked("c", "2", "z")],
            vec![],
        );
        let changes = new.changes_from(&old);
        assert_eq!(changes.changed["a:all"], ["1 (x)", "1 (y)"]);
        assert!(changes.added.contains_key("c:all") && changes.removed.contains_key("b:all"));
        assert!(old.changes_from(&old).is_empty());
        fs::write(&path, "{\"format\": 2}").unwrap();
        let error = format!("{:#}", Lock::load(&path).unwrap_err());
        assert!(error.contains("n.lock.json is no lock"), "{error}");
    }
}
