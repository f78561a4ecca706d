//! Packages that lie here as files, offered to apt as a repository, so that it resolves what they need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use edge_ota::cmd::Cmd;
use sha2::{Digest, Sha256};

use crate::interrupt::WorkDir;

/// A flat repository in the work folder.
pub struct Repository {
    pub dir: PathBuf,
    /// What the packages are called.
    pub names: Vec<String>,
    /// SHA-256 of each, sorted.
    pub sums: Vec<String>,
}

impl Repository {
    /// The line of apt's sources. Its files were named by the caller: there is nothing to sign.
    pub fn line(&self) -> String {
        format!("deb [trusted=yes] copy:{} ./", self.dir.display())
    }
}

/// In a folder `name` of the work folder; none where there are no files.
pub fn publish(debs: &[PathBuf], work: &WorkDir, name: &str) -> Result<Option<Repository>> {
    if debs.is_empty() {
        return Ok(None);
    }
    let mut repository = Repository {
        dir: work.sub(name)?,
        names: Vec::new(),
        sums: Vec::new(),
    };
    let mut index = String::new();
    for deb in debs {
        let entry =
            entry(deb, &repository.dir).with_context(|| format!("adding {}", deb.display()))?;
        index.push_str(&entry.stanza);
        repository.names.push(entry.name);
        repository.sums.push(entry.sum);
    }
    repository.sums.sort();
    let path = repository.dir.join("Packages");
    fs::write(&path, index).with_context(|| format!("writing {}", path.display()))?;
    Ok(Some(repository))
}

struct Entry {
    name: String,
    sum: String,
    stanza: String,
}

fn entry(deb: &Path, dir: &Path) -> Result<Entry> {
    let bytes = fs::read(deb)?;
    let sum: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let control = Cmd::new("dpkg-deb").arg("-f").arg(deb).text()?;
    let name = control
        .lines()
        .find_map(|line| line.strip_prefix("Package: "))
        .ok_or_else(|| anyhow!("it names no package"))?
        .to_owned();
    // A name without the characters that an address would have to escape.
    let file = format!("{name}-{sum}.deb");
    fs::write(dir.join(&file), &bytes)?;
    let stanza = format!(
        "{}\nFilename: ./{file}\nSize: {}\nSHA256: {sum}\n\n",
        control.trim_end(),
        bytes.len()
    );
    Ok(Entry { name, sum, stanza })
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
        assert_eq!(repository.names, ["own"]);
        let index = fs::read_to_string(repository.dir.join("Packages")).unwrap();
        assert!(
            index.starts_with("Package: own\n") && index.contains(&repository.sums[0]),
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
