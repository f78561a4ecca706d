//! The folder on disk. A new one appears whole. One of an earlier run is brought up to date file by file, in place, and
//! in an order in which each script names only what is there: machines may be installing from it, and a server may
//! hold the folder itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempDir};

use super::Content;
use crate::interrupt;

/// Says which files are ours.
const RECORD: &str = "pxe.json";

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    /// What this run wrote.
    files: BTreeSet<String>,
    /// Kernels of the run before, for machines that have begun with them.
    previous: BTreeSet<String>,
}

pub fn write(out: &Path, content: &BTreeMap<String, Content>) -> Result<()> {
    match old(out)? {
        Some(record) => refresh(out, content, &record),
        None => appear(out, content),
    }
}

/// What an earlier run left; `None` where there is nothing.
fn old(out: &Path) -> Result<Option<Record>> {
    let path = out.join(RECORD);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return match is_empty(out)? {
                true => Ok(None),
                false => bail!(
                    "{} holds other files and no {RECORD}: name a new folder, or one that 'edge-build pxe' made",
                    out.display()
                ),
            };
        }
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    let record: Record = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    match record.format {
        1 => Ok(Some(record)),
        other => bail!("{}: format {other} is not known", path.display()),
    }
}

fn is_empty(out: &Path) -> Result<bool> {
    match fs::read_dir(out) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        listed => Ok(listed
            .with_context(|| format!("listing {}", out.display()))?
            .next()
            .is_none()),
    }
}

fn appear(out: &Path, content: &BTreeMap<String, Content>) -> Result<()> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let act = || -> Result<TempDir> {
        fs::create_dir_all(parent)?;
        let staged = tempfile::Builder::new()
            .prefix(".pxe-")
            .tempdir_in(parent)?;
        fs::set_permissions(staged.path(), Permissions::from_mode(0o755))?;
        Ok(staged)
    };
    let staged = act().with_context(|| format!("making a folder beside {}", out.display()))?;
    put_all(staged.path(), content)?;
    let record = Record {
        format: 1,
        files: content.keys().cloned().collect(),
        previous: BTreeSet::new(),
    };
    put_record(staged.path(), &record)?;
    // An empty folder gives way.
    fs::rename(staged.path(), out).with_context(|| format!("making {}", out.display()))?;
    // It is no temporary folder any more.
    let _ = staged.keep();
    Ok(())
}

fn refresh(out: &Path, content: &BTreeMap<String, Content>, old: &Record) -> Result<()> {
    let new: BTreeSet<String> = content.keys().cloned().collect();
    let all = old.files.iter().chain(&old.previous);
    let gone: BTreeSet<String> = all.filter(|path| !new.contains(*path)).cloned().collect();
    let previous = previous(old, &new);
    // A run that is cut short leaves no file that the next one does not know of.
    let files = new.union(&gone).cloned().collect();
    put_record(
        out,
        &Record {
            format: 1,
            files,
            previous: previous.clone(),
        },
    )?;
    put_all(out, content)?;
    for path in gone.difference(&previous) {
        durable::remove(&out.join(path))?;
        remove_empty_folders(out, path)?;
    }
    put_record(
        out,
        &Record {
            format: 1,
            files: new,
            previous,
        },
    )
}

/// The kernels that a machine may just be loading: of the run before, or of the one before it where the kernels have
/// not changed since.
fn previous(old: &Record, new: &BTreeSet<String>) -> BTreeSet<String> {
    let left = |files: &BTreeSet<String>| -> BTreeSet<String> {
        let kernels = files.iter().filter(|path| is_kernel(path));
        kernels
            .filter(|path| !new.contains(*path))
            .cloned()
            .collect()
    };
    let of_last_run = left(&old.files);
    match of_last_run.is_empty() {
        true => left(&old.previous),
        false => of_last_run,
    }
}

/// In a folder named by its content.
fn is_kernel(path: &str) -> bool {
    let mut parts = path.split('/');
    let system = parts.next().unwrap_or_default();
    ["x86_64", "aarch64", "armhf"].contains(&system) && parts.count() == 2
}

/// Kernels and loaders first, then scripts, which name them.
fn put_all(out: &Path, content: &BTreeMap<String, Content>) -> Result<()> {
    for (path, content) in content {
        if let Content::Copy(from) = content {
            interrupt::check()?;
            copy(from, &out.join(path))?;
        }
    }
    for (path, content) in content {
        if let Content::Text(text) = content {
            let path = out.join(path);
            make_folder(&path)?;
            durable::write(&path, text.as_bytes())?;
        }
    }
    Ok(())
}

