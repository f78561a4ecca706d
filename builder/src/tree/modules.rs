//! Kernel modules: which ones a list of drivers needs, a folder that holds just those, and a tree that
//! keeps no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

use super::kernel::Kernel;
use super::rooted;

/// The text files that depmod left beside the modules.
pub struct Index {
    /// Module name to its file and the files it needs.
    files: BTreeMap<String, (String, Vec<String>)>,
    /// Name to path, as for a module of its own.
    builtin: BTreeMap<String, String>,
    /// Module name to the names (or aliases) that are loaded before it.
    before: BTreeMap<String, Vec<String>>,
    /// Aliases without wildcards, such as `crypto-crc32c`.
    aliases: BTreeMap<String, Vec<String>>,
}

impl Index {
    pub fn read(root: &Path, kernel: &Kernel) -> Result<Index> {
        let dir = root.join(&kernel.dir);
        let text = |name: &str| rooted::read_text(&dir.join(name));
        Ok(Index::parse(
            &text("modules.dep")?,
            &text("modules.builtin")?,
            &text("modules.softdep")?,
            &text("modules.alias")?,
        ))
    }

    pub fn parse(dep: &str, builtin: &str, softdep: &str, alias: &str) -> Index {
        let files = dep.lines().filter_map(|line| line.split_once(':'));
        let files = files.map(|(file, needs)| {
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            (module_name(file), (file.to_owned(), needs))
        });
        let mut before: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (module, needed) in softdep.lines().filter_map(pre_dependencies) {
            before.entry(module).or_default().extend(needed);
        }
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in alias.lines() {
            if let ["alias", name, module] = line.split(' ').collect::<Vec<_>>()[..] {
                aliases
                    .entry(name.to_owned())
                    .or_default()
                    .push(module.to_owned());
            }
        }
        let builtin = builtin
            .lines()
            .map(|file| (module_name(file), file.to_owned()));
        Index {
            files: files.collect(),
            builtin: builtin.collect(),
            before,
            aliases,
        }
    }

    /// The names of the modules that `words` stand for: a name stands for itself, `fs/nls/` for every
    /// module in that folder of the kernel's sources and below.
    pub fn select(&self, words: &[&str]) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for word in words {
            if !word.ends_with('/') {
                names.insert((*word).to_owned());
                continue;
            }
            let folder = format!("kernel/{word}");
            let loadable = self.files.iter().map(|(name, (file, _))| (name, file));
            let inside: Vec<&String> = loadable
                .chain(&self.builtin)
                .filter(|(_, file)| file.starts_with(&folder))
                .map(|(name, _)| name)
                .collect();
            if inside.is_empty() {
                bail!("the kernel has no modules in {word}");
            }
            names.extend(inside.into_iter().cloned());
        }
        Ok(names)
    }

    /// As [`Index::select`], of the words that mean something to this kernel.
    pub fn select_known<'a>(&self, words: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let known = words.filter_map(|word| self.select(&[word]).ok());
        known.flatten().filter(|name| self.knows(name)).collect()
    }

    /// The files of `drivers` and of all that they need; what is built in needs none.
    pub fn closure(&self, drivers: &[&str]) -> Result<BTreeSet<String>> {
        let unknown: Vec<&str> = drivers
            .iter()
            .copied()
            .filter(|name| !self.knows(name))
            .collect();
        if !unknown.is_empty() {
            bail!("the kernel has no module {}", unknown.join(" "));
        }
        let mut todo: Vec<String> = drivers.iter().map(|name| module_name(name)).collect();
        let mut seen = BTreeSet::new();
        let mut files = BTreeSet::new();
        while let Some(name) = todo.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            // As modprobe does, a soft dependency that is not there is passed over.
            todo.extend(self.before.get(&name).into_iter().flatten().cloned());
            todo.extend(self.aliases.get(&name).into_iter().flatten().cloned());
            if let Some((file, needs)) = self.files.get(&name) {
                files.insert(file.clone());
                todo.extend(needs.iter().map(|file| module_name(file)));
            }
        }
        Ok(files)
    }

    fn knows(&self, driver: &str) -> bool {
        let name = module_name(driver);
        self.files.contains_key(&name) || self.builtin.contains_key(&name)
    }
}

