//! Package names to a root file system, cached by content.

mod apt;
mod explain;
mod firmware;
mod key;
pub mod loaders;
mod local;
pub mod mirrors;
mod pool;
mod resolve;
mod rpm;
mod sources;
mod unpack;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::board::Board;
use crate::interrupt::{self, WorkDir};
use crate::lock::Lock;
use crate::progress::Progress;
use crate::treefile::Treefile;

use mirrors::MirrorOptions;

/// What to install, from where, and where to keep it.
pub struct Request<'a> {
    pub treefile: &'a Treefile,
    pub board: &'a Board,
    /// Packages that no mirror has, the updater's own; they are installed too.
    pub local_debs: &'a [PathBuf],
    pub mirrors: &'a MirrorOptions,
    /// These packages and no others.
    pub lock: Option<&'a Lock>,
    pub cache: &'a Path,
    pub work: &'a WorkDir,
}

/// An installed root file system, packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// A zstd-compressed tar with owners, modes, extended attributes and hard links.
    pub path: PathBuf,
    /// SHA-256 of everything that decides its content.
    pub key: String,
    /// Sorted by name.
    pub packages: Vec<Package>,
    pub from_cache: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub arch: String,
}

/// Fills the empty folder `root` from the cached layer, or installs a new one.
pub fn install(request: &Request, root: &Path, progress: &Progress) -> Result<Layer> {
    let prepared = prepare(request, progress)?;
    let layer = match cached(&request.cache.join("packages"), prepared.key())? {
        Some(layer) => {
            progress
                .step("installing packages")
                .done_with("from the cache");
            unpack::unpack(&layer, root, progress)?;
            layer
        }
        None => build(request, &prepared, root, progress)?,
    };
    check(request, &layer)?;
    Ok(layer)
}

/// As [`install`], whatever the cache holds; the new layer replaces the cached one.
pub fn install_afresh(request: &Request, root: &Path, progress: &Progress) -> Result<Layer> {
    let layer = build(request, &prepare(request, progress)?, root, progress)?;
    check(request, &layer)?;
    Ok(layer)
}

/// Fetches the packages of a lock into the cache, for composes without a network.
pub fn download(request: &Request, lock: &Lock, progress: &Progress) -> Result<()> {
    if request.treefile.rpms.is_some() {
        // To know their sums is to have fetched them.
        return Ok(());
    }
    let sources = sources::collect(request.treefile, request.mirrors)?;
    pool::fetch_all(request, lock, &sources, progress).map(drop)
}

fn check(request: &Request, layer: &Layer) -> Result<()> {
    check_excluded(request.treefile, layer)?;
    match request.lock {
        Some(lock) => lock.check_installed(&layer.packages),
        None => Ok(()),
    }
}

fn check_excluded(treefile: &Treefile, layer: &Layer) -> Result<()> {
    let excluded = &treefile.exclude_packages;
    let installed = layer.packages.iter().map(|package| &package.name);
    let found: Vec<&str> = installed
        .filter(|name| excluded.contains(name))
        .map(String::as_str)
        .collect();
    if !found.is_empty() {
        bail!(
            "{}: exclude-packages: other packages need {}",
            treefile.path.display(),
            found.join(", ")
        );
    }
    Ok(())
}

/// Everything that is known before anything is installed.
enum Prepared {
    Debian(apt::Prepared),
    Rpms(rpm::Prepared),
}

impl Prepared {
    fn key(&self) -> &str {
        match self {
            Self::Debian(prepared) => &prepared.key,
            Self::Rpms(prepared) => &prepared.key,
        }
    }
}

fn prepare(request: &Request, progress: &Progress) -> Result<Prepared> {
    if !rustix::process::geteuid().is_root() {
        bail!("installing packages needs root: run edge-build as root");
    }
    match &request.treefile.rpms {
        Some(rpms) => Ok(Prepared::Rpms(rpm::prepare(request, rpms, progress)?)),
        None => Ok(Prepared::Debian(apt::prepare(request, progress)?)),
    }
}

/// The lock of what a compose would install now.
pub fn resolve(request: &Request, progress: &Progress) -> Result<Lock> {
    match &request.treefile.rpms {
        Some(rpms) => rpm::resolve(request, rpms, progress),
        None => resolve::resolve(request),
    }
}

/// All that a child prints, as text.
fn text(mut from: std::process::ChildStdout) -> Result<String> {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut from, &mut text)?;
    Ok(text)
}

fn cached(dir: &Path, key: &str) -> Result<Option<Layer>> {
    let path = layer_path(dir, key);
    if !path.exists() {
        return Ok(None);
    }
    let list = list_path(dir, key);
    let text = fs::read(&list).with_context(|| format!("reading {}", list.display()))?;
    let packages =
        serde_json::from_slice(&text).with_context(|| format!("reading {}", list.display()))?;
    Ok(Some(Layer {
        path,
        key: key.to_owned(),
        packages,
        from_cache: true,
    }))
}

/// The layer appears under its name when it is whole, and after its package list.
fn build(
    request: &Request,
    prepared: &Prepared,
    root: &Path,
    progress: &Progress,
) -> Result<Layer> {
    let dir = request.cache.join("packages");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let new = new_file(&dir)?;
    let mut step = progress.step("installing packages");
    let packages = match prepared {
        Prepared::Debian(it) => apt::install(request, it, root, new.path(), &mut step)?,
        Prepared::Rpms(it) => rpm::install(request, it, root, new.path(), &mut step)?,
    };
    interrupt::check()?;
    durable::write(
        &list_path(&dir, prepared.key()),
        &serde_json::to_vec_pretty(&packages)?,
    )?;
    let path = layer_path(&dir, prepared.key());
    keep(new, &path).with_context(|| format!("storing {}", path.display()))?;
    step.done_with(&format!("{} packages", packages.len()));
    Ok(Layer {
        path,
        key: prepared.key().to_owned(),
        packages,
        from_cache: false,
    })
}

fn new_file(dir: &Path) -> Result<NamedTempFile> {
    let made = tempfile::Builder::new()
        .prefix(".new-")
        .suffix(".tar.zst")
        .tempfile_in(dir);
    made.with_context(|| format!("making a file in {}", dir.display()))
}

fn keep(new: NamedTempFile, path: &Path) -> Result<()> {
    fs::File::open(new.path())?.sync_all()?;
    new.into_temp_path().persist(path)?;
    durable::sync_dir(path.parent().context("it has no folder")?)
}

fn layer_path(dir: &Path, key: &str) -> PathBuf {
    dir.join(format!("{key}.tar.zst"))
}

fn list_path(dir: &Path, key: &str) -> PathBuf {
    dir.join(format!("{key}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_cached_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cached(dir.path(), "k").unwrap(), None);
        let packages = vec![Package {
            name: "a".into(),
            version: "1".into(),
            arch: "all".into(),
        }];
        fs::write(
            list_path(dir.path(), "k"),
            serde_json::to_vec(&packages).unwrap(),
        )
        .unwrap();
        assert_eq!(cached(dir.path(), "k").unwrap(), None);
        let new = new_file(dir.path()).unwrap();
        keep(new, &layer_path(dir.path(), "k")).unwrap();
        assert_eq!(
            cached(dir.path(), "k").unwrap().map(|l| l.packages),
            Some(packages)
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
