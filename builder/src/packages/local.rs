//! Packages that lie here as files, offered to apt as a repository, so that it resolves what they need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;
use sha2::{Digest, Sha256};

use crate::dpkg::Stanza;
use crate::interrupt::WorkDir;
use crate::lock::Local;

/// A flat repository in the work folder.
pub struct Repository {
    pub dir: PathBuf,
    /// Sorted.
    pub packages: Vec<Local>,
}

impl Repository {
    /// The line of apt's sources. Its files were named by the caller: there is nothing to sign.
    pub fn line(&self) -> String {
        format!("deb [trusted=yes] copy:{} ./", self.dir.display())
    }

    pub fn names(&self) -> impl Iterator<Item = String> {
        self.packages.iter().map(|package| package.name.clone())
    }

    /// SHA-256 of each, sorted.
    pub fn sums(&self) -> Vec<String> {
        let sums = self.packages.iter().map(|package| package.sha256.clone());
        let mut sums: Vec<String> = sums.collect();
        sums.sort();
        sums
    }
}

/// In a folder `name` of the work folder; none where there are no files.
pub fn publish(debs: &[PathBuf], work: &WorkDir, name: &str) -> Result<Option<Repository>> {
    if debs.is_empty() {
        return Ok(None);
    }
    let mut repository = Repository {
        dir: work.sub(name)?,
        packages: Vec::new(),
    };
    let mut index = String::new();
    for deb in debs {
        let entry =
            entry(deb, &repository.dir).with_context(|| format!("adding {}", deb.display()))?;
        index.push_str(&entry.stanza);
        repository.packages.push(entry.package);
    }
    repository.packages.sort();
    let path = repository.dir.join("Packages");
    fs::write(&path, index).with_context(|| format!("writing {}", path.display()))?;
    Ok(Some(repository))
}

struct Entry {
    package: Local,
    stanza: String,
}

fn entry(deb: &Path, dir: &Path) -> Result<Entry> {
    let bytes = fs::read(deb)?;
    let sum: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let control = Cmd::new("dpkg-deb").arg("-f").arg(deb).text()?;
    let control = control.trim_end();
    let field = |name: &str| -> Result<String> {
        let found = Stanza::new(control).field(name);
        Ok(found
            .with_context(|| format!("it has no {name}"))?
            .to_owned())
    };
    let package = Local {
        name: field("Package")?,
        version: field("Version")?,
        arch: field("Architecture")?,
        size: u64::try_from(bytes.len())?,
        sha256: sum,
    };
    // A name without the characters that an address would have to escape.
    let file = format!("{}-{}.deb", package.name, package.sha256);
    fs::write(dir.join(&file), &bytes)?;
    let stanza = format!(
        "{control}\nFilename: ./{file}\nSize: {}\nSHA256: {}\n\n",
        package.size, package.sha256
    );
    Ok(Entry { package, stanza })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_becomes_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("p/DEBIAN");
        fs::create_dir_all(&tree).unwrap();
        let control = "Package: own\nVersion: 1\nArchitecture: all\nMaintainer: m <m@mirror.example>\nDescription: d\n";
        fs::write(tree.join("control"), control).unwrap();
        let deb = dir.path().join("own.deb");
        Cmd::new("dpkg-deb")
            .args(["--root-owner-group", "-b"])
            .arg(dir.path().join("p"))
            .arg(&deb)
            .run()
            .unwrap();
        let work = WorkDir::new_in(dir.path()).unwrap();
        let repository = publish(&[deb], &work, "local").unwrap().unwrap();
        let names: Vec<String> = repository.names().collect();
        assert_eq!(names, ["own"]);
        let index = fs::read_to_string(repository.dir.join("Packages")).unwrap();
        assert!(
            index.starts_with("Package: own\n") && index.contains(&repository.sums()[0]),
            "{index}"
        );
        assert!(publish(&[], &work, "none").unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_no_package_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::new_in(dir.path()).unwrap();
        let deb = dir.path().join("x.deb");
        fs::write(&deb, "no").unwrap();
        let Err(error) = publish(&[deb], &work, "local") else {
            panic!("taken")
        };
        assert!(format!("{error:#}").contains("x.deb"), "{error:#}");
    }
}
