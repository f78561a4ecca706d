//! The packages of a lock: kept in the cache by content, offered to apt as the only repository there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use sha2::{Digest, Sha256};

use super::Request;
use super::local::{self, Repository};
use super::sources::{self, Source};
use crate::interrupt;
use crate::lock::{Lock, Locked};
use crate::progress::Progress;

/// Publishes the packages of a lock under the name of `suite`, by which mmdebstrap finds the essential packages.
pub fn publish(
    request: &Request,
    lock: &Lock,
    sources: &[Source],
    suite: &str,
    progress: &Progress,
) -> Result<Repository> {
    let files = fetch_all(request, lock, sources, progress)?;
    let files: Vec<PathBuf> = files.into_iter().collect();
    let repository = local::publish(&files, request.work, "locked")?;
    let repository = repository.context("the lock holds no packages")?;
    write_release(&repository.dir, suite)?;
    Ok(repository)
}

/// The files of a lock's packages in the cache, after those that it lacked were fetched.
pub fn fetch_all(
    request: &Request,
    lock: &Lock,
    sources: &[Source],
    progress: &Progress,
) -> Result<BTreeSet<PathBuf>> {
    let dir = request.cache.join("debs");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let all: Vec<&Locked> = lock.packages.iter().chain(&lock.firmware).collect();
    let step = progress.count("fetching locked packages", all.len() as u64);
    let mut files = BTreeSet::new();
    let mut fetched = 0;
    for package in all {
        interrupt::check()?;
        let path = dir.join(format!("{}.deb", package.sha256));
        if !path.exists() {
            fetch(package, sources, &path)
                .with_context(|| format!("locked package {} {}", package.name, package.version))?;
            fetched += 1;
        }
        files.insert(path);
        step.advance(1);
    }
    step.done_with(&format!("{fetched} of {}", files.len()));
    Ok(files)
}

/// From the first mirror that has these bytes.
fn fetch(package: &Locked, sources: &[Source], to: &Path) -> Result<()> {
    let mut tried = BTreeSet::new();
    for source in sources {
        if !tried.insert(&source.uri) {
            continue;
        }
        let url = format!("{}/{}", source.uri, package.path);
        if let Some(bytes) = sources::fetch_url(&url)? {
            let digest = Sha256::digest(&bytes);
            let sum: String = digest.iter().map(|b| format!("{b:02x}")).collect();
            if sum == package.sha256 {
                return durable::write(to, &bytes);
            }
        }
    }
    let mirrors: Vec<&str> = tried.iter().map(|uri| uri.as_str()).collect();
    bail!(
        "no mirror has {} with SHA-256 {} any more ({}): keep the cache, use a snapshot mirror, or update the lock",
        package.path,
        package.sha256,
        mirrors.join(", ")
    )
}

fn write_release(dir: &Path, suite: &str) -> Result<()> {
    let index = dir.join("Packages");
    let bytes = fs::read(&index).with_context(|| format!("reading {}", index.display()))?;
    let digest = Sha256::digest(&bytes);
    let sum: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    let text = format!(
        "Suite: {suite}\nCodename: {suite}\nSHA256:\n {sum} {} Packages\n",
        bytes.len()
    );
    let path = dir.join("Release");
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
