//! Releases that differ from another one in a few files, without composing again. The only file of
//! this crate that names libostree.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_ota::types::CommitChecksum;
use ostree::gio::Cancellable;
use ostree::glib::{Variant, VariantDict, VariantTy};
use ostree::prelude::*;
use ostree::{MutableTree, Repo, RepoCommitModifier, RepoCommitModifierFlags};

const SIZES: &str = "ostree.sizes";
const NONE: Option<&Cancellable> = None;

/// The files that differ, as paths below the root of the tree.
pub struct Changes<'a> {
    repo: &'a Path,
    base: &'a CommitChecksum,
    dir: PathBuf,
}

impl Changes<'_> {
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.write_with_mode(path, content.as_ref(), 0o644)
    }

    pub fn write_program(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.write_with_mode(path, content.as_ref(), 0o755)
    }

    pub fn link(&self, path: &str, target: &str) -> Result<()> {
        symlink(target, self.place(path)?).with_context(|| format!("linking {path}"))
    }

    /// Zero bytes in place of a file, as many as it has: signed sizes stay true.
    pub fn blank(&self, path: &str) -> Result<()> {
        let size = read_file(self.repo, self.base, path)?.len();
        self.write(path, vec![0u8; size])
    }

    /// The content of a file of the base.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        read_file(self.repo, self.base, path)
    }

    /// The folder of the base's one kernel.
    pub fn kernel_dir(&self) -> Result<String> {
        let repo = open(self.repo)?;
        let metadata = VariantDict::new(Some(&metadata_of(&repo, self.base)?));
        let release: String = metadata
            .lookup("ostree.linux")?
            .context("the base names no kernel")?;
        Ok(format!("usr/lib/modules/{release}"))
    }

    fn write_with_mode(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let place = self.place(path)?;
        fs::write(&place, content).with_context(|| format!("writing {path}"))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(mode))
            .with_context(|| format!("setting the mode of {path}"))
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        let mut place = self.dir.clone();
        for part in Path::new(path)
            .parent()
            .into_iter()
            .flat_map(Path::components)
        {
            place.push(part);
            fs::create_dir_all(&place)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        }
        Ok(self.dir.join(path))
    }
}

/// Commits `base` with some files replaced, under the same metadata but for the version. Unsigned.
pub fn commit(
    repo_dir: &Path,
    base: &CommitChecksum,
    version: &str,
    change: impl FnOnce(&Changes) -> Result<()>,
) -> Result<CommitChecksum> {
    let dir = tempfile::tempdir()?;
    change(&Changes {
        repo: repo_dir,
        base,
        dir: dir.path().to_owned(),
    })?;
    let act = || -> Result<CommitChecksum> {
        let sizes = sizes_of_new_objects(repo_dir, base, dir.path())?;
        let repo = open(repo_dir)?;
        let metadata = metadata_of(&repo, base)?;
        let dict = VariantDict::new(Some(&metadata));
        let merged = merge_sizes(&[dict.lookup_value(SIZES, None), sizes]);
        dict.insert("version", version);
        dict.insert_value(SIZES, &merged);
        let checksum = write_commit(
            &repo,
            base,
            dir.path(),
            None,
            Some(&dict.end()),
            &format!("edge-test/{version}"),
        )?;
        Ok(checksum.parse()?)
    };
    act().with_context(|| format!("committing the variant {version} of {base}"))
}

