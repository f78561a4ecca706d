//! The files of the boot loader on the first partition: shim, GRUB and its script from the tree, or U-Boot's script,
//! whose spare is on `edge-boot`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::board::{self, BootFlavour};
use crate::boot::{BootControl, grub};
use crate::durable;
use crate::media::uboot;

/// Where a tree keeps what belongs on the partition.
const IN_TREE: &str = "usr/lib/ostree-boot/efi";
/// Of a folder that firmware shall not find any more.
const ASIDE: &str = ".old";
const GRUB_SCRIPT: &str = "EFI/debian/grub.cfg";

/// A file of the loader that is not as this release would write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// On the partition.
    path: PathBuf,
    how: How,
    good: Good,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Missing,
    Differs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Good {
    Copy(PathBuf),
    Text(&'static str),
    /// The partition has it, the spare copy on `edge-boot` is missing.
    Spare,
    Nowhere,
}

impl Difference {
    pub fn name(&self) -> String {
        match self.good {
            Good::Spare => format!("{} on edge-boot", self.path.display()),
            _ => self.path.display().to_string(),
        }
    }

    pub fn is_missing(&self) -> bool {
        self.how == How::Missing
    }
}

/// `esp` and `boot` are where the two partitions are mounted.
pub fn compare(esp: &Path, boot: &Path, tree: &Path) -> Result<Vec<Difference>> {
    match board::load(tree)?.boot {
        BootFlavour::Grub => compare_grub(esp, tree),
        BootFlavour::Uboot => compare_uboot(esp, boot),
    }
}

/// Puts the good file in its place. The partition is mounted writable.
pub fn restore(esp: &Path, boot: &mut dyn BootControl, difference: &Difference) -> Result<()> {
    let path = esp.join(&difference.path);
    let bytes = match &difference.good {
        Good::Text(text) => text.as_bytes().to_vec(),
        Good::Copy(good) => read(good)?,
        Good::Spare => return boot.write_spare(uboot::SCRIPT, &read(&path)?),
        Good::Nowhere => bail!("there is no copy of {}", difference.path.display()),
    };
    put(&path, &bytes).with_context(|| format!("writing {}", path.display()))
}

/// Makes firmware boot our loader and no other's. Until the last steps another's can still be booted.
pub fn take_over(esp: &Path, tree: &Path) -> Result<()> {
    for (path, good) in wanted(tree)? {
        let bytes = match good {
            Good::Text(text) => text.as_bytes().to_vec(),
            Good::Copy(from) => read(&from)?,
            Good::Spare | Good::Nowhere => continue,
        };
        put(&esp.join(&path), &bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    for name in names(&esp.join("EFI/BOOT"))? {
        // It would make boot entries for whatever loader it finds.
        if name.to_lowercase().starts_with("fb") {
            durable::remove(&esp.join("EFI/BOOT").join(name))?;
        }
    }
    for name in names(&esp.join("EFI"))? {
        set_aside(&esp.join("EFI"), &name)?;
    }
    Ok(())
}

/// Boot entries of the firmware lead into the folder of another's loader.
fn set_aside(efi: &Path, vendor: &str) -> Result<()> {
    let ours = ["BOOT", "debian"]
        .iter()
        .any(|name| vendor.eq_ignore_ascii_case(name));
    if ours || vendor.ends_with(ASIDE) || !efi.join(vendor).is_dir() {
        return Ok(());
    }
    let aside = efi.join(format!("{vendor}{ASIDE}"));
    if aside.exists() {
        fs::remove_dir_all(&aside).with_context(|| format!("removing {}", aside.display()))?;
    }
    fs::rename(efi.join(vendor), &aside).with_context(|| format!("setting EFI/{vendor} aside"))?;
    durable::sync_dir(efi)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn compare_grub(esp: &Path, tree: &Path) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (path, good) in wanted(tree)? {
        let bytes = match &good {
            Good::Text(text) => text.as_bytes().to_vec(),
            Good::Copy(from) => read(from)?,
            Good::Spare | Good::Nowhere => continue,
        };
        let how = match fs::read(esp.join(&path)) {
            Ok(found) if found == bytes => continue,
            Ok(_) => How::Differs,
            Err(_) => How::Missing,
        };
        differences.push(Difference { path, how, good });
    }
    Ok(differences)
}

fn compare_uboot(esp: &Path, boot: &Path) -> Result<Vec<Difference>> {
    let (first, spare) = (esp.join(uboot::SCRIPT), boot.join(uboot::SCRIPT));
    let (how, good) = match (fs::read(&first).ok(), fs::read(&spare).ok()) {
        (Some(one), Some(other)) if one == other => return Ok(Vec::new()),
        (Some(_), Some(_)) => (How::Differs, Good::Nowhere),
        (None, Some(_)) => (How::Missing, Good::Copy(spare)),
        (Some(_), None) => (How::Missing, Good::Spare),
        (None, None) => (How::Missing, Good::Nowhere),
    };
    let path = PathBuf::from(uboot::SCRIPT);
    Ok(vec![Difference { path, how, good }])
}

fn wanted(tree: &Path) -> Result<Vec<(PathBuf, Good)>> {
    let root = tree.join(IN_TREE);
    let mut wanted = vec![(PathBuf::from(GRUB_SCRIPT), Good::Text(grub::SCRIPT))];
    let mut folders = vec![root.join("EFI")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => wanted.push((
                    entry.path().strip_prefix(&root)?.to_owned(),
                    Good::Copy(entry.path()),
                )),
            }
        }
    }
    // What firmware starts comes last.
    let is_first = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.to_uppercase().starts_with("BOOT")
    };
    wanted.sort_by_key(|(path, _)| (is_first(path), path.clone()));
    Ok(wanted)
}

