//! The RPMs that a tree is made of, in the cache by content.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::dnf::Dnf;
use super::file::{Rpm, describe, kept, texts};
use super::rpm_board;
use crate::board;
use crate::interrupt;
use crate::lock::{Lock, Locked};
use crate::packages::Request;
use crate::progress::Step;
use crate::tree::rooted;
use crate::treefile::rpms::{Repository, Rpms};

pub struct Found {
    pub packages: Vec<Rpm>,
    pub firmware: Vec<Rpm>,
}

/// What the repositories have now, in the cache by content; each package's signature is checked.
pub fn fetch(request: &Request, rpms: &Rpms, step: &mut Step) -> Result<Found> {
    let board = rpm_board(request)?;
    let dnf = Dnf::new(request, rpms, rpms.repos.iter())?;
    let mut wanted: BTreeSet<&str> = request
        .treefile
        .packages
        .iter()
        .map(String::as_str)
        .collect();
    wanted.extend(board.kernel.iter().map(String::as_str));
    wanted.extend(rpms.packages_of.values().flatten().map(String::as_str));
    let local = texts(request.local_debs)?;
    let wanted: Vec<&str> = wanted.into_iter().chain(local).collect();
    let packages = dnf.install(&wanted, step)?;
    interrupt::check()?;
    let names = board::unpacked(&board.firmware, board.bios.as_ref());
    let firmware = match names.is_empty() {
        true => Vec::new(),
        false => dnf.download(&names, step)?,
    };
    Ok(Found { packages, firmware })
}

/// The files of a lock: from the cache, else from the repositories by their exact versions.
pub fn fetch_locked(request: &Request, rpms: &Rpms, lock: &Lock, step: &mut Step) -> Result<Found> {
    let all = || lock.packages.iter().chain(&lock.firmware);
    let missing: Vec<&Locked> = all()
        .filter(|l| !kept(request, &l.sha256).exists())
        .collect();
    if !missing.is_empty() {
        let repos = rpms.repos.iter().chain(&rpms.lockfile_repos);
        let names: Vec<String> = missing
            .iter()
            .map(|l| format!("{}-{}.{}", l.name, l.version, l.arch))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Dnf::new(request, rpms, repos)?.download(&names, step)?;
    }
    if let Some(gone) = all().find(|l| !kept(request, &l.sha256).exists()) {
        bail!(
            "no repository has {} {} with SHA-256 {} any more: keep the cache, or update the lock",
            gone.name,
            gone.version,
            gone.sha256
        );
    }
    let files = |all: &[Locked]| -> Result<Vec<Rpm>> {
        describe(
            &all.iter()
                .map(|l| kept(request, &l.sha256))
                .collect::<Vec<_>>(),
        )
    };
    Ok(Found {
        packages: files(&lock.packages)?,
        firmware: files(&lock.firmware)?,
    })
}

/// The newest revision of the repositories whose metadata dnf has fetched: Unix seconds, by createrepo.
pub fn snapshot(cache: &Path, repos: &[Repository]) -> Result<u64> {
    let mut newest = None;
    for name in rooted::names(cache)? {
        let of_repo = |repo: &Repository| {
            let rest = name
                .strip_prefix(&repo.id)
                .and_then(|rest| rest.strip_prefix('-'));
            rest.is_some_and(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let path = cache.join(&name).join("repodata/repomd.xml");
        if repos.iter().any(of_repo) && path.exists() {
            let text = rooted::read_text(&path)?;
            newest = newest.max(revision(&text));
        }
    }
    newest.context("no repository says when its metadata was made")
}

fn revision(repomd: &str) -> Option<u64> {
    let (_, rest) = repomd.split_once("<revision>")?;
    rest.split_once('<')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_age_of_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repo = |id: &str| Repository {
            id: id.to_owned(),
            file: PathBuf::new(),
            options: vec![],
        };
        for (name, revision) in [("a-1f", "12"), ("a-b-2", "99"), ("b-0", "7")] {
            let text = format!("<repomd>\n  <revision>{revision}</revision>\n");
            rooted::put(&dir.path().join(name).join("repodata/repomd.xml"), text).unwrap();
        }
        assert_eq!(snapshot(dir.path(), &[repo("a"), repo("b")]).unwrap(), 12);
        assert!(snapshot(dir.path(), &[repo("c")]).is_err());
    }
}
