//! A commit as a folder, to be looked at and taken from.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::types::CommitChecksum;
use ostree::{RepoCheckoutAtOptions, RepoCheckoutMode};

use super::{Repo, cancellable};

impl Repo {
    /// Writes a commit's files into the folder `name` in `parent`, which must not be there: with our own user as owner,
    /// without extended attributes and without setuid bits.
    pub fn check_out(&self, commit: &CommitChecksum, parent: &Path, name: &str) -> Result<()> {
        let options = RepoCheckoutAtOptions {
            mode: RepoCheckoutMode::User,
            ..RepoCheckoutAtOptions::default()
        };
        let act = || -> Result<()> {
            let folder = File::open(parent)?;
            let fd = folder.as_raw_fd();
            let commit = commit.as_str();
            Ok(self
                .inner
                .checkout_at(Some(&options), fd, name, commit, cancellable())?)
        };
        act().with_context(|| {
            let commit = commit.short();
            format!(
                "checking commit {commit} out to {}/{name}",
                parent.display()
            )
        })
    }
}