/// The content of a file of a commit.
pub fn read_file(repo: &Path, commit: &CommitChecksum, path: &str) -> Result<Vec<u8>> {
    let act = || -> Result<Vec<u8>> {
        let repo = open(repo)?;
        let (root, _) = repo.read_commit(commit.as_str(), NONE)?;
        let file = root.resolve_relative_path(path);
        let file = file
            .downcast::<ostree::RepoFile>()
            .map_err(|_| anyhow::anyhow!("libostree gave no file"))?;
        file.ensure_resolved()?;
        // What GFile itself offers complains about the type of its stream.
        let (content, _, _) = repo.load_file(&file.checksum(), NONE)?;
        let mut bytes = Vec::new();
        content
            .context("it is no file")?
            .into_read()
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    act().with_context(|| format!("reading {path} of {commit}"))
}

fn open(dir: &Path) -> Result<Repo> {
    let repo = Repo::new_for_path(dir);
    repo.open(NONE)
        .with_context(|| format!("opening the repository {}", dir.display()))?;
    Ok(repo)
}

fn metadata_of(repo: &Repo, commit: &CommitChecksum) -> Result<Variant> {
    let (variant, _) = repo.load_commit(commit.as_str())?;
    Ok(variant.child_value(0))
}

/// libostree measures only what a commit newly writes, so the rest comes from the base.
fn sizes_of_new_objects(
    repo_dir: &Path,
    base: &CommitChecksum,
    dir: &Path,
) -> Result<Option<Variant>> {
    let repo = open(repo_dir)?;
    let modifier = RepoCommitModifier::new(RepoCommitModifierFlags::GENERATE_SIZES, None);
    let checksum = write_commit(&repo, base, dir, Some(&modifier), None, "edge-test/sizes")?;
    let metadata = VariantDict::new(Some(&metadata_of(&repo, &checksum.parse()?)?));
    Ok(metadata.lookup_value(SIZES, None))
}

fn write_commit(
    repo: &Repo,
    base: &CommitChecksum,
    dir: &Path,
    modifier: Option<&RepoCommitModifier>,
    metadata: Option<&Variant>,
    name: &str,
) -> Result<String> {
    let transaction = repo.auto_transaction(NONE)?;
    let tree = MutableTree::from_commit(repo, base.as_str())?;
    repo.write_directory_to_mtree(&ostree::gio::File::for_path(dir), &tree, modifier, NONE)?;
    let root = repo.write_mtree(&tree, NONE)?;
    let root = root
        .downcast::<ostree::RepoFile>()
        .map_err(|_| anyhow::anyhow!("libostree gave no tree"))?;
    // One later than the base's: a parent must not be as old as its child.
    let timestamp = ostree::commit_get_timestamp(&repo.load_commit(base.as_str())?.0) + 1;
    let checksum = repo.write_commit_with_time(
        Some(base.as_str()),
        None,
        None,
        metadata,
        &root,
        timestamp,
        NONE,
    )?;
    transaction
        .repo()
        .transaction_set_ref(None, name, Some(checksum.as_str()));
    transaction.commit(NONE)?;
    Ok(checksum.to_string())
}

/// `ostree.sizes` is `aay`; each entry begins with the 32 bytes of the object's checksum.
fn merge_sizes(lists: &[Option<Variant>]) -> Variant {
    let entries = lists.iter().flatten().flat_map(|list| list.iter());
    let sorted: BTreeMap<Vec<u8>, Variant> = entries
        .map(|entry| (entry.data().iter().take(32).copied().collect(), entry))
        .collect();
    Variant::array_from_iter_with_type(VariantTy::BYTE_STRING, sorted.into_values())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostree::RepoMode;
    use ostree::glib::variant::ToVariant;

    fn base(dir: &Path) -> CommitChecksum {
        let tree = dir.join("tree");
        fs::create_dir_all(tree.join("usr/lib")).unwrap();
        fs::write(tree.join("usr/lib/kept"), "kept").unwrap();
        fs::write(tree.join("usr/lib/changed"), "before").unwrap();
        let repo = Repo::new_for_path(dir.join("repo"));
        repo.create(RepoMode::Archive, NONE).unwrap();
        let modifier = RepoCommitModifier::new(RepoCommitModifierFlags::GENERATE_SIZES, None);
        let transaction = repo.auto_transaction(NONE).unwrap();
        let mtree = MutableTree::new();
        repo.write_directory_to_mtree(
            &ostree::gio::File::for_path(&tree),
            &mtree,
            Some(&modifier),
            NONE,
        )
        .unwrap();
        let root = repo
            .write_mtree(&mtree, NONE)
            .unwrap()
            .downcast::<ostree::RepoFile>()
            .unwrap();
        let metadata = VariantDict::new(None);
        metadata.insert("version", "1");
        metadata.insert_value("edge-ota.kernel-size", &7u64.to_variant());
        let metadata = metadata.end();
        let checksum = repo
            .write_commit_with_time(None, None, None, Some(&metadata), &root, 100, NONE)
            .unwrap();
        transaction.commit(NONE).unwrap();
        checksum.parse().unwrap()
    }

    #[test]
    fn replaces_files_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, base) = (dir.path().join("repo"), base(dir.path()));
        let next = commit(&repo, &base, "2", |tree| {
            tree.blank("usr/lib/changed")?;
            tree.write_program("usr/bin/new", "#!")
        })
        .unwrap();
        assert_eq!(read_file(&repo, &next, "usr/lib/kept").unwrap(), b"kept");
        assert_eq!(read_file(&repo, &next, "usr/lib/changed").unwrap(), [0; 6]);
        assert_eq!(read_file(&repo, &next, "usr/bin/new").unwrap(), b"#!");
        let repo = open(&repo).unwrap();
        let metadata = VariantDict::new(Some(&metadata_of(&repo, &next).unwrap()));
        assert_eq!(
            metadata.lookup::<String>("version").unwrap().as_deref(),
            Some("2")
        );
        assert_eq!(
            metadata.lookup::<u64>("edge-ota.kernel-size").unwrap(),
            Some(7)
        );
        assert_every_object_is_measured(&repo, &next);
    }

    fn assert_every_object_is_measured(repo: &Repo, commit: &CommitChecksum) {
        let (variant, _) = repo.load_commit(commit.as_str()).unwrap();
        let sizes = ostree::commit_get_object_sizes(&variant).unwrap();
        let measured: std::collections::BTreeSet<_> =
            sizes.iter().map(|s| s.checksum().to_string()).collect();
        for object in repo.traverse_commit(commit.as_str(), -1, NONE).unwrap() {
            let is_commit = object.object_type() == ostree::ObjectType::Commit;
            assert!(
                is_commit || measured.contains(object.checksum()),
                "{object:?}"
            );
        }
    }
}
