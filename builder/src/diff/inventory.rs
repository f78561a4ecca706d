//! What a commit holds, in the words of those who review releases: read from its files.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_ota::board;
use edge_ota::types::CommitChecksum;

use crate::dpkg;
use crate::owners::Owners;
use crate::repo::{Description, Entry, Kind, Repo};
use crate::rpmdb;

/// Name and value of each thing of a kind.
pub type Facts = BTreeMap<String, String>;

/// In the order in which the later wins.
const SYSCTL_DIRS: [&str; 2] = ["/usr/lib/sysctl.d/", "/usr/etc/sysctl.d/"];
const UNIT_DIRS: [&str; 2] = ["/usr/lib/systemd/system/", "/usr/etc/systemd/system/"];

pub struct Inventory {
    pub description: Description,
    pub entries: BTreeMap<String, Entry>,
    pub owners: Owners,
    pub packages: Facts,
    pub kernel_options: Facts,
    pub kernel_arguments: Facts,
    /// Enabled ones, and what wants them.
    pub units: Facts,
    pub users: Facts,
    pub groups: Facts,
    pub sysctls: Facts,
}

impl Inventory {
    pub fn read(repo: &Repo, commit: &CommitChecksum) -> Result<Self> {
        let entries = repo.list(commit)?;
        let description = repo.describe(commit)?;
        let text = |path: &str| -> Result<String> {
            match entries.contains_key(path) {
                true => String::from_utf8(repo.read(commit, path)?)
                    .with_context(|| format!("{path} of commit {commit} is not UTF-8")),
                false => Ok(String::new()),
            }
        };
        let config = format!("/usr/lib/modules/{}/config", description.kernel);
        let mut settings = Vec::new();
        for (_, path) in sysctl_files(&entries) {
            settings.push(text(path)?);
        }
        let mut packages = dpkg::versions(&text(dpkg::STATUS)?);
        let rpms = rpmdb::of_commit(repo, commit, &entries)?
            .packages
            .into_iter();
        packages.extend(rpms.map(|rpm| (rpm.name, rpm.version)));
        Ok(Self {
            packages,
            owners: Owners::read(repo, commit, &entries)?,
            kernel_options: kernel_options(&text(&config)?),
            kernel_arguments: kernel_arguments(&repo.read(commit, board::PATH)?)?,
            units: units(&entries),
            users: numbers(&text("/usr/etc/passwd")?),
            groups: numbers(&text("/usr/etc/group")?),
            sysctls: sysctls(&settings),
            description,
            entries,
        })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let files = self.entries.values().filter(|e| e.kind == Kind::File);
        files.map(|entry| entry.size).sum()
    }
}

fn kernel_options(config: &str) -> Facts {
    let lines = config.lines().filter(|line| line.starts_with("CONFIG_"));
    lines.filter_map(pair).collect()
}

fn kernel_arguments(board: &[u8]) -> Result<Facts> {
    let board = board::parse(board).with_context(|| format!("parsing {}", board::PATH))?;
    Ok(board
        .kargs
        .into_iter()
        .map(|arg| (arg, String::new()))
        .collect())
}

/// `…/multi-user.target.wants/ssh.service` is `ssh.service`, wanted by `multi-user.target`.
fn units(entries: &BTreeMap<String, Entry>) -> Facts {
    let mut units: Facts = BTreeMap::new();
    for path in entries.keys() {
        let inside = UNIT_DIRS.iter().find_map(|dir| path.strip_prefix(dir));
        let Some((folder, unit)) = inside.and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        let by = ["wants", "requires"]
            .iter()
            .find_map(|word| folder.strip_suffix(&format!(".{word}")));
        if let Some(by) = by.filter(|_| !unit.contains('/')) {
            let all = units.entry(unit.to_owned()).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(by);
        }
    }
    units
}

/// Name to number, of passwd or group.
fn numbers(text: &str) -> Facts {
    let number = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.to_owned()))
    };
    text.lines().filter_map(number).collect()
}

/// Of two files with one name that of the later folder counts.
fn sysctl_files(entries: &BTreeMap<String, Entry>) -> BTreeMap<&str, &str> {
    let mut files = BTreeMap::new();
    for dir in SYSCTL_DIRS {
        for path in entries.keys().filter(|path| path.ends_with(".conf")) {
            if let Some(name) = path.strip_prefix(dir) {
                files.insert(name, path.as_str());
            }
        }
    }
    files
}

/// Texts in the order in which the later wins.
fn sysctls(texts: &[String]) -> Facts {
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(pair)
        .map(|(name, value)| (name.trim_start_matches('-').replace('/', "."), value))
        .collect()
}

fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        let pairs = pairs.iter();
        pairs
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn texts_become_facts() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1\n";
        assert_eq!(dpkg::versions(status), facts(&[("a", "1")]));
        let config = "# CONFIG_B is not set\nCONFIG_A=y\nCONFIG_S=\"x\"\n";
        assert_eq!(
            kernel_options(config),
            facts(&[("CONFIG_A", "y"), ("CONFIG_S", "\"x\"")])
        );
        assert_eq!(
            numbers("root:x:0:0::/:/bin/sh\n\n"),
            facts(&[("root", "0")])
        );
        let settings = ["a.b = 1\n# c = 2\n".to_owned(), "-a/b=3\n;d=4\n".to_owned()];
        assert_eq!(sysctls(&settings), facts(&[("a.b", "3")]));
    }

    #[test]
    fn paths_become_facts() {
        let entry = Entry {
            kind: Kind::Link,
            mode: 0o777,
            uid: 0,
            gid: 0,
            size: 0,
            checksum: None,
        };
        let paths = [
            "/usr/etc/systemd/system/a.target.wants/u.service",
            "/usr/lib/systemd/system/b.target.requires/u.service",
            "/usr/lib/systemd/system/u.service.d/x.conf",
            "/usr/lib/sysctl.d/10-a.conf",
            "/usr/lib/sysctl.d/20-b.conf",
            "/usr/etc/sysctl.d/10-a.conf",
        ];
        let entries = paths.map(|path| (path.to_owned(), entry)).into();
        assert_eq!(
            units(&entries),
            facts(&[("u.service", "a.target, b.target")])
        );
        let files = sysctl_files(&entries);
        assert_eq!(files["10-a.conf"], "/usr/etc/sysctl.d/10-a.conf");
        assert_eq!(files.len(), 2);
    }
}
