//! The only room of this crate that names libostree: the archive repository, its commits and what is
//! in them.

mod checkout;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::types::{BoardName, CommitChecksum, RefName};
use ostree::gio::prelude::*;
use ostree::glib::{self, Variant, VariantDict};
use ostree::{ObjectType, RepoFile, RepoMode, gio};
use sha2::{Digest, Sha256};

use crate::treefile::Metadata;

/// Where stock OSTree keeps ed25519 signatures: `aay`, over the raw bytes of the commit object.
const SIGNATURES: &str = "ostree.sign.ed25519";
const REF_BINDING: &str = "ostree.ref-binding";
const SIZES: &str = "ostree.sizes";
/// Of libostree's 0 to 9 (it takes 6 without it): half the time of a commit for 3 % more bytes.
const ZLIB_LEVEL: &str = "4";
const TYPE_MASK: u32 = 0o170_000;

/// An archive repository. libostree's handles stay on one thread.
pub struct Repo {
    inner: ostree::Repo,
    path: PathBuf,
}

/// What a commit says about itself.
#[derive(Debug, Clone)]
pub struct Description {
    pub version: String,
    pub board: BoardName,
    /// `uname -r` of its kernel.
    pub kernel: String,
    pub kernel_size: u64,
    pub initramfs_size: u64,
    /// Unix seconds; the caller honours SOURCE_DATE_EPOCH.
    pub timestamp: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dir,
    File,
    Link,
}

/// One path of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Of the object of a file or a link: content, owners, mode and extended attributes.
    pub checksum: Option<[u8; 32]>,
}

impl Repo {
    pub fn open(path: &Path) -> Result<Repo> {
        let inner = ostree::Repo::new(&gio::File::for_path(path));
        inner
            .open(cancellable())
            .with_context(|| format!("opening the repository {}", path.display()))?;
        if inner.mode() != RepoMode::Archive {
            bail!("the repository {} is not an archive", path.display());
        }
        // Objects are synced together at the end of a commit.
        inner.set_disable_fsync(true);
        Ok(Repo {
            inner,
            path: path.to_owned(),
        })
    }

    /// Opens the repository, making it first when there is none.
    pub fn open_or_create(path: &Path) -> Result<Repo> {
        if !path.join("config").exists() {
            std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
            create(path).with_context(|| format!("making the repository {}", path.display()))?;
        }
        Repo::open(path)
    }

    /// Commits a laid out folder onto `name`, with `more` metadata beside the description. When it fails the ref is
    /// as it was.
    pub fn commit(
        &self,
        tree: &Path,
        name: &RefName,
        description: &Description,
        more: &BTreeMap<String, Metadata>,
    ) -> Result<CommitChecksum> {
        let parent = self.resolve(name)?;
        self.commit_after(parent.as_ref(), tree, name, description, more)
    }

    /// As [`Repo::commit`], after a commit that need not be in this repository.
    pub fn commit_after(
        &self,
        parent: Option<&CommitChecksum>,
        tree: &Path,
        name: &RefName,
        description: &Description,
        more: &BTreeMap<String, Metadata>,
    ) -> Result<CommitChecksum> {
        let act = || -> Result<CommitChecksum> {
            let transaction = Transaction::begin(&self.inner)?;
            let (root, sizes) = tree::write(self, tree)?;
            let metadata = metadata(description, name, more);
            metadata.insert_value(SIZES, &sizes);
            let checksum = self.inner.write_commit_with_time(
                parent.map(CommitChecksum::as_str),
                Some(&format!("{} {}", description.board, description.version)),
                None,
                Some(&metadata.end()),
                &root,
                description.timestamp,
                cancellable(),
            )?;
            self.inner
                .transaction_set_ref(None, name.as_str(), Some(&checksum));
            transaction.commit()?;
            self.sync()?;
            self.write_summary()?;
            Ok(checksum.parse()?)
        };
        act().with_context(|| format!("committing {} to {}", tree.display(), self.path.display()))
    }

