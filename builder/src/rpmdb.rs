//! RPM's database in a laid out tree, read by rpm.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;
use edge_ota::types::CommitChecksum;
use tempfile::TempDir;

use crate::repo::{Entry, Repo};

/// Its folder in the tree.
pub const DIR: &str = "usr/share/rpm";
pub const FILE: &str = "/usr/share/rpm/rpmdb.sqlite";

const PACKAGE: &str = "%{name}\\t%|epoch?{%{epoch}:}:{}|%{version}-%{release}\\t%{arch}\\t%{sourcerpm}\\t%{vendor}\\t%{url}\\t%{license}\\n";
const FILES: &str = "[%{=name}\\t%{filenames}\\n]";

/// What rpm prints where a package says nothing.
const NOTHING: &str = "(none)";
/// The names under which rpm keeps keys.
const KEY: &str = "gpg-pubkey";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// The file name of the source package.
    pub source: String,
    pub vendor: String,
    pub url: Option<String>,
    pub licence: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    /// Sorted.
    pub packages: Vec<Installed>,
    /// Path to package.
    pub files: BTreeMap<String, String>,
}

/// The database in a temporary folder.
pub struct Opened(TempDir);

/// Of a commit; none where its tree is not made of RPMs.
pub fn open(
    repo: &Repo,
    commit: &CommitChecksum,
    entries: &BTreeMap<String, Entry>,
) -> Result<Option<Opened>> {
    match entries.contains_key(FILE) {
        true => opened(Some(repo.read(commit, FILE)?)),
        false => Ok(None),
    }
}

fn opened(file: Option<Vec<u8>>) -> Result<Option<Opened>> {
    let Some(bytes) = file else {
        return Ok(None);
    };
    let dir = tempfile::tempdir().context("making a temporary folder")?;
    fs::write(dir.path().join("rpmdb.sqlite"), bytes)?;
    Ok(Some(Opened(dir)))
}

/// An empty one where the tree is not made of RPMs.
pub fn of_commit(
    repo: &Repo,
    commit: &CommitChecksum,
    entries: &BTreeMap<String, Entry>,
) -> Result<Database> {
    let opened = open(repo, commit, entries)?;
    database(opened).with_context(|| format!("reading {FILE} of commit {commit}"))
}

/// As [`of_commit`], from the bytes of [`FILE`].
pub fn of_file(file: Option<Vec<u8>>) -> Result<Database> {
    database(opened(file)?).with_context(|| format!("reading {FILE}"))
}

fn database(opened: Option<Opened>) -> Result<Database> {
    match opened {
        None => Ok(Database::default()),
        Some(opened) => read(opened.0.path()),
    }
}

impl Opened {
    /// As rpm prints it, the newest entry first.
    pub fn changelog(&self, package: &str) -> Result<String> {
        let rpm = Cmd::new("rpm").arg("--dbpath").arg(self.0.path());
        rpm.args(["-q", "--changelog", package])
            .env("LC_ALL", "C.UTF-8")
            .text()
    }
}

/// Packages and the paths of each in a root file system; none where it has no such database.
pub fn paths_of(root: &Path) -> Result<Vec<(String, String)>> {
    let dir = root.join(DIR);
    match dir.join("rpmdb.sqlite").exists() {
        true => Ok(pairs(&query(&dir, FILES)?)),
        false => Ok(Vec::new()),
    }
}

fn read(dir: &Path) -> Result<Database> {
    let text = query(dir, PACKAGE)?;
    let mut packages = Vec::new();
    for line in text.lines() {
        let package = package(line).with_context(|| format!("rpm printed '{line}'"))?;
        packages.extend(Some(package).filter(|package| package.name != KEY));
    }
    packages.sort();
    Ok(Database {
        packages,
        files: pairs(&query(dir, FILES)?)
            .into_iter()
            .map(|(package, path)| (path, package))
            .collect(),
    })
}

fn query(dir: &Path, format: &str) -> Result<String> {
    Cmd::new("rpm")
        .arg("--dbpath")
        .arg(dir)
        .args(["-qa", "--queryformat", format])
        .env("LC_ALL", "C.UTF-8")
        .text()
}

fn package(line: &str) -> Option<Installed> {
    let mut fields = line.split('\t').map(|field| match field {
        NOTHING => "",
        _ => field,
    });
    let mut field = || Some(fields.next()?.to_owned());
    Some(Installed {
        name: field()?,
        version: field()?,
        arch: field()?,
        source: field()?,
        vendor: field()?,
        url: field().filter(|url| !url.is_empty()),
        licence: field()?,
    })
}

/// Package and path.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (package, path) = line.split_once('\t')?;
        Some((package.to_owned(), path.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rpm_prints() {
        let found = package("a\t1:2-3\tx86_64\ta-2-3.src.rpm\t(none)\t(none)\tMIT").unwrap();
        assert_eq!(
            (found.version.as_str(), found.vendor.as_str()),
            ("1:2-3", "")
        );
        assert_eq!((found.url, found.licence.as_str()), (None, "MIT"));
        assert_eq!(package("a\t1"), None);
        let pairs = pairs("a\t/usr/bin/a\nb\t/etc/b c\n(none)\n");
        assert_eq!(pairs.len(), 2);
        assert_eq!(pairs[1], ("b".to_owned(), "/etc/b c".to_owned()));
    }
}
