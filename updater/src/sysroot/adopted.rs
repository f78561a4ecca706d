//! A sysroot that another installer made: its deployment becomes one of ours.

use std::path::PathBuf;

use anyhow::{Context, Result};

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
        deploy
            .join(&theirs.stateroot)
            .join("deploy")
            .join(&theirs.id)
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