    pub fn resolve(&self, name: &RefName) -> Result<Option<CommitChecksum>> {
        let found = self.inner.resolve_rev(name.as_str(), true)?;
        Ok(found.map(|checksum| checksum.parse()).transpose()?)
    }

    pub fn has(&self, commit: &CommitChecksum) -> Result<bool> {
        let found = self
            .inner
            .has_object(ObjectType::Commit, commit.as_str(), cancellable());
        found.with_context(|| format!("looking for commit {commit}"))
    }

    /// The commit before, which may be in the repository no longer.
    pub fn parent(&self, commit: &CommitChecksum) -> Result<Option<CommitChecksum>> {
        let parent = ostree::commit_get_parent(&self.load(commit)?);
        Ok(parent.map(|checksum| checksum.parse()).transpose()?)
    }

    /// Everything in a commit object but its time and its tree, as text: its metadata by their keys, and its parent.
    pub fn header(&self, commit: &CommitChecksum) -> Result<BTreeMap<String, String>> {
        let variant = self.load(commit)?;
        let mut header = BTreeMap::new();
        for entry in variant.child_value(0).iter() {
            let key: String = entry.child_value(0).get().context("a key is no text")?;
            let value = entry.child_value(1).as_variant();
            header.insert(key, printed(&value.context("a value is none")?));
        }
        let parent = ostree::commit_get_parent(&variant);
        header.extend(parent.map(|parent| ("parent".to_owned(), parent.to_string())));
        Ok(header)
    }

    /// The ref a commit was made for, which may have moved on since.
    pub fn ref_of(&self, commit: &CommitChecksum) -> Result<RefName> {
        let metadata = VariantDict::new(Some(&self.load(commit)?.child_value(0)));
        let bound: Option<Vec<String>> = metadata.lookup(REF_BINDING).ok().flatten();
        if let Some(name) = bound.iter().flatten().next() {
            return Ok(name.parse()?);
        }
        let mut refs: Vec<_> = self
            .inner
            .list_refs(None, cancellable())?
            .into_iter()
            .collect();
        refs.sort();
        match refs
            .into_iter()
            .find(|(_, checksum)| checksum == commit.as_str())
        {
            Some((name, _)) => Ok(name.parse()?),
            None => bail!("no ref of {} leads to commit {commit}", self.path.display()),
        }
    }

    /// The bytes of the commit object: what is signed, and what has the checksum as its SHA-256.
    pub fn commit_bytes(&self, commit: &CommitChecksum) -> Result<Vec<u8>> {
        Ok(self.load(commit)?.data().to_vec())
    }

    /// What the commit says about itself; fails on a commit that is not one of ours.
    pub fn describe(&self, commit: &CommitChecksum) -> Result<Description> {
        let variant = self.load(commit)?;
        let metadata = VariantDict::new(Some(&variant.child_value(0)));
        let act = || -> Result<Description> {
            Ok(Description {
                version: lookup(&metadata, "version")?,
                board: lookup::<String>(&metadata, "edge-ota.board")?.parse()?,
                kernel: lookup(&metadata, "ostree.linux")?,
                kernel_size: lookup(&metadata, "edge-ota.kernel-size")?,
                initramfs_size: lookup(&metadata, "edge-ota.initramfs-size")?,
                timestamp: ostree::commit_get_timestamp(&variant),
            })
        };
        act().with_context(|| format!("reading the metadata of commit {commit}"))
    }

    /// A text of a commit's metadata.
    pub fn text(&self, commit: &CommitChecksum, key: &str) -> Result<Option<String>> {
        let metadata = VariantDict::new(Some(&self.load(commit)?.child_value(0)));
        let text = metadata.lookup(key);
        text.with_context(|| format!("{key} of commit {commit} is no text"))
    }

