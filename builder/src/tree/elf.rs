//! Which libraries a program of a foreign tree needs, read from its ELF headers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use goblin::elf::Elf;

use super::rooted;

/// What the dynamic linker is told by one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    pub machine: u16,
    pub is_64: bool,
    pub interpreter: Option<String>,
    pub libraries: Vec<String>,
}

/// Parses an ELF file; `None` when it is not one (a script).
pub fn needs(bytes: &[u8]) -> Result<Option<Needs>> {
    if !bytes.starts_with(goblin::elf::header::ELFMAG) {
        return Ok(None);
    }
    let elf = Elf::parse(bytes)?;
    Ok(Some(Needs {
        machine: elf.header.e_machine,
        is_64: elf.is_64,
        interpreter: elf.interpreter.map(str::to_owned),
        libraries: elf
            .libraries
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
    }))
}

/// `programs` and every library they need, as paths inside `root`.
pub fn closure(root: &Path, programs: &[&str]) -> Result<BTreeSet<PathBuf>> {
    let folders = library_folders(root)?;
    let mut todo: Vec<PathBuf> = programs.iter().map(PathBuf::from).collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let resolved = rooted::resolve(root, &path)?
            .with_context(|| format!("the tree has no {}", path.display()))?;
        let bytes = fs::read(root.join(&resolved.path))
            .with_context(|| format!("reading {}", path.display()))?;
        let parsed = needs(&bytes).with_context(|| format!("parsing {}", path.display()))?;
        let Some(needs) = parsed else { continue };
        todo.extend(needs.interpreter.iter().map(PathBuf::from));
        for library in &needs.libraries {
            let found = find_library(root, &folders, library, &needs)?;
            let Some(found) = found else {
                bail!(
                    "{} needs {library}, which the tree does not have",
                    path.display()
                );
            };
            todo.push(found);
        }
    }
    Ok(seen)
}

/// The folders that ld.so searches without a cache: Debian's multiarch ones, then the plain ones.
fn library_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = rooted::names(&root.join("usr/lib"))?
        .into_iter()
        .filter(|name| name.contains("-linux-gnu"))
        .map(|name| Path::new("usr/lib").join(name))
        .collect();
    folders.extend(["usr/lib64", "usr/lib"].map(PathBuf::from));
    Ok(folders)
}

fn find_library(
    root: &Path,
    folders: &[PathBuf],
    name: &str,
    user: &Needs,
) -> Result<Option<PathBuf>> {
    for folder in folders {
        let path = folder.join(name);
        let Some(resolved) = rooted::resolve(root, &path)? else {
            continue;
        };
        let bytes = fs::read(root.join(resolved.path))
            .with_context(|| format!("reading {}", path.display()))?;
        let parsed = needs(&bytes).with_context(|| format!("parsing {}", path.display()))?;
        if parsed.is_some_and(|l| l.machine == user.machine && l.is_64 == user.is_64) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_itself_needs_libc() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&own).unwrap().unwrap();
        assert!(
            needs.libraries.iter().any(|l| l == "libc.so.6"),
            "{needs:?}"
        );
        assert!(needs.interpreter.unwrap().contains("ld-linux"));
    }

    #[test]
    fn scripts_have_no_needs_and_garbage_is_an_error() {
        assert_eq!(needs(b"#!/bin/sh\n").unwrap(), None);
        assert!(needs(b"\x7fELF\x02\x01").is_err());
    }

    #[test]
    fn a_missing_library_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(std::env::current_exe().unwrap(), bin.join("x")).unwrap();
        let error = closure(dir.path(), &["usr/bin/x"]).unwrap_err().to_string();
        assert!(
            error.contains("which the tree does not have") || error.contains("no /lib"),
            "{error}"
        );
    }
}
