//! Whether a deployment's files are the repository's: a file of it is the object itself, by a hard link.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use ostree::glib::Variant;

use super::{Deployment, Sysroot};
use crate::boot::records::hex;
use crate::durable;

/// Something of a deployment that is not what its commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// In the tree.
    pub path: PathBuf,
    entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// The file object.
    File(String),
    /// The dirmeta object.
    Folder(String),
}

/// Beside a file until it takes its place.
const TEMPORARY: &str = ".edge-repair-";

impl Sysroot {
    /// What of a deployment is missing or another file than the repository's; the metadata of the commit must be
    /// sound. `/etc` is the device's own and not looked at.
    pub fn stale(&self, deployment: &Deployment) -> Result<Vec<Stale>> {
        let (commit, _) = self.inner.repo().load_commit(deployment.commit.as_str())?;
        let root = checksum_of(&commit.child_value(6));
        let mut entries = Vec::new();
        self.walk(&root, Path::new(""), &mut entries)?;
        let dir = self.deployment_dir(&deployment.id);
        let mut stale = Vec::new();
        for entry in entries {
            if !self.is_fresh(&dir, &entry)? {
                stale.push(entry);
            }
        }
        Ok(stale)
    }

    /// Gives the deployment the repository's file, in one step: whoever has the old one open keeps it.
    pub fn renew(&self, deployment: &Deployment, stale: &Stale) -> Result<()> {
        let path = self.deployment_dir(&deployment.id).join(&stale.path);
        let act = || match &stale.entry {
            Entry::File(checksum) => put_link(&self.object_file(checksum), &path),
            Entry::Folder(checksum) => self.make_folder(checksum, &path),
        };
        act().with_context(|| format!("renewing {}", path.display()))
    }

    fn walk(&self, tree: &str, at: &Path, entries: &mut Vec<Stale>) -> Result<()> {
        let repo = self.inner.repo();
        let tree = repo
            .load_variant(ostree::ObjectType::DirTree, tree)
            .with_context(|| format!("reading the folder /{}", at.display()))?;
        for file in tree.child_value(0).iter() {
            let (path, checksum) = (name_in(at, &file)?, checksum_of(&file.child_value(1)));
            let entry = Entry::File(checksum);
            entries.push(Stale { path, entry });
        }
        for folder in tree.child_value(1).iter() {
            let path = name_in(at, &folder)?;
            let entry = Entry::Folder(checksum_of(&folder.child_value(2)));
            entries.push(Stale {
                path: path.clone(),
                entry,
            });
            self.walk(&checksum_of(&folder.child_value(1)), &path, entries)?;
        }
        Ok(())
    }

    fn is_fresh(&self, dir: &Path, entry: &Stale) -> Result<bool> {
        let path = dir.join(&entry.path);
        let meta = look(&path)?;
        let checksum = match (&entry.entry, meta.as_ref()) {
            (_, None) => return Ok(false),
            (Entry::Folder(_), Some(meta)) => return Ok(meta.is_dir()),
            (Entry::File(checksum), Some(_)) => checksum,
        };
        let object = self.object_file(checksum);
        match (meta, look(&object)?) {
            (Some(ours), Some(its)) => same(&path, &ours, &object, &its),
            // Nothing to compare it with: that the object is missing is known.
            _ => Ok(true),
        }
    }

    fn make_folder(&self, checksum: &str, path: &Path) -> Result<()> {
        let repo = self.inner.repo();
        let meta = repo.load_variant(ostree::ObjectType::DirMeta, checksum)?;
        let number = |at| meta.child_value(at).get::<u32>().map(u32::from_be);
        let (Some(uid), Some(gid), Some(mode)) = (number(0), number(1), number(2)) else {
            bail!("{checksum} is no metadata of a folder");
        };
        fs::create_dir(path)?;
        chown(path, Some(uid), Some(gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
        durable::sync_dir(path.parent().context("it has no folder")?)
    }
}

fn put_link(object: &Path, path: &Path) -> Result<()> {
    let (folder, name) = (path.parent(), path.file_name());
    let folder = folder.context("it has no folder")?;
    let name = name.context("it has no name")?.to_string_lossy();
    let new = folder.join(format!("{TEMPORARY}{name}"));
    durable::remove(&new)?;
    fs::hard_link(object, &new)?;
    fs::rename(&new, path)?;
    durable::sync_dir(folder)
}

/// The same file, or one that says the same: libostree copies where it cannot link.
fn same(path: &Path, ours: &Metadata, object: &Path, its: &Metadata) -> Result<bool> {
    if (ours.dev(), ours.ino()) == (its.dev(), its.ino()) {
        return Ok(true);
    }
    if (ours.mode(), ours.uid(), ours.gid(), ours.size())
        != (its.mode(), its.uid(), its.gid(), its.size())
    {
        return Ok(false);
    }
    if ours.is_symlink() {
        return Ok(fs::read_link(path)? == fs::read_link(object)?);
    }
    // A file that cannot be read is not the same.
    Ok(same_bytes(path, object).unwrap_or(false))
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        (&mut one).take(1 << 16).read_to_end(&mut a)?;
        (&mut other).take(1 << 16).read_to_end(&mut b)?;
        if a != b || a.is_empty() {
            return Ok(a == b);
        }
    }
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        other => other
            .map(Some)
            .with_context(|| format!("asking for {}", path.display())),
    }
}

fn name_in(folder: &Path, entry: &Variant) -> Result<PathBuf> {
    let name: String = entry.child_value(0).get().context("a file has no name")?;
    let mut parts = Path::new(&name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(folder.join(name)),
        _ => bail!("'{name}' is no file name"),
    }
}

fn checksum_of(bytes: &Variant) -> String {
    hex(&bytes.data_as_bytes())
}