    /// Replaces the signatures of a commit; its other detached metadata stays.
    pub fn attach_signatures(&self, commit: &CommitChecksum, all: &[Vec<u8>]) -> Result<()> {
        let act = || -> Result<()> {
            let old = self
                .inner
                .read_commit_detached_metadata(commit.as_str(), cancellable())?;
            let detached = VariantDict::new(old.as_ref());
            detached.insert_value(SIGNATURES, &all.to_variant());
            let new = detached.end();
            self.inner.write_commit_detached_metadata(
                commit.as_str(),
                Some(&new),
                cancellable(),
            )?;
            self.sync()
        };
        act().with_context(|| format!("attaching signatures to commit {commit}"))
    }

    pub fn signatures(&self, commit: &CommitChecksum) -> Result<Vec<Vec<u8>>> {
        let detached = self
            .inner
            .read_commit_detached_metadata(commit.as_str(), cancellable())
            .with_context(|| format!("reading the signatures of commit {commit}"))?;
        let found =
            detached.and_then(|d| VariantDict::new(Some(&d)).lookup_value(SIGNATURES, None));
        match found {
            Some(value) => value
                .get()
                .with_context(|| format!("{SIGNATURES} of {commit} is no aay")),
            None => Ok(Vec::new()),
        }
    }

    /// Everything in a commit, by absolute path.
    pub fn list(&self, commit: &CommitChecksum) -> Result<BTreeMap<String, Entry>> {
        let mut entries = BTreeMap::new();
        let root = self.root(commit)?;
        list_folder(&root, "", &mut entries).with_context(|| format!("listing commit {commit}"))?;
        Ok(entries)
    }

    /// The bytes of a file of a commit; links on the way are not followed.
    pub fn read(&self, commit: &CommitChecksum, path: &str) -> Result<Vec<u8>> {
        let act = || -> Result<Vec<u8>> {
            let file = self
                .root(commit)?
                .resolve_relative_path(path.trim_start_matches('/'));
            let file = file
                .downcast::<RepoFile>()
                .ok()
                .context("libostree returned no file")?;
            file.ensure_resolved()?;
            // The stream that GFile itself offers is of a type that the bindings refuse.
            let (content, _, _) = self.inner.load_file(&file.checksum(), cancellable())?;
            let mut bytes = Vec::new();
            content
                .context("it is no file")?
                .into_read()
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        act().with_context(|| format!("reading {path} of commit {commit}"))
    }

    /// Makes the list of refs anew, for clients that read `summary`.
    pub fn write_summary(&self) -> Result<()> {
        self.inner
            .regenerate_summary(None, cancellable())
            .context("writing the summary")
    }

    fn load(&self, commit: &CommitChecksum) -> Result<Variant> {
        self.inner
            .load_variant(ObjectType::Commit, commit.as_str())
            .with_context(|| format!("loading commit {commit}"))
    }

    fn root(&self, commit: &CommitChecksum) -> Result<gio::File> {
        let (root, _) = self
            .inner
            .read_commit(commit.as_str(), cancellable())
            .with_context(|| format!("opening commit {commit}"))?;
        Ok(root)
    }

    fn sync(&self) -> Result<()> {
        let folder = File::open(&self.path)?;
        rustix::fs::syncfs(&folder).with_context(|| format!("syncing {}", self.path.display()))
    }
}

/// Aborted unless it was committed.
struct Transaction {
    repo: ostree::Repo,
    open: bool,
}

impl Transaction {
    fn begin(repo: &ostree::Repo) -> Result<Self> {
        repo.prepare_transaction(cancellable())
            .context("beginning a transaction")?;
        Ok(Self {
            repo: repo.clone(),
            open: true,
        })
    }

