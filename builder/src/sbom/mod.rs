//! What is in a commit, for those who must know what they ship: its packages with their versions, origins and licences.

mod cyclonedx;
mod licence;
mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use edge_ota::types::CommitChecksum;
use serde::Serialize;
use serde_json::Value;

use crate::dpkg::{self, Stanza};
use crate::repo::{Description, Entry, Repo};
use crate::rpmdb::{self, Installed};
use licence::Licences;

/// Ours comes from no distribution.
const OURS: &str = "edge-ota";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// SPDX 2.3, JSON
    Spdx,
    /// CycloneDX 1.5, JSON
    Cyclonedx,
    /// Licences and the packages under them, JSON
    Licences,
}

/// The packages of a commit.
#[derive(Debug)]
pub struct Contents {
    pub commit: CommitChecksum,
    pub description: Description,
    /// Sorted by name, then architecture.
    pub packages: Vec<Package>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// What a package URL calls the kind and its origin: `deb/debian`, `rpm`.
    pub kind: &'static str,
    pub name: String,
    pub arch: String,
    pub version: String,
    /// The source package and its version.
    pub source: String,
    pub maintainer: String,
    pub homepage: Option<String>,
    /// SPDX ids and, for what SPDX has no id of, `LicenseRef-…`; empty where its copyright file is not for machines.
    pub licences: BTreeSet<String>,
}

pub fn contents(repo: &Repo, commit: &CommitChecksum) -> Result<Contents> {
    let entries = repo.list(commit)?;
    let status = match entries.contains_key(dpkg::STATUS) {
        true => repo.read(commit, dpkg::STATUS)?,
        false => Vec::new(),
    };
    let status = String::from_utf8(status).context("dpkg's status is not UTF-8")?;
    let rpms = rpmdb::of_commit(repo, commit, &entries)?
        .packages
        .into_iter();
    let mut packages: Vec<Package> = rpms.map(of_rpm).collect();
    for stanza in dpkg::installed(&status) {
        if let Some(mut package) = package(&stanza) {
            package.licences = licences(repo, commit, &entries, &package.name)?.0;
            packages.push(package);
        }
    }
    packages.sort();
    Ok(Contents {
        commit: commit.clone(),
        description: repo.describe(commit)?,
        packages,
    })
}

pub fn document(contents: &Contents, format: Format) -> Value {
    match format {
        Format::Spdx => spdx::document(contents),
        Format::Cyclonedx => cyclonedx::document(contents),
        Format::Licences => by_licence(contents),
    }
}

/// Each licence with the packages that have parts under it.
fn by_licence(contents: &Contents) -> Value {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &contents.packages {
        if package.licences.is_empty() {
            found.entry(spdx::UNKNOWN).or_default().push(&package.name);
        }
        for licence in &package.licences {
            found.entry(licence).or_default().push(&package.name);
        }
    }
    serde_json::json!(found)
}

fn package(stanza: &Stanza) -> Option<Package> {
    let field = |name: &str| stanza.field(name).map(str::to_owned);
    let (name, version) = (field("Package")?, field("Version")?);
    // `name (version)`, each where it differs from the package's.
    let source = field("Source").unwrap_or_else(|| name.clone());
    let source = match source.split_once(" (") {
        Some((source, of)) => format!("{source} {}", of.trim_end_matches(')')),
        None => format!("{source} {version}"),
    };
    Some(Package {
        kind: "deb/debian",
        arch: field("Architecture")?,
        maintainer: field("Maintainer").unwrap_or_default(),
        homepage: field("Homepage"),
        licences: BTreeSet::new(),
        name,
        version,
        source,
    })
}

/// Fedora and its like write licences as SPDX does.
fn of_rpm(rpm: Installed) -> Package {
    Package {
        kind: "rpm",
        licences: licence::of_expression(&rpm.licence).0,
        name: rpm.name,
        arch: rpm.arch,
        version: rpm.version,
        source: rpm.source,
        maintainer: rpm.vendor,
        homepage: rpm.url,
    }
}

fn licences(
    repo: &Repo,
    commit: &CommitChecksum,
    entries: &BTreeMap<String, Entry>,
    package: &str,
) -> Result<Licences> {
    let path = format!("/usr/share/doc/{package}/copyright");
    if !entries.contains_key(&path) {
        return Ok(Licences::default());
    }
    let text = repo.read(commit, &path)?;
    Ok(licence::of_copyright(&String::from_utf8_lossy(&text)))
}

impl Package {
    /// A package URL (purl-spec, types `deb` and `rpm`: an RPM's epoch is no part of its version there).
    pub fn url(&self) -> String {
        let (name, arch) = (percent(&self.name), percent(&self.arch));
        let (epoch, version) = match self.version.split_once(':') {
            Some((epoch, version)) if self.kind == "rpm" => (Some(epoch), version),
            _ => (None, self.version.as_str()),
        };
        let version = percent(version);
        if self.name == OURS {
            return format!("pkg:generic/{name}@{version}");
        }
        let epoch = epoch.map_or(String::new(), |epoch| format!("&epoch={epoch}"));
        format!("pkg:{}/{name}@{version}?arch={arch}{epoch}", self.kind)
    }

    /// All of them hold, for one part or another.
    pub fn licence_expression(&self) -> Option<String> {
        let all: Vec<&str> = self.licences.iter().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join(" AND "))
    }
}

impl Contents {
    /// The same commit, the same time: RFC 3339.
    fn created(&self) -> String {
        let time = std::time::Duration::from_secs(self.description.timestamp);
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + time).to_string()
    }

    fn title(&self) -> String {
        format!("{} {}", self.description.board, self.description.version)
    }
}

fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_become_packages() {
        let stanza = "Package: libstdc++6\nStatus: install ok installed\nArchitecture: amd64\n\
                      Source: gcc-14 (14.2.0-19)\nVersion: 1:14.2+b1\nMaintainer: M <m@mirror.example>\n";
        let read = |text: &str| package(&dpkg::installed(text).next().unwrap()).unwrap();
        let package = read(stanza);
        assert_eq!(package.source, "gcc-14 14.2.0-19");
        assert_eq!(
            package.url(),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2%2Bb1?arch=amd64"
        );
        assert_eq!(package.licence_expression(), None);
        let rpm = of_rpm(Installed {
            name: "a".into(),
            version: "2:1-3".into(),
            arch: "x86_64".into(),
            source: "a-1-3.src.rpm".into(),
            vendor: String::new(),
            url: None,
            licence: "MIT".into(),
        });
        assert_eq!(rpm.url(), "pkg:rpm/a@1-3?arch=x86_64&epoch=2");
        let ours = stanza.replace("libstdc++6", OURS);
        assert_eq!(read(&ours).url(), "pkg:generic/edge-ota@1%3A14.2%2Bb1");
    }
}
