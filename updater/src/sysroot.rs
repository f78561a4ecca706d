//! The only room of this crate that names libostree: repository, deployments, pruning.
//!
//! Slots are two pinned deployments. libostree writes no boot loader files (`sysroot.bootloader=none`)
//! and `/ostree/slot-a`, `/ostree/slot-b` are links of ours to the deployments.

mod adopted;
mod checkout;
mod commit;
mod local;
mod objects;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ostree::gio;
use ostree::glib::{self, VariantDict};

use crate::durable;
use crate::fetch::FetchError;
use crate::types::{CommitChecksum, Slot};
pub use adopted::Theirs;
pub use checkout::Stale;
use commit::typed;
pub use commit::{CommitInfo, Object, ObjectKind, detached_signatures};
pub use objects::Health;

/// The stateroot: `/ostree/deploy/edge`.
pub const STATEROOT: &str = "edge";
/// Keeps what is pulled from being pruned until it is deployed.
const PULLED_REF: &str = "edge-ota/pulled";
const REMOTE: &str = "edge-ota";
const NONE: Option<&gio::Cancellable> = gio::Cancellable::NONE;

pub struct Sysroot {
    inner: ostree::Sysroot,
    path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub commit: CommitChecksum,
    /// `<commit>.<serial>`
    pub id: String,
    pub booted: bool,
}

/// What a pull would bring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    pub objects: u64,
    pub download_bytes: u64,
    /// On disk, whole blocks.
    pub disk_bytes: u64,
}

/// How far a pull has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    pub fetched: u32,
    pub requested: u32,
    pub bytes: u64,
}

impl Sysroot {
    /// Makes an empty sysroot in a folder, as it will lie on a root file system.
    pub fn create(path: &Path) -> Result<Self> {
        let act = || -> Result<ostree::Sysroot> {
            // The file system type of a builder's folder need not know the immutable flag.
            let inner = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
            inner.ensure_initialized(NONE)?;
            inner.load(NONE)?;
            configure(&inner.repo())?;
            inner.init_osname(STATEROOT, NONE)?;
            inner.load(NONE)?;
            Ok(inner)
        };
        let inner = act().with_context(|| format!("making a sysroot in {}", path.display()))?;
        Ok(Self {
            inner,
            path: path.to_owned(),
        })
    }

    /// Opens an existing sysroot. The caller is in a mount namespace of its own where it may write.
    pub fn open(path: &Path) -> Result<Self> {
        let inner = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
        inner.set_mount_namespace_in_use();
        inner
            .load(NONE)
            .with_context(|| format!("opening the sysroot {}", path.display()))?;
        Ok(Self {
            inner,
            path: path.to_owned(),
        })
    }

    pub fn deployments(&self) -> Result<Vec<Deployment>> {
        let booted = self.inner.booted_deployment();
        let own = self
            .inner
            .deployments()
            .into_iter()
            .filter(|d| d.osname() == STATEROOT);
        own.map(|d| {
            let is_booted = booted.as_ref().is_some_and(|b| b.equal(&d));
            Ok(Deployment {
                commit: d.csum().parse()?,
                id: id_of(&d),
                booted: is_booted,
            })
        })
        .collect()
    }

    pub fn booted(&self) -> Result<Option<Deployment>> {
        Ok(self.deployments()?.into_iter().find(|d| d.booted))
    }

    /// The deployment a slot's link leads to, if it is there.
    pub fn slot_deployment(&self, slot: Slot) -> Result<Option<Deployment>> {
        let target = match fs::read_link(self.slot_link(slot)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => {
                other.with_context(|| format!("reading {}", self.slot_link(slot).display()))?
            }
        };
        let id = target
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(self.deployments()?.into_iter().find(|d| d.id == id))
    }

    pub fn deployment_dir(&self, id: &str) -> PathBuf {
        self.path
            .join("ostree/deploy")
            .join(STATEROOT)
            .join("deploy")
            .join(id)
    }

    /// The folder that becomes `/var`.
    pub fn var_dir(&self) -> PathBuf {
        self.path.join("ostree/deploy").join(STATEROOT).join("var")
    }

    /// Deploys a commit with `/etc` merged from the deployment `merge`, and forgets every unpinned or
    /// unwanted deployment that is not in `keep`. Nothing is pruned yet. `link_slot` pins it: until it is
    /// a slot's, it must not pass for an operator's.
    pub fn deploy(
        &self,
        commit: &CommitChecksum,
        merge: Option<&str>,
        keep: &[String],
    ) -> Result<Deployment> {
        let merge = |_: &ostree::Sysroot| merge.map(|id| self.find(id)).transpose();
        self.deploy_merging(commit, merge, keep)
    }