fn put_record(out: &Path, record: &Record) -> Result<()> {
    let text = serde_json::to_string_pretty(record)? + "\n";
    durable::write(&out.join(RECORD), text.as_bytes())
}

/// Whole or not at all: a server may read it meanwhile.
fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    let act = || -> Result<()> {
        let folder = to.parent().context("it has no folder")?;
        let mut source = File::open(from)?;
        let mut file = NamedTempFile::new_in(folder)?;
        io::copy(&mut source, &mut file)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(to)?;
        Ok(())
    };
    act().with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn make_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn remove_empty_folders(out: &Path, path: &str) -> Result<()> {
    let mut folder = Path::new(path).parent();
    while let Some(inner) = folder.filter(|inner| !inner.as_os_str().is_empty()) {
        let full = out.join(inner);
        if !is_empty(&full)? {
            break;
        }
        match fs::remove_dir(&full) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("removing {}", full.display()))?,
        }
        folder = inner.parent();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &[(&str, &str)]) -> BTreeMap<String, Content> {
        let text = |text: &str| Content::Text(text.to_owned());
        let files = files.iter();
        files
            .map(|(path, what)| ((*path).to_owned(), text(what)))
            .collect()
    }

    fn there(out: &Path) -> BTreeSet<String> {
        fn walk(dir: &Path, base: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, base, found),
                    false => {
                        let path = path.strip_prefix(base).unwrap();
                        found.insert(path.to_str().unwrap().to_owned());
                    }
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(out, out, &mut found);
        found
    }

    fn check(out: &Path, expected: &[&str]) {
        let mut expected: BTreeSet<String> = expected.iter().map(|&p| p.to_owned()).collect();
        expected.insert(RECORD.to_owned());
        assert_eq!(there(out), expected);
    }

    #[test]
    fn kernels_of_the_run_before_stay_for_one_more() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/pxe");
        let run = |kernel: &str, host: &str| {
            let kernel = format!("x86_64/{kernel}/vmlinuz");
            let files = [(kernel.as_str(), "k"), (host, "h"), ("boot.ipxe", "b")];
            write(&out, &content(&files)).unwrap();
        };
        run("1", "hosts/a.ipxe");
        check(&out, &["x86_64/1/vmlinuz", "hosts/a.ipxe", "boot.ipxe"]);
        fs::write(out.join("mine"), "").unwrap();
        run("2", "hosts/b.ipxe");
        let both = [
            "x86_64/1/vmlinuz",
            "x86_64/2/vmlinuz",
            "hosts/b.ipxe",
            "boot.ipxe",
            "mine",
        ];
        check(&out, &both);
        run("2", "hosts/b.ipxe");
        check(&out, &both);
        run("3", "c");
        check(
            &out,
            &[
                "x86_64/2/vmlinuz",
                "x86_64/3/vmlinuz",
                "c",
                "boot.ipxe",
                "mine",
            ],
        );
        assert!(!out.join("hosts").exists() && !out.join("x86_64/1").exists());
        let beside: Vec<_> = fs::read_dir(dir.path().join("a")).unwrap().collect();
        assert_eq!(beside.len(), 1, "{beside:?}");
    }

    #[test]
    fn a_run_that_was_cut_short_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("pxe");
        write(&out, &content(&[("boot.ipxe", "1")])).unwrap();
        let mut broken = content(&[("boot.ipxe", "2"), ("hosts/a.ipxe", "2")]);
        broken.insert("z".to_owned(), Content::Copy(dir.path().join("none")));
        let error = write(&out, &broken).unwrap_err();
        assert!(format!("{error:#}").contains("none"), "{error:#}");
        assert_eq!(fs::read_to_string(out.join("boot.ipxe")).unwrap(), "1");
        broken.remove("z");
        write(&out, &broken).unwrap();
        write(&out, &content(&[("boot.ipxe", "3")])).unwrap();
        check(&out, &["boot.ipxe"]);
    }

    #[test]
    fn other_folders_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "").unwrap();
        let error = write(dir.path(), &content(&[("a", "")])).unwrap_err();
        assert!(error.to_string().contains("holds other files"), "{error}");
        assert_eq!(there(dir.path()).len(), 1);
    }
}
