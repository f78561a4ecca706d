//! A folder becomes objects of the repository. Most of a commit is compressing and checksumming files, so every
//! processor takes some of them, each thread with a handle and a transaction of its own.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use ostree::gio::prelude::*;
use ostree::glib::{Variant, VariantTy};
use ostree::{MutableTree, ObjectType, RepoFile, gio};
use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

use super::{Repo, Transaction, cancellable};
use crate::interrupt;

/// Writes what is in a folder; device nodes and sockets are left out. The transaction is the caller's. Returns the
/// tree and `ostree.sizes`, which libostree itself would only know of objects that one handle wrote.
pub(super) fn write(repo: &Repo, from: &Path) -> Result<(RepoFile, Variant)> {
    let mut files = Vec::new();
    let folder = Folder::read(from, &mut files)?;
    let checksums = write_files(&repo.path, &files)?;
    let mut sizes = Sizes::default();
    for (file, checksum) in files.iter().zip(&checksums) {
        let archived =
            repo.inner
                .query_object_storage_size(ObjectType::File, checksum, cancellable())?;
        sizes.add(checksum, ObjectType::File, archived, file.meta.len());
    }
    let (root, mut trees) = (MutableTree::new(), Vec::new());
    folder.fill(repo, &root, &checksums, &mut trees, &mut sizes)?;
    let file = repo.inner.write_mtree(&root, cancellable())?;
    for tree in trees.iter().chain([&root]) {
        let checksum = tree.contents_checksum();
        let object = repo.inner.load_variant(ObjectType::DirTree, &checksum)?;
        sizes.add_whole(&checksum, ObjectType::DirTree, &object);
    }
    let file = file.downcast::<RepoFile>().ok();
    Ok((file.context("libostree returned no tree")?, sizes.variant()))
}

struct Folder {
    path: PathBuf,
    meta: Metadata,
    folders: BTreeMap<String, Folder>,
    /// Places in the list of all files.
    files: BTreeMap<String, usize>,
}

/// A regular file or a symbolic link.
struct Leaf {
    path: PathBuf,
    meta: Metadata,
}

impl Folder {
    fn read(path: &Path, files: &mut Vec<Leaf>) -> Result<Self> {
        let mut folder = Self {
            path: path.to_owned(),
            meta: path.symlink_metadata().with_context(|| reading(path))?,
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        for entry in fs::read_dir(path).with_context(|| reading(path))? {
            let entry = entry.with_context(|| reading(path))?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| anyhow!("{} is not UTF-8", path.display()))?;
            if kind.is_dir() {
                folder.folders.insert(name, Self::read(&path, files)?);
            } else if kind.is_file() || kind.is_symlink() {
                folder.files.insert(name, files.len());
                let meta = path.symlink_metadata().with_context(|| reading(&path))?;
                files.push(Leaf { path, meta });
            }
        }
        Ok(folder)
    }

