//! Single objects: whether one is what its checksum says, and putting a good one in the place of a bad one.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ostree::gio;
use ostree::glib;
use ostree::prelude::*;

use super::commit::{CommitInfo, Object, ObjectKind, typed};
use super::{NONE, Sysroot};
use crate::types::CommitChecksum;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Sound,
    Missing,
    /// Its content is not what its name says, or it cannot be read.
    Damaged,
}

const DIR_TREE: &str = "(a(say)a(sayay))";
const DIR_META: &str = "(uuua(ayay))";

impl ObjectKind {
    pub(super) fn ostree(self) -> ostree::ObjectType {
        match self {
            ObjectKind::File => ostree::ObjectType::File,
            ObjectKind::DirTree => ostree::ObjectType::DirTree,
            ObjectKind::DirMeta => ostree::ObjectType::DirMeta,
        }
    }
}

impl Object {
    /// Where an archive has it, below the served folder.
    pub fn archive_path(&self) -> String {
        let (folder, file) = self.checksum.split_at_checked(2).unwrap_or(("", ""));
        let ending = match self.kind {
            ObjectKind::File => "filez",
            ObjectKind::DirTree => "dirtree",
            ObjectKind::DirMeta => "dirmeta",
        };
        format!("repo/objects/{folder}/{file}.{ending}")
    }
}

impl Sysroot {
    /// Every object of a commit's tree, as the commit lists them; the commit object must be sound.
    pub fn objects(&self, commit: &CommitChecksum) -> Result<Vec<Object>> {
        let info: CommitInfo = self.commit_info(commit)?;
        if !info.has_sizes() {
            bail!("commit {} does not list its objects", commit.short());
        }
        Ok(info.objects)
    }

    pub fn commit_health(&self, commit: &CommitChecksum) -> Result<Health> {
        self.health(ostree::ObjectType::Commit, commit.as_str())
    }

    /// Reads the object from the medium.
    pub fn object_health(&self, object: &Object) -> Result<Health> {
        if object.kind == ObjectKind::File {
            forget_pages(&self.object_file(&object.checksum))?;
        }
        self.health(object.kind.ostree(), &object.checksum)
    }

    fn health(&self, kind: ostree::ObjectType, checksum: &str) -> Result<Health> {
        let repo = self.inner.repo();
        if !repo.has_object(kind, checksum, NONE)? {
            return Ok(Health::Missing);
        }
        Ok(match repo.fsck_object(kind, checksum, NONE) {
            Ok(()) => Health::Sound,
            Err(_) => Health::Damaged,
        })
    }

    /// Puts objects as an archive has them into the repository, each checked against its checksum first. The bad
    /// ones go only when all of the good ones are at hand.
    pub fn replace_objects(&self, objects: &[(&Object, Vec<u8>)]) -> Result<()> {
        for (object, bytes) in objects {
            check(object, bytes).with_context(|| object.checksum.clone())?;
        }
        let repo = self.inner.repo();
        for (object, _) in objects {
            let kind = object.kind.ostree();
            if repo.has_object(kind, &object.checksum, NONE)? {
                repo.delete_object(kind, &object.checksum, NONE)?;
            }
        }
        let transaction = repo.auto_transaction(NONE)?;
        for (object, bytes) in objects {
            write(transaction.repo(), object, bytes).with_context(|| object.checksum.clone())?;
        }
        transaction.commit(NONE)?;
        Ok(())
    }

    /// Puts a commit object, whose checksum was verified, in the place of a bad one.
    pub fn replace_commit(&self, commit: &CommitChecksum, raw: &[u8]) -> Result<()> {
        let (repo, kind) = (self.inner.repo(), ostree::ObjectType::Commit);
        let variant = typed(raw, "(a{sv}aya(say)sstayay)")?;
        let signatures = repo.read_commit_detached_metadata(commit.as_str(), NONE)?;
        if repo.has_object(kind, commit.as_str(), NONE)? {
            repo.delete_object(kind, commit.as_str(), NONE)?;
        }
        repo.write_metadata(kind, Some(commit.as_str()), &variant, NONE)?;
        if signatures.is_some() {
            repo.write_commit_detached_metadata(commit.as_str(), signatures.as_ref(), NONE)?;
        }
        Ok(())
    }

    /// Whether all of the commit is here, as libostree notes it.
    pub fn note_whole(&self, commit: &CommitChecksum, whole: bool) -> Result<()> {
        Ok(self
            .inner
            .repo()
            .mark_commit_partial(commit.as_str(), !whole)?)
    }

    pub(super) fn object_file(&self, checksum: &str) -> PathBuf {
        let (folder, file) = checksum.split_at_checked(2).unwrap_or(("", ""));
        let objects = self.path.join("ostree/repo/objects");
        objects.join(folder).join(format!("{file}.file"))
    }
}

/// What was read a while ago may hide what the medium has now.
fn forget_pages(path: &std::path::Path) -> Result<()> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits())?;
    match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(rustix::fs::fadvise(
            &file,
            0,
            None,
            rustix::fs::Advice::DontNeed,
        )?),
        // A symbolic link, or nothing, which is found out elsewhere.
        Err(_) => Ok(()),
    }
}

fn check(object: &Object, bytes: &[u8]) -> Result<()> {
    if object.kind == ObjectKind::File {
        return check_content(object, bytes);
    }
    use sha2::{Digest, Sha256};
    if crate::boot::records::hex(&Sha256::digest(bytes)) != object.checksum {
        bail!("what came is another object");
    }
    Ok(())
}

/// Inflates it, and hashes it as libostree does.
fn check_content(object: &Object, bytes: &[u8]) -> Result<()> {
    use sha2::{Digest, Sha256};
    let (stream, length) = content_stream(object, bytes)?;
    let (mut hash, mut left) = (Sha256::new(), length);
    while left > 0 {
        let part = stream.read_bytes(1 << 16, NONE)?;
        if part.is_empty() {
            break;
        }
        left = left.saturating_sub(part.len() as u64);
        hash.update(&part);
    }
    let more = !stream.read_bytes(1, NONE)?.is_empty();
    if more || left > 0 || crate::boot::records::hex(&hash.finalize()) != object.checksum {
        bail!("what came is another object");
    }
    Ok(())
}

/// From an archive's file to the form that is hashed and written.
fn content_stream(object: &Object, bytes: &[u8]) -> Result<(gio::InputStream, u64)> {
    let input = gio::MemoryInputStream::from_bytes(&glib::Bytes::from(bytes));
    let (content, info, xattrs) =
        ostree::content_stream_parse(true, &input, bytes.len() as u64, false, NONE)?;
    if u64::try_from(info.size()).unwrap_or(u64::MAX) > object.unpacked {
        bail!("what came is larger than the commit says");
    }
    Ok(ostree::raw_file_to_content_stream(
        &content,
        &info,
        Some(&xattrs),
        NONE,
    )?)
}

fn write(repo: &ostree::Repo, object: &Object, bytes: &[u8]) -> Result<()> {
    let kind = match object.kind {
        ObjectKind::File => {
            let (stream, length) = content_stream(object, bytes)?;
            repo.write_content(Some(&object.checksum), &stream, length, NONE)?;
            return Ok(());
        }
        ObjectKind::DirTree => DIR_TREE,
        ObjectKind::DirMeta => DIR_META,
    };
    let variant = typed(bytes, kind)?;
    repo.write_metadata(object.kind.ostree(), Some(&object.checksum), &variant, NONE)?;
    Ok(())
}
