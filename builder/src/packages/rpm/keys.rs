//! What packages are signed with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

use crate::packages::sources;
use crate::treefile::rpms::Repository;

/// A key without a scheme is a file beside the `.repo` file.
pub fn key_urls(repo: &Repository, value: &str) -> Vec<String> {
    let dir = repo.file.parent().unwrap_or(Path::new(""));
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let url = |word: &str| match word.contains("://") {
        true => word.to_owned(),
        false => format!("file://{}", dir.join(word).display()),
    };
    value
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(url)
        .collect()
}

/// A database that holds the keys of the repositories and nothing else.
pub fn import_keys<'a>(dir: &Path, repos: impl Iterator<Item = &'a Repository>) -> Result<PathBuf> {
    let keys = dir.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("making {}", keys.display()))?;
    for repo in repos {
        for url in key_urls(repo, repo.option("gpgkey").unwrap_or_default()) {
            let key = match url.strip_prefix("file://") {
                Some(path) => fs::read(path).with_context(|| format!("reading {path}")),
                None => sources::fetch_url(&url)
                    .and_then(|key| key.with_context(|| format!("there is no key {url}"))),
            };
            let file = dir.join("key.asc");
            let import = key.and_then(|key| {
                fs::write(&file, key)?;
                Cmd::new("rpmkeys")
                    .arg("--dbpath")
                    .arg(&keys)
                    .arg("--import")
                    .arg(&file)
                    .run()
            });
            import.with_context(|| {
                format!(
                    "{}: repository '{}': gpgkey {url}",
                    repo.file.display(),
                    repo.id
                )
            })?;
        }
    }
    Ok(keys)
}

pub fn check_signatures(keys: &Path, files: &[PathBuf]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let checked = Cmd::new("rpmkeys")
        .arg("--dbpath")
        .arg(keys)
        .args(["--define=_pkgverify_level all", "--checksig"])
        .args(files)
        .env("LC_ALL", "C.UTF-8")
        .complete()?;
    if checked.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&checked.stdout);
    let bad = text
        .lines()
        .find(|line| !line.ends_with(" OK") || line.contains("NOT OK"));
    let name = bad
        .and_then(|line| line.split(": ").next())
        .and_then(|path| path.rsplit('/').next());
    bail!(not_signed(name))
}

pub fn not_signed(package: Option<&str>) -> String {
    format!(
        "{} is not signed by a key of its repository: check gpgkey in the .repo file, or ask who made it",
        package.unwrap_or("a package")
    )
}