    fn fill(
        &self,
        repo: &Repo,
        tree: &MutableTree,
        files: &[String],
        trees: &mut Vec<MutableTree>,
        sizes: &mut Sizes,
    ) -> Result<()> {
        let meta = self.metadata()?;
        let checksum =
            repo.inner
                .write_metadata(ObjectType::DirMeta, None, &meta, cancellable())?;
        let checksum = checksum.to_string();
        sizes.add_whole(&checksum, ObjectType::DirMeta, &meta);
        tree.set_metadata_checksum(&checksum);
        for (name, &place) in &self.files {
            let checksum = files.get(place).context("a file was not written")?;
            tree.replace_file(name, checksum)?;
        }
        for (name, folder) in &self.folders {
            let inner = tree.ensure_dir(name)?;
            folder.fill(repo, &inner, files, trees, sizes)?;
            trees.push(inner);
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Variant> {
        let info = gio::FileInfo::new();
        info.set_attribute_uint32("unix::uid", self.meta.uid());
        info.set_attribute_uint32("unix::gid", self.meta.gid());
        info.set_attribute_uint32("unix::mode", self.meta.mode());
        let attributes = attributes(&self.path)?;
        Ok(ostree::create_directory_metadata(
            &info,
            attributes.as_ref(),
        ))
    }
}

/// The checksums of the files, in their order.
fn write_files(repo: &Path, files: &[Leaf]) -> Result<Vec<String>> {
    let mut order: Vec<(usize, &Leaf)> = files.iter().enumerate().collect();
    // The largest first, so that all end together.
    order.sort_by_key(|(_, file)| std::cmp::Reverse(file.meta.len()));
    let next = AtomicUsize::new(0);
    // All begin before one ends, one after the other: the end of a transaction removes the folders of those that are
    // not quite begun.
    let begin = |_| Transaction::begin(&Repo::open(repo)?.inner);
    let threads = thread::available_parallelism()?.get();
    let transactions: Vec<Transaction> = (0..threads).map(begin).collect::<Result<_>>()?;
    let work = |transaction: Transaction| {
        let written = write_some(&transaction, &order, &next);
        if written.is_err() {
            // The others need not go on.
            next.store(order.len(), Ordering::Relaxed);
        }
        Ok((transaction, written?))
    };
    let parts: Result<Vec<_>> = thread::scope(|scope| {
        let start = |transaction| scope.spawn(|| work(transaction));
        let workers: Vec<_> = transactions.into_iter().map(start).collect();
        let panicked = |_| Err(anyhow!("a thread that writes objects panicked"));
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.map(|part| part.unwrap_or_else(panicked)).collect()
    });
    let mut checksums = vec![String::new(); files.len()];
    for (transaction, written) in parts? {
        transaction.commit()?;
        for (place, checksum) in written {
            if let Some(slot) = checksums.get_mut(place) {
                *slot = checksum;
            }
        }
    }
    Ok(checksums)
}

/// Takes files from the list until none is left.
fn write_some(
    transaction: &Transaction,
    files: &[(usize, &Leaf)],
    next: &AtomicUsize,
) -> Result<Vec<(usize, String)>> {
    let mut written = Vec::new();
    while let Some(&(place, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
        interrupt::check()?;
        let checksum = file.write(&transaction.repo);
        written.push((
            place,
            checksum.with_context(|| format!("writing {}", file.path.display()))?,
        ));
    }
    Ok(written)
}

impl Leaf {
    /// A file that the repository has is only checksummed: most of a release is in the one before.
    fn write(&self, repo: &ostree::Repo) -> Result<String> {
        let checksum = self.checksum()?;
        match repo.has_object(ObjectType::File, &checksum, cancellable())? {
            true => Ok(checksum),
            false => self.write_anew(repo),
        }
    }

    fn checksum(&self) -> Result<String> {
        let file = gio::File::for_path(&self.path);
        let checksum = ostree::checksum_file(&file, ObjectType::File, cancellable());
        Ok(checksum.map_err(|e| anyhow!("{e}"))?.to_string())
    }

    fn write_anew(&self, repo: &ostree::Repo) -> Result<String> {
        let (uid, gid) = (self.meta.uid(), self.meta.gid());
        let attributes = attributes(&self.path)?;
        let attributes = attributes.as_ref();
        let checksum = if self.meta.is_symlink() {
            let target = fs::read_link(&self.path)?;
            let target = target.to_str().context("its target is not UTF-8")?;
            repo.write_symlink(None, uid, gid, attributes, target, cancellable())?
        } else {
            let (mode, content) = (self.meta.mode(), fs::read(&self.path)?);
            repo.write_regfile_inline(None, uid, gid, mode, attributes, &content, cancellable())?
        };
        Ok(checksum.into())
    }
}

/// Extended attributes as libostree wants them: `a(ayay)`, sorted, names with their NUL.
fn attributes(path: &Path) -> Result<Option<Variant>> {
    let act = || -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut names = grown(|buffer| llistxattr(path, buffer))?;
        let mut found = Vec::new();
        // No attribute has a name without a NUL at its end.
        for name in names.split_inclusive_mut(|&byte| byte == 0) {
            let text = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
            let value = grown(|value| lgetxattr(path, text, value))?;
            // As libostree does.
            if !value.is_empty() {
                found.push((name.to_vec(), value));
            }
        }
        found.sort();
        Ok(found)
    };
    let found =
        act().with_context(|| format!("reading the extended attributes of {}", path.display()))?;
    Ok((!found.is_empty()).then(|| found.to_variant()))
}

/// The result of a call that fills a buffer and returns the length, or wants a larger one.
fn grown(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            // A file system without attributes has none.
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// `ostree.sizes` by checksum: object type, archived and unpacked size.
#[derive(Default)]
struct Sizes(BTreeMap<String, (ObjectType, u64, u64)>);

impl Sizes {
    fn add(&mut self, checksum: &str, kind: ObjectType, archived: u64, unpacked: u64) {
        let sizes = (kind, archived, unpacked);
        self.0.insert(checksum.to_owned(), sizes);
    }

    /// An object that is stored as it is.
    fn add_whole(&mut self, checksum: &str, kind: ObjectType, object: &Variant) {
        let size = object.data().len() as u64;
        self.add(checksum, kind, size, size);
    }

    /// `aay`: 32 bytes of checksum, both sizes as LEB128, the object type (ostree-core.h).
    fn variant(&self) -> Variant {
        let entries = self
            .0
            .iter()
            .map(|(checksum, &(kind, archived, unpacked))| {
                let mut entry: Vec<u8> = ostree::checksum_to_bytes_v(checksum)
                    .data_as_bytes()
                    .to_vec();
                push_leb128(&mut entry, archived);
                push_leb128(&mut entry, unpacked);
                entry.push(object_type_byte(kind));
                entry.to_variant()
            });
        Variant::array_from_iter_with_type(VariantTy::BYTE_STRING, entries)
    }
}

fn object_type_byte(kind: ObjectType) -> u8 {
    match kind {
        ObjectType::File => 1,
        ObjectType::DirTree => 2,
        _ => 3,
    }
}

fn push_leb128(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn reading(path: &Path) -> String {
    format!("reading {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::types::RefName;
    use ostree::glib::VariantDict;
    use ostree::{RepoCommitModifier, RepoCommitModifierFlags};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    /// One of each kind that a tree may hold.
    fn fill(root: &Path) {
        let put = |path: &str, text: &[u8], mode: u32| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        put("usr/bin/su", b"\x7fELF", 0o4755);
        put("usr/bin/empty", b"", 0o644);
        put("usr/lib/large", &vec![7; 300_000], 0o600);
        put("usr/lib/same", b"twice", 0o644);
        put("usr/share/same", b"twice", 0o644);
        put("usr/etc/group", b"x", 0o640);
        fs::hard_link(root.join("usr/lib/same"), root.join("usr/lib/hard")).unwrap();
        symlink("../usr/bin/su", root.join("usr/lib/link")).unwrap();
        fs::create_dir(root.join("tmp")).unwrap();
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        let named = root.join("usr/share/same");
        for (name, value) in [("user.b", "1"), ("user.a", "")] {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&named, name, value.as_bytes(), flags).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            chown(root.join("usr/etc/group"), Some(0), Some(42)).unwrap();
        }
    }

    /// The contents and metadata checksums and `ostree.sizes`, as libostree makes them from a folder.
    fn theirs(from: &Path, path: &Path) -> (String, String, Variant) {
        let repo = Repo::open_or_create(path).unwrap();
        let transaction = Transaction::begin(&repo.inner).unwrap();
        let modifier = RepoCommitModifier::new(RepoCommitModifierFlags::GENERATE_SIZES, None);
        let tree = MutableTree::new();
        let folder = gio::File::for_path(from);
        repo.inner
            .write_directory_to_mtree(&folder, &tree, Some(&modifier), cancellable())
            .unwrap();
        let root = repo.inner.write_mtree(&tree, cancellable()).unwrap();
        let root = root.downcast::<RepoFile>().unwrap();
        let commit = repo
            .inner
            .write_commit_with_time(None, None, None, None, &root, 1, cancellable())
            .unwrap();
        transaction.commit().unwrap();
        let commit = repo.load(&commit.parse().unwrap()).unwrap();
        let metadata = VariantDict::new(Some(&commit.child_value(0)));
        let sizes = metadata.lookup_value("ostree.sizes", None).unwrap();
        (contents(&root), meta(&root), sizes)
    }

    fn contents(root: &RepoFile) -> String {
        root.tree_get_contents_checksum().unwrap().to_string()
    }

    fn meta(root: &RepoFile) -> String {
        root.tree_get_metadata_checksum().unwrap().to_string()
    }

    #[test]
    fn the_tree_and_its_sizes_are_those_of_libostree() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("tree");
        fs::create_dir(&from).unwrap();
        fill(&from);
        let theirs = theirs(&from, &dir.path().join("theirs"));
        let _socket = UnixListener::bind(from.join("socket")).unwrap();

        let repo = Repo::open_or_create(&dir.path().join("ours")).unwrap();
        let sizes = || {
            let transaction = Transaction::begin(&repo.inner).unwrap();
            let (root, sizes) = write(&repo, &from).unwrap();
            root.ensure_resolved().unwrap();
            let found = (contents(&root), meta(&root), sizes);
            transaction.commit().unwrap();
            found
        };
        assert_eq!(sizes(), theirs);
        // Objects that are there already are measured too.
        assert_eq!(sizes(), theirs);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_the_ref_stays() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("tree");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("f"), "x").unwrap();
        let repo = Repo::open_or_create(&dir.path().join("repo")).unwrap();
        let mut files = Vec::new();
        Folder::read(&from, &mut files).unwrap();
        fs::remove_file(from.join("f")).unwrap();
        let error = format!("{:#}", write_files(&repo.path, &files).unwrap_err());
        assert!(error.contains("tree/f"), "{error}");
        let name: RefName = "edge/x".parse().unwrap();
        assert_eq!(repo.resolve(&name).unwrap(), None);
    }
}
