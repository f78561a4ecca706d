//! A sysroot that another installer made: its deployment becomes one of ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ostree::prelude::*;

use super::{Deployment, NONE, STATEROOT, Sysroot, configure, id_of};
use crate::types::CommitChecksum;

/// A deployment of whatever stateroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theirs {
    pub stateroot: String,
    pub commit: CommitChecksum,
    /// `<commit>.<serial>`
    pub id: String,
}

impl Sysroot {
    pub fn theirs(&self) -> Result<Vec<Theirs>> {
        let all = self.inner.deployments().into_iter();
        all.map(|d| {
            Ok(Theirs {
                stateroot: d.osname().to_string(),
                commit: d.csum().parse()?,
                id: id_of(&d),
            })
        })
        .collect()
    }

    pub fn their_dir(&self, theirs: &Theirs) -> PathBuf {
        let deploy = self.path.join("ostree/deploy");
        deploy.join(&theirs.stateroot).join("deploy").join(&theirs.id)
    }

    /// Where a stateroot keeps `/var`.
    pub fn var_of(&self, stateroot: &str) -> PathBuf {
        self.path.join("ostree/deploy").join(stateroot).join("var")
    }

    /// A commit object and its signatures as they lie in the repository.
    pub fn commit_bytes(&self, commit: &CommitChecksum) -> Result<(Vec<u8>, Vec<u8>)> {
        let repo = self.inner.repo();
        let raw = repo.load_variant(ostree::ObjectType::Commit, commit.as_str())?;
        let detached = repo.read_commit_detached_metadata(commit.as_str(), NONE)?;
        let detached = detached.map(|variant| variant.data().to_vec());
        Ok((raw.data().to_vec(), detached.unwrap_or_default()))
    }

    pub fn write_signatures(&self, commit: &CommitChecksum, detached: &[u8]) -> Result<()> {
        let detached = super::typed(detached, "a{sv}")?;
        let repo = self.inner.repo();
        Ok(repo.write_commit_detached_metadata(commit.as_str(), Some(&detached), NONE)?)
    }

    /// Sets it up as [`Sysroot::create`] does, beside what is there.
    pub fn claim(&self) -> Result<()> {
        configure(&self.inner.repo())?;
        if !self.path.join("ostree/deploy").join(STATEROOT).is_dir() {
            self.inner.init_osname(STATEROOT, NONE)?;
        }
        self.inner.load(NONE)?;
        Ok(())
    }

    /// Deploys their commit anew into our stateroot, with their `/etc`; theirs can still be booted.
    pub fn deploy_theirs(&self, theirs: &Theirs) -> Result<Deployment> {
        let merge = |sysroot: &ostree::Sysroot| {
            let mut all = sysroot.deployments().into_iter();
            let found = all.find(|d| d.osname() == theirs.stateroot && id_of(d) == theirs.id);
            found.map(Some).context("the deployment has gone")
        };
        self.deploy_merging(&theirs.commit, merge, std::slice::from_ref(&theirs.id))
    }
}

/// libostree looks for its list of deployments in `boot/` of the root file system, where we keep it; another
/// installer has it on a boot partition. It is copied, so that theirs stays.
pub fn copy_list(boot: &Path, sysroot: &Path) -> Result<()> {
    let (from, to) = (boot.join("loader"), sysroot.join("boot"));
    if to.join("loader").symlink_metadata().is_ok() {
        return Ok(());
    }
    let current = fs::read_link(&from).with_context(|| format!("reading {}", from.display()))?;
    let entries = boot.join(&current).join("entries");
    let copy = to.join(&current).join("entries");
    fs::create_dir_all(&copy).with_context(|| format!("making {}", copy.display()))?;
    let mut copied = 0;
    for entry in fs::read_dir(&entries).with_context(|| format!("listing {}", entries.display()))? {
        let name = entry?.file_name();
        fs::copy(entries.join(&name), copy.join(&name))?;
        copied += 1;
    }
    if copied == 0 {
        bail!("{} lists no deployment", entries.display());
    }
    std::os::unix::fs::symlink(&current, to.join("loader"))?;
    crate::durable::sync_dir(&to)
}