    fn commit(mut self) -> Result<()> {
        self.repo
            .commit_transaction(cancellable())
            .context("ending a transaction")?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open {
            // The error that led here is the one to report; the next transaction cleans up too.
            let _ = self.repo.abort_transaction(cancellable());
        }
    }
}

fn metadata(
    description: &Description,
    name: &RefName,
    more: &BTreeMap<String, Metadata>,
) -> VariantDict {
    let dict = VariantDict::new(None);
    for (key, value) in more {
        let value = match value {
            Metadata::Truth(value) => value.to_variant(),
            Metadata::Number(value) => value.to_variant(),
            Metadata::Text(value) => value.to_variant(),
        };
        dict.insert_value(key, &value);
    }
    dict.insert_value(REF_BINDING, &vec![name.as_str()].to_variant());
    dict.insert_value("version", &description.version.to_variant());
    dict.insert_value("ostree.bootable", &true.to_variant());
    dict.insert_value("ostree.linux", &description.kernel.to_variant());
    dict.insert_value("edge-ota.board", &description.board.as_str().to_variant());
    dict.insert_value(
        "edge-ota.kernel-size",
        &description.kernel_size.to_variant(),
    );
    dict.insert_value(
        "edge-ota.initramfs-size",
        &description.initramfs_size.to_variant(),
    );
    dict
}

/// Long values, such as `ostree.sizes`, by their checksum.
fn printed(value: &Variant) -> String {
    const LONG: usize = 200;
    let bytes = value.data();
    if bytes.len() <= LONG {
        return value.print(false).to_string();
    }
    let digest = Sha256::digest(bytes);
    let sum: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{} bytes ({sum})", bytes.len())
}

fn lookup<T: glib::variant::FromVariant>(dict: &VariantDict, key: &str) -> Result<T> {
    let value = dict
        .lookup_value(key, None)
        .with_context(|| format!("it has no {key}"))?;
    value
        .get()
        .with_context(|| format!("its {key} is of another type"))
}

fn list_folder(folder: &gio::File, at: &str, out: &mut BTreeMap<String, Entry>) -> Result<()> {
    let attributes = "standard::name,standard::type,standard::size,unix::mode,unix::uid,unix::gid";
    let no_follow = gio::FileQueryInfoFlags::NOFOLLOW_SYMLINKS;
    let listing = folder.enumerate_children(attributes, no_follow, cancellable())?;
    while let Some(info) = listing.next_file(cancellable())? {
        let name = info.name();
        let path = format!("{at}/{}", name.display());
        let kind = match info.file_type() {
            gio::FileType::Directory => Kind::Dir,
            gio::FileType::SymbolicLink => Kind::Link,
            _ => Kind::File,
        };
        let child = folder.child(&name);
        let checksum = match kind {
            Kind::Dir => {
                list_folder(&child, &path, out)?;
                None
            }
            Kind::File | Kind::Link => Some(object_of(child)?),
        };
        let entry = Entry {
            kind,
            mode: info.attribute_uint32("unix::mode") & !TYPE_MASK,
            uid: info.attribute_uint32("unix::uid"),
            gid: info.attribute_uint32("unix::gid"),
            size: u64::try_from(info.size()).unwrap_or(0),
            checksum,
        };
        out.insert(path, entry);
    }
    Ok(())
}

fn object_of(file: gio::File) -> Result<[u8; 32]> {
    let file = file.downcast::<RepoFile>().ok();
    let file = file.context("libostree returned no file")?;
    file.ensure_resolved()?;
    let bytes = ostree::checksum_to_bytes_v(&file.checksum());
    bytes.data().try_into().context("a checksum has 32 bytes")
}

/// The type that libostree's optional argument wants, without one.
fn create(path: &Path) -> Result<()> {
    let repo = ostree::Repo::new(&gio::File::for_path(path));
    repo.create(RepoMode::Archive, cancellable())?;
    let config = repo.copy_config();
    config.set_string("archive", "zlib-level", ZLIB_LEVEL);
    Ok(repo.write_config(&config)?)
}

fn cancellable() -> Option<&'static gio::Cancellable> {
    None
}