/// How many modules a tree had and kept.
pub struct Kept {
    pub before: usize,
    pub after: usize,
}

/// Removes the modules that are not among `files` from a tree, unpacks those that are, and writes the
/// index anew. Unpacked they load faster, and an update sees inside them.
pub fn keep_only(root: &Path, kernel: &Kernel, files: &BTreeSet<String>) -> Result<Kept> {
    let dir = root.join(&kernel.dir);
    let before = remove_others(&dir, "kernel", files)?;
    unpack(&dir, files)?;
    depmod(root, kernel)?;
    Ok(Kept {
        before,
        after: files.len(),
    })
}

/// Removes files below `folder` that are not among `files`, and folders that are empty then. Says how
/// many files there were.
fn remove_others(dir: &Path, folder: &str, files: &BTreeSet<String>) -> Result<usize> {
    let mut count = 0;
    for name in rooted::names(&dir.join(folder))? {
        let inner = format!("{folder}/{name}");
        let path = dir.join(&inner);
        if path.is_dir() {
            count += remove_others(dir, &inner, files)?;
            if rooted::names(&path)?.is_empty() {
                rooted::remove(&path)?;
            }
        } else {
            count += 1;
            if !files.contains(&inner) {
                rooted::remove(&path)?;
            }
        }
    }
    Ok(count)
}

/// Fills `stage` with the given modules, uncompressed, and an index of them. (An initramfs is
/// compressed as a whole; a module compressed within it would cost more.)
pub fn stage(root: &Path, kernel: &Kernel, files: &BTreeSet<String>, stage: &Path) -> Result<()> {
    let (from, to) = (
        root.join(&kernel.dir),
        stage.join("lib/modules").join(&kernel.release),
    );
    for file in files {
        copy(&from.join(file), &to.join(file))?;
    }
    unpack(&to, files)?;
    for index in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        if from.join(index).exists() {
            copy(&from.join(index), &to.join(index))?;
        }
    }
    depmod(stage, kernel)
}

/// Unpacks those of `files` in `dir` that are packed.
fn unpack(dir: &Path, files: &BTreeSet<String>) -> Result<()> {
    let mut packed: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for file in files {
        if let Some(tool) = unpacker(file)? {
            packed.entry(tool).or_default().push(dir.join(file));
        }
    }
    for (tool, paths) in packed {
        run_on(tool, &paths)?;
        for path in &paths {
            // zstd keeps the packed file, the others do not.
            rooted::remove(path)?;
        }
    }
    Ok(())
}

/// Every processor takes a part of the files, few at a time for a command line.
fn run_on(tool: &str, paths: &[PathBuf]) -> Result<()> {
    let unpack = |few: &[PathBuf]| Cmd::new(tool).args(["-d", "-q", "--"]).args(few).run();
    let share = paths.len().div_ceil(thread::available_parallelism()?.get());
    thread::scope(|scope| {
        let parts = paths.chunks(share.max(1));
        let parts = parts.map(|part| scope.spawn(move || part.chunks(500).try_for_each(unpack)));
        let parts: Vec<_> = parts.collect();
        let mut ended = parts.into_iter().map(|part| part.join());
        ended.try_for_each(|part| part.unwrap_or_else(|_| bail!("unpacking modules panicked")))
    })
}

fn depmod(root: &Path, kernel: &Kernel) -> Result<()> {
    Cmd::new("depmod")
        .arg("-b")
        .arg(root)
        .arg(&kernel.release)
        .run()
}

