//! The name of a layer in the cache: what decides its content, and nothing else. Mirrors do not: they
//! serve the same bytes. Dates do not.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::sources::Source;

/// Rises when the same inputs give another layer.
const FORMAT: u32 = 1;

pub struct Inputs<'a> {
    pub arch: &'a str,
    pub packages: &'a BTreeSet<String>,
    pub recommends: bool,
    /// What dpkg unpacks.
    pub dpkg: &'a [String],
    pub sources: &'a [Source],
    /// One for each source.
    pub releases: &'a [Vec<u8>],
    /// SHA-256 of packages that are named by content: files of this machine, and those of a lock.
    pub sums: &'a [String],
    pub scripts: [&'a str; 2],
}

/// 64 hex digits.
pub fn of(inputs: &Inputs) -> Result<String> {
    let mut text = format!(
        "format {FORMAT}\narch {}\nscript {}\n",
        inputs.arch,
        hex(inputs.scripts.concat().as_bytes())
    );
    let mut line = |what: &str, value: &str| {
        text.push_str(&format!("{what} {value}\n"));
    };
    inputs
        .packages
        .iter()
        .for_each(|name| line("package", name));
    line("recommends", &inputs.recommends.to_string());
    inputs.dpkg.iter().for_each(|option| line("dpkg", option));
    for (source, release) in inputs.sources.iter().zip(inputs.releases) {
        let keyring = fs::read(&source.signed_by)
            .with_context(|| format!("reading keyring {}", source.signed_by.display()))?;
        let components = source.components.join(" ");
        line(
            "source",
            &format!(
                "{} {components} {} {}",
                source.suite,
                hex(release),
                hex(&keyring)
            ),
        );
    }
    inputs.sums.iter().for_each(|sum| line("local", sum));
    Ok(hex(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn content_decides_and_mirrors_do_not() {
        let keyring = tempfile::NamedTempFile::new().unwrap();
        let source = |uri: &str, component: &str| Source {
            uri: uri.into(),
            suite: "s".into(),
            components: vec![component.into()],
            signed_by: keyring.path().into(),
            file: PathBuf::from("t.yaml"),
        };
        let key = |packages: &[&str], source: Source, release: &str, script: &str| {
            of(&Inputs {
                arch: "amd64",
                packages: &packages.iter().map(|p| (*p).to_owned()).collect(),
                recommends: false,
                dpkg: &[],
                sources: &[source],
                releases: &[release.into()],
                sums: &[],
                scripts: [script, ""],
            })
            .unwrap()
        };
        let first = key(&["a", "b"], source("u", "main"), "r", "s");
        assert_eq!(first, key(&["b", "a"], source("other", "main"), "r", "s"));
        let others = [
            key(&["a"], source("u", "main"), "r", "s"),
            key(&["a", "b"], source("u", "extra"), "r", "s"),
            key(&["a", "b"], source("u", "main"), "r2", "s"),
            key(&["a", "b"], source("u", "main"), "r", "s2"),
        ];
        for other in others {
            assert_ne!(first, other);
        }
    }
}
