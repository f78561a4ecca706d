//! Paths inside a root file system that is not ours: links are followed inside it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

const MAX_LINKS: usize = 40;

/// Where a path leads inside a root, and the links passed on the way, all relative to the root.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    pub path: PathBuf,
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// Follows `path` inside `root`; `None` when nothing is there.
pub fn resolve(root: &Path, path: &Path) -> Result<Option<Resolved>> {
    let mut todo: Vec<PathBuf> = parts(path);
    let mut done = PathBuf::new();
    let mut links = Vec::new();
    while let Some(part) = todo.pop() {
        if part == Path::new("..") {
            done.pop();
            continue;
        }
        let here = done.join(&part);
        match fs::symlink_metadata(root.join(&here)) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(e).with_context(|| format!("looking at /{}", here.display())),
            Ok(meta) if meta.is_symlink() => {
                if links.len() >= MAX_LINKS {
                    bail!("too many links on the way to {}", path.display());
                }
                let target = fs::read_link(root.join(&here))
                    .with_context(|| format!("reading the link /{}", here.display()))?;
                if target.is_absolute() {
                    done = PathBuf::new();
                }
                todo.extend(parts(&target));
                links.push((here, target));
            }
            Ok(_) => done = here,
        }
    }
    Ok(Some(Resolved { path: done, links }))
}

/// The entries of a folder, sorted; none when there is no such folder.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("listing {}", dir.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .with_context(|| format!("listing {}", dir.display()))?
            .file_name();
        match name.into_string() {
            Ok(name) => names.push(name),
            Err(name) => bail!("{} has a name that is not UTF-8: {name:?}", dir.display()),
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a file, link or folder with all it holds, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let act = || match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    act().with_context(|| format!("removing {}", path.display()))
}

/// Removes what a folder holds and keeps the folder.
pub fn clear(dir: &Path) -> Result<()> {
    for name in names(dir)? {
        remove(&dir.join(name))?;
    }
    Ok(())
}

/// Writes a world-readable file and the folders above it; what was there is replaced, not followed.
pub fn put(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    make_parent(path)?;
    remove(path)?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    set_mode(path, 0o644)
}

/// Makes a link and the folders above it; what was there is replaced.
pub fn link(path: &Path, target: &str) -> Result<()> {
    make_parent(path)?;
    remove(path)?;
    std::os::unix::fs::symlink(target, path).with_context(|| format!("linking {}", path.display()))
}

pub fn rename(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    fs::rename(from, to).with_context(|| format!("moving {} to {}", from.display(), to.display()))
}

pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}

pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), make_dir)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(&root.join("usr/lib/x/lib.so.1.2"), "elf").unwrap();
        link(&root.join("usr/lib/x/lib.so.1"), "lib.so.1.2").unwrap();
        link(&root.join("lib"), "usr/lib").unwrap();
        link(&root.join("escape"), "/../../usr").unwrap();
        link(&root.join("loop"), "loop").unwrap();
        let found = resolve(root, Path::new("/lib/x/lib.so.1"))
            .unwrap()
            .unwrap();
        assert_eq!(found.path, Path::new("usr/lib/x/lib.so.1.2"));
        let links: Vec<_> = found
            .links
            .iter()
            .map(|(at, _)| at.to_str().unwrap())
            .collect();
        assert_eq!(links, ["lib", "usr/lib/x/lib.so.1"]);
        let escape = resolve(root, Path::new("escape")).unwrap().unwrap();
        assert_eq!(escape.path, Path::new("usr"));
        assert!(resolve(root, Path::new("/lib/none")).unwrap().is_none());
        assert!(resolve(root, Path::new("loop")).is_err());
    }
}
