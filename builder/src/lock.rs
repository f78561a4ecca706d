//! `edge-node.lock.json`: exactly which packages a tree is made of, and what they weigh in SHA-256.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use edge_ota::types::BoardName;
use serde::{Deserialize, Serialize};

use crate::diff::{self, Changes};
use crate::packages::Package;

const FORMAT: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    pub board: BoardName,
    /// Unix seconds: the newest `Date:` of the sources' `InRelease` files, or revision of the repositories of RPMs.
    pub snapshot: u64,
    /// Sorted.
    pub packages: Vec<Locked>,
    /// Packages of which only files are taken.
    pub firmware: Vec<Locked>,
    /// Packages that were given as files. Sorted.
    pub local: Vec<Local>,
}

/// Only what says which format a file has.
#[derive(Deserialize)]
struct Head {
    format: u32,
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

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// Bytes
    pub size: u64,
    pub sha256: String,
}

impl Lock {
    pub fn new(
        board: BoardName,
        snapshot: u64,
        mut packages: Vec<Locked>,
        mut firmware: Vec<Locked>,
        mut local: Vec<Local>,
    ) -> Self {
        packages.sort();
        firmware.sort();
        local.sort();
        Self {
            format: FORMAT,
            board,
            snapshot,
            packages,
            firmware,
            local,
        }
    }

    /// None where there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let Some((text, format)) = read(path)? else {
            return Ok(None);
        };
        if format != FORMAT {
            bail!(
                "{} has format {format}, not {FORMAT}: make it anew with 'edge-build lock'",
                path.display()
            );
        }
        let lock = serde_json::from_str(&text).with_context(|| no_lock(path))?;
        Ok(Some(lock))
    }

    /// As [`Lock::load`], but none also where the file is a lock of an earlier format.
    pub fn load_current(path: &Path) -> Result<Option<Self>> {
        match read(path)? {
            Some((_, format)) if format < FORMAT => Ok(None),
            _ => Self::load(path),
        }
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        durable::write(path, text.as_bytes())
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let all = self.packages.iter().chain(&self.firmware);
        let all = all.map(|p| fact(&p.name, &p.arch, &p.version, &p.sha256));
        all.chain(local_versions(&self.local)).collect()
    }

    pub fn changes_from(&self, old: &Lock) -> Changes {
        Changes::between(&old.versions(), &self.versions())
    }

    /// Files that are given must be those that were locked.
    pub fn check_local(&self, given: &[Local]) -> Result<()> {
        let [locked, given] =
            [&self.local, given].map(|local| local_versions(local).collect::<BTreeMap<_, _>>());
        let changes = Changes::between(&locked, &given);
        if !changes.is_empty() {
            bail!(
                "--deb or --rpm: not the packages of the lock: {}: give those, or make the lock anew with 'edge-build lock'",
                listed(&changes)
            );
        }
        Ok(())
    }

    /// What was installed must be what was locked.
    pub fn check_installed(&self, installed: &[Package]) -> Result<()> {
        let fact =
            |name: &str, arch: &str, version: &str| (format!("{name}:{arch}"), version.to_owned());
        let locked = self
            .packages
            .iter()
            .map(|p| fact(&p.name, &p.arch, &p.version));
        let local = self.local.iter();
        let local = local.map(|p| fact(&p.name, &p.arch, &p.version));
        let locked = locked.chain(local).collect();
        let installed = installed.iter();
        let installed = installed
            .map(|p| fact(&p.name, &p.arch, &p.version))
            .collect();
        let changes = Changes::between(&locked, &installed);
        if !changes.is_empty() {
            bail!(
                "not the packages of the lock are installed: {}: make it anew with 'edge-build lock'",
                listed(&changes)
            );
        }
        Ok(())
    }
}

fn local_versions(local: &[Local]) -> impl Iterator<Item = (String, String)> {
    let local = local.iter();
    local.map(|p| fact(&p.name, &p.arch, &p.version, &p.sha256))
}

/// A name with its version; the same version with other bytes is another.
fn fact(name: &str, arch: &str, version: &str, sha256: &str) -> (String, String) {
    let short = sha256.get(..8).unwrap_or(sha256);
    (format!("{name}:{arch}"), format!("{version} ({short})"))
}

/// On one line.
fn listed(changes: &Changes) -> String {
    let lines = diff::lines(changes);
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(", ")
}

/// The text and its format.
fn read(path: &Path) -> Result<Option<(String, u32)>> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    let head: Head = serde_json::from_str(&text).with_context(|| no_lock(path))?;
    Ok(Some((text, head.format)))
}

fn no_lock(path: &Path) -> String {
    format!(
        "{} is no lock: make it anew with 'edge-build lock'",
        path.display()
    )
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

    fn local(sum: &str) -> Local {
        Local {
            name: "own".into(),
            version: "1".into(),
            arch: "all".into(),
            size: 1,
            sha256: sum.into(),
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
            1_790_000_000,
            vec![locked("b", "1", "x"), locked("a", "1", "x")],
            vec![],
            vec![local("x")],
        );
        old.save(&path).unwrap();
        assert_eq!(Lock::load(&path).unwrap().as_ref(), Some(&old));
        let new = Lock::new(
            board,
            1_790_000_001,
            vec![locked("a", "1", "y"), locked("c", "2", "z")],
            vec![],
            vec![local("y")],
        );
        let changes = new.changes_from(&old);
        assert_eq!(changes.changed["a:all"], ["1 (x)", "1 (y)"]);
        assert_eq!(changes.changed["own:all"], ["1 (x)", "1 (y)"]);
        assert!(changes.added.contains_key("c:all") && changes.removed.contains_key("b:all"));
        assert!(old.changes_from(&old).is_empty());
        for (text, expected) in [
            ("{\"format\": 2}", "n.lock.json is no lock"),
            (
                "{\"format\": 1}",
                "n.lock.json has format 1, not 2: make it anew",
            ),
            ("{\"format\": 3}", "n.lock.json has format 3, not 2"),
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", Lock::load(&path).unwrap_err());
            assert!(error.contains(expected), "{error}");
            let outdated = expected.contains("format 1");
            assert_eq!(Lock::load_current(&path).is_ok(), outdated, "{text}");
        }
    }

    #[test]
    fn what_is_not_locked_is_refused() {
        let board: BoardName = "armhf".parse().unwrap();
        let lock = Lock::new(
            board,
            0,
            vec![locked("a", "1", "x")],
            vec![],
            vec![local("x")],
        );
        lock.check_local(&[local("x")]).unwrap();
        let error = lock.check_local(&[local("y")]).unwrap_err().to_string();
        assert!(
            error.contains("own:all 1 (x) → 1 (y): give those"),
            "{error}"
        );
        assert!(lock.check_local(&[]).is_err());

        let package = |name: &str, version: &str| Package {
            name: name.into(),
            version: version.into(),
            arch: "all".into(),
        };
        let (a, own) = (package("a", "1"), package("own", "1"));
        lock.check_installed(&[a.clone(), own.clone()]).unwrap();
        for (installed, expected) in [
            (vec![a.clone()], "- own:all 1"),
            (vec![a.clone(), own.clone(), package("c", "1")], "+ c:all 1"),
            (vec![package("a", "2"), own], "a:all 1 → 2"),
        ] {
            let error = lock.check_installed(&installed).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
