//! Kernel modules: which ones a list of drivers needs, and a folder that holds just those.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

use super::kernel::Kernel;
use super::rooted;

/// The text files that depmod left beside the modules.
pub struct Index {
    /// Module name to its file and the files it needs.
    files: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
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
        let builtin = builtin.lines().map(module_name).collect();
        Index {
            files: files.collect(),
            builtin,
            before,
            aliases,
        }
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
        self.files.contains_key(&name) || self.builtin.contains(&name)
    }
}

/// Fills `stage` with the given modules, uncompressed, and an index of them. (An initramfs is
/// compressed as a whole; a module compressed within it would cost more.)
pub fn stage(root: &Path, kernel: &Kernel, files: &BTreeSet<String>, stage: &Path) -> Result<()> {
    let (from, to) = (
        root.join(&kernel.dir),
        stage.join("lib/modules").join(&kernel.release),
    );
    let mut packed: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for file in files {
        copy(&from.join(file), &to.join(file))?;
        if let Some(tool) = unpacker(file)? {
            packed.entry(tool).or_default().push(to.join(file));
        }
    }
    for (tool, paths) in packed {
        Cmd::new(tool).args(["-d", "-q", "--"]).args(&paths).run()?;
        for path in &paths {
            // zstd keeps the packed file, the others do not.
            rooted::remove(path)?;
        }
    }
    for index in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        if from.join(index).exists() {
            copy(&from.join(index), &to.join(index))?;
        }
    }
    Cmd::new("depmod")
        .arg("-b")
        .arg(stage)
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
    fn all_unknown_drivers_are_named() {
        let error = index().closure(&["ext4", "nvme", "no-such"]).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no module nvme no-such");
    }
}