    fn deploy_merging(
        &self,
        commit: &CommitChecksum,
        merge: impl Fn(&ostree::Sysroot) -> Result<Option<ostree::Deployment>>,
        keep: &[String],
    ) -> Result<Deployment> {
        let act = || -> Result<String> {
            self.inner.lock()?;
            let _unlock = Unlock(&self.inner);
            self.inner.load(NONE)?;
            let merge = merge(&self.inner)?;
            let origin = self.inner.origin_new_from_refspec(commit.as_str());
            let new = self.inner.deploy_tree(
                Some(STATEROOT),
                commit.as_str(),
                Some(&origin),
                merge.as_ref(),
                &[],
                NONE,
            )?;
            let mut list = vec![new.clone()];
            list.extend(self.wanted(keep));
            self.write(&list)?;
            Ok(id_of(&new))
        };
        let id = act().with_context(|| format!("deploying commit {}", commit.short()))?;
        Ok(Deployment {
            commit: commit.clone(),
            id,
            booted: false,
        })
    }

    /// Drops every deployment that is not in `keep` (nor booted, nor pinned by somebody else), and
    /// prunes what only they used.
    pub fn prune(&self, keep: &[String]) -> Result<()> {
        let act = || -> Result<()> {
            self.inner.lock()?;
            let _unlock = Unlock(&self.inner);
            self.inner.load(NONE)?;
            let wanted = self.wanted(keep);
            if wanted.len() != self.inner.deployments().len() {
                self.write(&wanted)?;
            }
            self.inner.cleanup(NONE)?;
            Ok(())
        };
        act().context("pruning old deployments")
    }

    fn write(&self, list: &[ostree::Deployment]) -> Result<()> {
        let options = ostree::SysrootWriteDeploymentsOpts {
            do_postclean: false,
        };
        self.inner
            .write_deployments_with_options(list, &options, NONE)?;
        self.inner.load(NONE)?;
        Ok(())
    }

    /// Ours are the two that the slot links name; a deployment that an operator pinned stays.
    fn wanted(&self, keep: &[String]) -> Vec<ostree::Deployment> {
        let ours: Vec<String> = Slot::BOTH
            .iter()
            .filter_map(|slot| fs::read_link(self.slot_link(*slot)).ok())
            .filter_map(|link| Some(link.file_name()?.to_string_lossy().into_owned()))
            .collect();
        let booted = self.inner.booted_deployment();
        let mut list = self.inner.deployments();
        list.retain(|d| {
            let id = id_of(d);
            keep.contains(&id)
                || booted.as_ref().is_some_and(|b| b.equal(d))
                || (d.is_pinned() && !ours.contains(&id))
        });
        list
    }

    fn find(&self, id: &str) -> Result<ostree::Deployment> {
        self.inner
            .deployments()
            .into_iter()
            .find(|d| d.osname() == STATEROOT && id_of(d) == id)
            .with_context(|| format!("deployment {id} is not there"))
    }

    /// Points the slot's link at a deployment, in one step, and pins it.
    pub fn link_slot(&self, slot: Slot, id: &str) -> Result<()> {
        let link = self.slot_link(slot);
        let act = || -> Result<()> {
            let new = self.path.join(format!("ostree/.slot-{slot}.new"));
            durable::remove(&new)?;
            symlink(
                Path::new("deploy").join(STATEROOT).join("deploy").join(id),
                &new,
            )?;
            fs::rename(&new, &link)?;
            durable::sync_dir(&self.path.join("ostree"))?;
            self.inner.deployment_set_pinned(&self.find(id)?, true)?;
            self.inner.load(NONE)?;
            Ok(())
        };
        act().with_context(|| format!("linking {}", link.display()))
    }

    /// What no slot names any more may go.
    pub fn unpin(&self, id: &str) -> Result<()> {
        if let Ok(deployment) = self.find(id) {
            self.inner.deployment_set_pinned(&deployment, false)?;
            self.inner.load(NONE)?;
        }
        Ok(())
    }

    fn slot_link(&self, slot: Slot) -> PathBuf {
        self.path.join(format!("ostree/slot-{slot}"))
    }

    pub fn has_whole_commit(&self, commit: &CommitChecksum) -> Result<bool> {
        let repo = self.inner.repo();
        if !repo.has_object(ostree::ObjectType::Commit, commit.as_str(), NONE)? {
            return Ok(false);
        }
        let (_, state) = repo.load_commit(commit.as_str())?;
        Ok(!state.contains(ostree::RepoCommitState::PARTIAL))
    }

    pub fn commit_info(&self, commit: &CommitChecksum) -> Result<CommitInfo> {
        let (variant, _) = self
            .inner
            .repo()
            .load_commit(commit.as_str())
            .with_context(|| format!("reading commit {}", commit.short()))?;
        CommitInfo::from_variant(&variant)
    }

    /// Which of a commit's objects are not here yet.
    pub fn missing(&self, info: &CommitInfo) -> Result<Missing> {
        let repo = self.inner.repo();
        let mut missing = Missing::default();
        for object in &info.objects {
            if !repo.has_object(object.kind.ostree(), &object.checksum, NONE)? {
                missing.objects += 1;
                missing.download_bytes = missing.download_bytes.saturating_add(object.archived);
                let blocks = object.unpacked.saturating_add(4095) / 4096 * 4096;
                missing.disk_bytes = missing.disk_bytes.saturating_add(blocks);
            }
        }
        Ok(missing)
    }

