//! Package names to a root file system, cached by content.

mod apt;
mod explain;
mod firmware;
mod key;
mod local;
pub mod mirrors;
mod pool;
mod resolve;
mod sources;
mod unpack;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::board::Board;
use crate::foreign;
use crate::interrupt::{self, WorkDir};
use crate::lock::Lock;
use crate::progress::Progress;
use crate::treefile::Treefile;

use mirrors::MirrorOptions;
pub use resolve::resolve;

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
    let layer = match cached(&request.cache.join("packages"), &prepared.key)? {
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
struct Prepared {
    packages: BTreeSet<String>,
    /// mmdebstrap's word for where it begins.
    suite: String,
    /// Of apt's sources.
    lines: Vec<String>,
    /// The packages' programs run under emulation.
    emulated: bool,
    scripts: Scripts,
    key: String,
}

/// What is done to the root file system before packages are installed, and after.
struct Scripts {
    before: String,
    after: String,
}

impl Scripts {
    fn new(board: &Board, emulated: bool) -> Self {
        let (enter, leave) = match emulated {
            true => (foreign::ENTER, foreign::LEAVE),
            false => ("", ""),
        };
        Self {
            before: format!("{enter}{}", firmware::fetch(board)),
            after: format!("{leave}{}", firmware::finish(board)),
        }
    }
}

fn prepare(request: &Request, progress: &Progress) -> Result<Prepared> {
    if !rustix::process::geteuid().is_root() {
        bail!("installing packages needs root: run edge-build as root");
    }
    let emulated = foreign::is_emulated(Path::new("/"), &request.board.arch)?;
    let step = progress.step("reading package sources");
    let sources = sources::collect(request.treefile, request.mirrors)?;
    let suite = sources
        .first()
        .map_or("trixie", |source| source.suite.as_str());
    let local = local::publish(request.local_debs, request.work, "local")?;
    let packages = wanted(request, local.as_ref());
    let mut sums: Vec<String> = local.iter().flat_map(local::Repository::sums).collect();
    let mut lines: Vec<String> = local.iter().map(local::Repository::line).collect();
    let mut signed: &[sources::Source] = &[];
    let mut releases = Vec::new();
    match request.lock {
        None => {
            releases = sources::fetch_releases(&sources)?;
            lines.splice(0..0, sources.iter().map(sources::Source::line));
            signed = &sources;
            step.done();
        }
        Some(lock) => {
            step.done();
            lock.check_local(local.as_ref().map_or(&[], |l| &l.packages))?;
            let pool = pool::publish(request, lock, &sources, suite, progress)?;
            sums.extend(pool.sums());
            lines.insert(0, pool.line());
        }
    }
    let scripts = Scripts::new(request.board, emulated);
    let key = key::of(&key::Inputs {
        arch: &request.board.arch.debian,
        packages: &packages,
        recommends: request.treefile.recommends,
        dpkg: &apt::dpkg_options(request.treefile),
        sources: signed,
        releases: &releases,
        sums: &sums,
        scripts: [&scripts.before, &scripts.after],
    })?;
    Ok(Prepared {
        packages,
        suite: suite.to_owned(),
        lines,
        emulated,
        scripts,
        key,
    })
}

/// What is asked for by name: apt adds what that needs.
fn wanted(request: &Request, local: Option<&local::Repository>) -> BTreeSet<String> {
    let mut packages = request.treefile.packages.clone();
    packages.insert(request.board.kernel.clone());
    packages.extend(local.into_iter().flat_map(local::Repository::names));
    packages
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
    let packages = apt::install(request, prepared, root, new.path(), &mut step)?;
    interrupt::check()?;
    durable::write(
        &list_path(&dir, &prepared.key),
        &serde_json::to_vec_pretty(&packages)?,
    )?;
    let path = layer_path(&dir, &prepared.key);
    keep(new, &path).with_context(|| format!("storing {}", path.display()))?;
    step.done_with(&format!("{} packages", packages.len()));
    Ok(Layer {
        path,
        key: prepared.key.clone(),
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
