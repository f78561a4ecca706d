//! Objects from a repository on the same machine, by all processors: nearly all of it is inflating and checksumming.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use ostree::gio;

use super::commit::{Object, ObjectKind};
use super::{CommitInfo, NONE, Sysroot};

impl Sysroot {
    /// Copies a commit's objects, each checked against its checksum, so that a pull of it finds them. Nothing is written
    /// through to the medium: this is for a folder whose content goes into an image.
    pub fn copy_objects(&self, from: &Path, info: &CommitInfo) -> Result<()> {
        let mut objects: Vec<&Object> = info.objects.iter().collect();
        // The largest first, so that all end together.
        objects.sort_by_key(|object| std::cmp::Reverse(object.unpacked));
        let (to, next) = (self.path.join("ostree/repo"), AtomicUsize::new(0));
        let work = || {
            let copied = copy_some(&open(from)?, &open(&to)?, &objects, &next);
            if copied.is_err() {
                // The others need not go on.
                next.store(objects.len(), Ordering::Relaxed);
            }
            copied
        };
        let threads = thread::available_parallelism()?.get();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let panicked = |_| Err(anyhow!("a thread that copies objects panicked"));
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(panicked))
        })
    }

    /// From now on this handle waits for no medium, neither after a pull nor after a deployment.
    pub fn without_sync(&self) {
        self.inner.repo().set_disable_fsync(true);
    }
}

fn open(path: &Path) -> Result<ostree::Repo> {
    let repo = ostree::Repo::new(&gio::File::for_path(path));
    repo.open(NONE)
        .with_context(|| format!("opening the repository {}", path.display()))?;
    repo.set_disable_fsync(true);
    Ok(repo)
}

/// Takes objects from the list until none is left.
fn copy_some(
    from: &ostree::Repo,
    to: &ostree::Repo,
    objects: &[&Object],
    next: &AtomicUsize,
) -> Result<()> {
    while let Some(object) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
        copy(from, to, object).with_context(|| format!("copying object {}", object.checksum))?;
    }
    Ok(())
}

fn copy(from: &ostree::Repo, to: &ostree::Repo, object: &Object) -> Result<()> {
    let (kind, checksum) = (object.kind.ostree(), &object.checksum);
    if object.kind == ObjectKind::File {
        let (stream, length) = from.load_object_stream(kind, checksum, NONE)?;
        to.write_content(Some(checksum), &stream, length, NONE)?;
    } else {
        let variant = from.load_variant(kind, checksum)?;
        to.write_metadata(kind, Some(checksum), &variant, NONE)?;
    }
    Ok(())
}