    /// Puts a verified commit object and its signatures into the repository, marked as partial: its
    /// content is still to come.
    pub fn import_commit(
        &self,
        commit: &CommitChecksum,
        raw: &[u8],
        detached: &[u8],
    ) -> Result<()> {
        let act = || -> Result<()> {
            let repo = self.inner.repo();
            let there = repo.has_object(ostree::ObjectType::Commit, commit.as_str(), NONE)?;
            if !there {
                repo.mark_commit_partial(commit.as_str(), true)?;
                let variant = typed(raw, "(a{sv}aya(say)sstayay)")?;
                repo.write_metadata(
                    ostree::ObjectType::Commit,
                    Some(commit.as_str()),
                    &variant,
                    NONE,
                )?;
            }
            let detached = typed(detached, "a{sv}")?;
            repo.write_commit_detached_metadata(commit.as_str(), Some(&detached), NONE)?;
            repo.set_ref_immediate(None, PULLED_REF, Some(commit.as_str()), NONE)?;
            Ok(())
        };
        act().with_context(|| format!("importing commit {}", commit.short()))
    }

    /// Fetches the content of an imported commit, each object checked against its checksum. Static
    /// deltas stay off: their parser is not safe on hostile input.
    pub fn pull_content(
        &self,
        repo_url: &str,
        commit: &CommitChecksum,
        each: impl Fn(PullProgress) + 'static,
    ) -> Result<()> {
        self.ensure_remote()?;
        let options = VariantDict::new(None);
        options.insert("override-url", repo_url);
        options.insert("refs", vec![commit.as_str()]);
        options.insert("flags", ostree::RepoPullFlags::UNTRUSTED.bits() as i32);
        options.insert("depth", 0i32);
        options.insert("disable-static-deltas", true);
        options.insert("disable-verify-bindings", true);
        options.insert("n-network-retries", 5u32);
        let progress = ostree::AsyncProgress::new();
        progress.connect_changed(move |p| {
            each(PullProgress {
                fetched: p.uint("fetched"),
                requested: p.uint("requested"),
                bytes: p.uint64("bytes-transferred"),
            });
        });
        let done =
            self.inner
                .repo()
                .pull_with_options(REMOTE, &options.end(), Some(&progress), NONE);
        progress.finish();
        done.map_err(|e| pull_error(&e, repo_url))
            .with_context(|| format!("pulling commit {}", commit.short()))
    }

    /// libostree pulls from remotes it knows by name. This one has no keys: a commit is verified by us
    /// before its content is pulled, and its content by checksum.
    fn ensure_remote(&self) -> Result<()> {
        let repo = self.inner.repo();
        let (config, group) = (repo.copy_config(), format!("remote \"{REMOTE}\""));
        if config.has_group(&group) {
            return Ok(());
        }
        config.set_string(&group, "url", "http://override.invalid");
        config.set_boolean(&group, "gpg-verify", false);
        repo.write_config(&config)
            .and_then(|()| repo.reload_config(NONE))
            .context("adding our remote to the repository")
    }

    /// Lets what was pulled be pruned, once a deployment holds it or nobody wants it.
    pub fn release_pulled(&self) -> Result<()> {
        let repo = self.inner.repo();
        if repo.resolve_rev(PULLED_REF, true)?.is_some() {
            repo.set_ref_immediate(None, PULLED_REF, None, NONE)?;
        }
        Ok(())
    }

    /// As [`Sysroot::release_pulled`], unless it is this commit's.
    pub fn release_pulled_other_than(&self, commit: &CommitChecksum) -> Result<()> {
        match self.inner.repo().resolve_rev(PULLED_REF, true)? {
            Some(pulled) if pulled != commit.as_str() => self.release_pulled(),
            _ => Ok(()),
        }
    }

    /// Free bytes and inodes where the sysroot lies.
    pub fn free(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(self.path.join("ostree/repo"))
            .context("asking the sysroot for room")?;
        Ok((stat.f_bavail * stat.f_frsize, stat.f_favail))
    }
}

/// The boot loader is ours, and so is what writes to the sysroot.
fn configure(repo: &ostree::Repo) -> Result<()> {
    let config = repo.copy_config();
    config.set_string("sysroot", "bootloader", "none");
    config.set_boolean("sysroot", "readonly", true);
    config.set_string("core", "min-free-space-size", "32MB");
    repo.write_config(&config)?;
    repo.reload_config(NONE)?;
    Ok(())
}

struct Unlock<'a>(&'a ostree::Sysroot);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// So that a lost network and a full disk have their exit codes.
fn pull_error(error: &glib::Error, url: &str) -> anyhow::Error {
    if error.matches(gio::IOErrorEnum::NoSpace) {
        return io::Error::new(io::ErrorKind::StorageFull, error.to_string()).into();
    }
    FetchError::Network {
        url: url.to_owned(),
        reason: error.to_string(),
    }
    .into()
}

fn id_of(deployment: &ostree::Deployment) -> String {
    format!("{}.{}", deployment.csum(), deployment.deployserial())
}