/// `kernel/fs/ext4/ext4.ko.xz` and `ext4` are both `ext4`; `-` and `_` are one.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let stem = base.split_once(".ko").map_or(base, |(stem, _)| stem);
    // An alias such as crypto-crc32c keeps its dash: it is not a module's name.
    if stem.starts_with("crypto-") {
        stem.to_owned()
    } else {
        stem.replace('-', "_")
    }
}

/// `softdep ext4 pre: crypto-crc32c post: x` gives `ext4` and `crypto-crc32c`.
fn pre_dependencies(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.split_whitespace();
    if words.next() != Some("softdep") {
        return None;
    }
    let module = module_name(words.next()?);
    let needed = words
        .skip_while(|w| *w != "pre:")
        .skip(1)
        .take_while(|w| *w != "post:");
    Some((module, needed.map(module_name).collect()))
}

fn unpacker(file: &str) -> Result<Option<&'static str>> {
    match Path::new(file).extension().and_then(|e| e.to_str()) {
        Some("ko") => Ok(None),
        Some("xz") => Ok(Some("xz")),
        Some("zst") => Ok(Some("zstd")),
        Some("gz") => Ok(Some("gzip")),
        _ => bail!("the module {file} is packed in a way we do not know"),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    to.parent().map_or(Ok(()), rooted::make_dir)?;
    fs::copy(from, to)
        .with_context(|| format!("copying {}", from.display()))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        Index::parse(
            "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz\n\
             kernel/fs/jbd2/jbd2.ko.xz:\nkernel/fs/mbcache.ko.xz:\n\
             kernel/crypto/crc32c-generic.ko.xz:\nkernel/drivers/block/virtio_blk.ko.xz:\n",
            "kernel/drivers/virtio/virtio_pci.ko\n",
            "# comment\nsoftdep ext4 pre: crypto-crc32c post: other\nsoftdep jbd2 pre: none\n",
            "alias crypto-crc32c crc32c_generic\nalias virtio:d00000002v* virtio_blk\n",
        )
    }

    #[test]
    fn closure_follows_hard_and_soft_dependencies() {
        let files = index().closure(&["ext4", "virtio-pci"]).unwrap();
        let names: Vec<String> = files.iter().map(|f| module_name(f)).collect();
        assert_eq!(names, ["crc32c_generic", "ext4", "jbd2", "mbcache"]);
        assert!(index().closure(&["virtio_pci"]).unwrap().is_empty());
    }

    #[test]
    fn a_folder_stands_for_what_is_in_it() {
        let check = |words: &[&str], expected: &[&str]| {
            let names: Vec<String> = index().select(words).unwrap().into_iter().collect();
            assert_eq!(names, expected, "{words:?}");
        };
        check(
            &["fs/", "crc32c-generic"],
            &["crc32c-generic", "ext4", "jbd2", "mbcache"],
        );
        check(&["drivers/virtio/"], &["virtio_pci"]);
        check(&["fs/jbd2/"], &["jbd2"]);
        let error = index().select(&["fs/jbd/"]).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no modules in fs/jbd/");
    }

    #[test]
    fn others_leave_with_their_folders() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "fs/ext4/ext4.ko",
            "fs/xfs/xfs.ko",
            "fs/nls/a.ko",
            "fs/nls/b.ko",
        ] {
            rooted::put(&dir.path().join("kernel").join(file), "").unwrap();
        }
        let keep = ["kernel/fs/ext4/ext4.ko", "kernel/fs/nls/b.ko"].map(String::from);
        let count = remove_others(dir.path(), "kernel", &keep.into()).unwrap();
        assert_eq!(count, 4);
        assert_eq!(
            rooted::names(&dir.path().join("kernel/fs")).unwrap(),
            ["ext4", "nls"]
        );
        assert_eq!(
            rooted::names(&dir.path().join("kernel/fs/nls")).unwrap(),
            ["b.ko"]
        );
    }

    #[test]
    fn all_unknown_drivers_are_named() {
        let error = index().closure(&["ext4", "nvme", "no-such"]).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no module nvme no-such");
    }
}