/// FAT has no rename that is safe in a power cut, but the new file is whole before it takes its name.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("it has no folder")?;
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    rustix::fs::syncfs(&file)?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::OnDisk;

    fn tree(boot: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put_text =
            |path: &str, text: &str| put(&dir.path().join(path), text.as_bytes()).unwrap();
        put_text("usr/lib/ostree-boot/efi/EFI/BOOT/BOOTX64.EFI", "shim");
        put_text(
            "usr/lib/edge-ota/board.json",
            &format!(r#"{{"board":"b","boot":"{boot}"}}"#),
        );
        dir
    }

    fn told(differences: &[Difference]) -> Vec<(String, bool)> {
        differences
            .iter()
            .map(|d| (d.name(), d.is_missing()))
            .collect()
    }

    #[test]
    fn what_is_missing_is_restored_and_what_differs_is_told() {
        let (tree, dir) = (tree("grub"), tempfile::tempdir().unwrap());
        let (esp, boot) = (dir.path().join("esp"), dir.path().join("boot"));
        let found = compare(&esp, &boot, tree.path()).unwrap();
        assert_eq!(found.len(), 2);
        let mut control = OnDisk::in_folder(BootFlavour::Grub, &boot, &boot);
        for difference in &found {
            restore(&esp, &mut control, difference).unwrap();
        }
        assert!(compare(&esp, &boot, tree.path()).unwrap().is_empty());
        put(&esp.join(GRUB_SCRIPT), b"theirs").unwrap();
        let found = compare(&esp, &boot, tree.path()).unwrap();
        assert_eq!(told(&found), [(GRUB_SCRIPT.to_owned(), false)]);
    }

    #[test]
    fn another_loader_is_set_aside() {
        let (tree, dir) = (tree("grub"), tempfile::tempdir().unwrap());
        let esp = dir.path();
        for path in [
            "EFI/fedora/shimx64.efi",
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/BOOT/fbx64.efi",
        ] {
            put(&esp.join(path), b"theirs").unwrap();
        }
        for _ in 0..2 {
            take_over(esp, tree.path()).unwrap();
            assert_eq!(
                names(&esp.join("EFI")).unwrap(),
                ["BOOT", "debian", "fedora.old"]
            );
            assert_eq!(names(&esp.join("EFI/BOOT")).unwrap(), ["BOOTX64.EFI"]);
            assert!(compare(esp, esp, tree.path()).unwrap().is_empty());
        }
    }

    #[test]
    fn either_copy_of_ubootscript_makes_the_other() {
        let (tree, dir) = (tree("uboot"), tempfile::tempdir().unwrap());
        let (esp, boot) = (dir.path().join("esp"), dir.path().join("boot"));
        fs::create_dir_all(&boot).unwrap();
        let mut control = OnDisk::in_folder(BootFlavour::Uboot, &boot, &boot);
        for kept in [&esp, &boot] {
            put(&kept.join(uboot::SCRIPT), b"script").unwrap();
            let found = compare(&esp, &boot, tree.path()).unwrap();
            assert!(found.len() == 1 && found[0].is_missing());
            restore(&esp, &mut control, &found[0]).unwrap();
            assert!(compare(&esp, &boot, tree.path()).unwrap().is_empty());
            for dir in [&esp, &boot] {
                fs::remove_file(dir.join(uboot::SCRIPT)).unwrap();
            }
        }
        let found = compare(&esp, &boot, tree.path()).unwrap();
        assert!(restore(&esp, &mut control, &found[0]).is_err());
    }
}
