//! What is in a commit, for those who must know what they ship: its packages with their versions, origins and licences.

mod cyclonedx;
mod licence;
mod spdx;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::types::CommitChecksum;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::dpkg::{self, Stanza};
use crate::repo::{Description, Kind, Repo};
use crate::rpmdb::{self, Installed};
use crate::tree::rooted;
use crate::treefile::Metadata;

/// Ours comes from no distribution.
const OURS: &str = "edge-ota";

/// Of a commit's metadata.
const KEYS: [(Format, &str); 2] = [
    (Format::Spdx, "edge-ota.sbom.spdx.sha256"),
    (Format::Cyclonedx, "edge-ota.sbom.cyclonedx.sha256"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// SPDX 2.3, JSON
    Spdx,
    /// CycloneDX 1.5, JSON
    Cyclonedx,
    /// Licences and the packages under them, JSON
    Licences,
}

/// The packages of a tree. Nothing of it depends on the commit, which names the documents by their hashes.
#[derive(Debug)]
pub struct Contents {
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

/// Of a commit.
pub fn contents(repo: &Repo, commit: &CommitChecksum) -> Result<Contents> {
    let entries = repo.list(commit)?;
    let is_file = |path: &str| entries.get(path).is_some_and(|e| e.kind == Kind::File);
    let read = |path: &str| match is_file(path) {
        true => repo.read(commit, path).map(Some),
        false => Ok(None),
    };
    contents_by(repo.describe(commit)?, read)
}

/// Of a laid out folder.
pub fn contents_of_tree(root: &Path, description: &Description) -> Result<Contents> {
    let read = |path: &str| {
        let found = rooted::resolve(root, Path::new(path))?;
        // Links are not followed in a commit either.
        let file = found.filter(|found| found.links.is_empty());
        let file = file.map(|found| root.join(found.path));
        file.filter(|file| file.is_file())
            .map(|file| fs::read(&file).with_context(|| format!("reading {}", file.display())))
            .transpose()
    };
    contents_by(description.clone(), read)
}

fn contents_by(
    description: Description,
    read: impl Fn(&str) -> Result<Option<Vec<u8>>>,
) -> Result<Contents> {
    let rpms = rpmdb::of_file(read(rpmdb::FILE)?)?;
    let status = match read(dpkg::STATUS)? {
        None if rpms.packages.is_empty() => bail!("the tree has no list of its packages"),
        status => status.unwrap_or_default(),
    };
    let status = String::from_utf8(status).context("dpkg's status is not UTF-8")?;
    let mut packages: Vec<Package> = rpms.packages.into_iter().map(of_rpm).collect();
    for stanza in dpkg::installed(&status) {
        if let Some(mut package) = package(&stanza) {
            let copyright = read(&format!("/usr/share/doc/{}/copyright", package.name))?;
            let copyright = copyright.unwrap_or_default();
            package.licences = licence::of_copyright(&String::from_utf8_lossy(&copyright)).0;
            packages.push(package);
        }
    }
    packages.sort();
    Ok(Contents {
        description,
        packages,
    })
}

/// As text, with a line's end.
pub fn document(contents: &Contents, format: Format) -> Result<String> {
    let document = match format {
        Format::Spdx => spdx::document(contents),
        Format::Cyclonedx => cyclonedx::document(contents),
        Format::Licences => by_licence(contents),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Names the documents of a tree in the metadata of its commit.
pub fn hashes(contents: &Contents) -> Result<BTreeMap<String, Metadata>> {
    let hash = |(format, key): &(Format, &str)| {
        let text = document(contents, *format)?;
        Ok(((*key).to_owned(), Metadata::Text(sha256(text.as_bytes()))))
    };
    KEYS.iter().map(hash).collect()
}

/// A document must be the one that the commit names, if it names one.
pub fn check(repo: &Repo, commit: &CommitChecksum, format: Format, document: &str) -> Result<()> {
    let Some((_, key)) = KEYS.iter().find(|(named, _)| *named == format) else {
        return Ok(());
    };
    match repo.text(commit, key)? {
        Some(hash) if hash != sha256(document.as_bytes()) => bail!(
            "the document is not the one that commit {} names ({key} {hash}): use the edge-build that composed it, or --anew",
            commit.short()
        ),
        _ => Ok(()),
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
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

    /// A name that another document has not.
    fn id(&self) -> String {
        let packages = serde_json::json!(self.packages);
        sha256(format!("{}\n{}\n{packages}", self.title(), self.created()).as_bytes())
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
