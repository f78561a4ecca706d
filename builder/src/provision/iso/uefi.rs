//! How UEFI starts the medium: from a FAT file system that is El Torito's boot image and a partition of a stick at the
//! same time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::media::filesystems::{copy_into_fat, mtools};
use edge_ota::media::layout::uuid;

use super::Iso;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// For the tables of the file system, and the ends of clusters.
const SPARE: u64 = MIB;
/// Where signed GRUBs look for their script: Debian's, and those that were given no folder of their own. From a stick
/// it is a folder of this file system, from an optical drive one of the medium.
pub const SCRIPTS: [&str; 2] = ["/EFI/debian", "/EFI/BOOT"];

/// A file system with the tree's loaders and the script `finder`.
pub fn image(iso: &Iso, finder: &Path, dir: &Path) -> Result<PathBuf> {
    let (efi, image) = (iso.efi.join("EFI"), dir.join("efi.img"));
    ensure!(
        efi.join("BOOT").is_dir(),
        "{} holds no EFI/BOOT: the medium would not start by UEFI",
        iso.efi.display()
    );
    let size = size_of(&efi).with_context(|| format!("reading {}", efi.display()))?;
    let size = (size + SPARE).next_multiple_of(MIB);
    File::create(&image)
        .and_then(|file| file.set_len(size))
        .with_context(|| format!("making {}", image.display()))?;
    let at = image.display().to_string();
    let id = uuid(iso.commit.as_str(), "iso esp");
    mtools("mformat", iso.time)
        .args(["-h", "64", "-s", "32", "-v", "ESP", "-N"])
        .args([id.get(..8).unwrap_or("0"), "-T"])
        .args([&(size / SECTOR).to_string(), "-i", &at, "::"])
        .run()?;
    copy_into_fat(&at, &efi, "::EFI", iso.time)?;
    for folder in SCRIPTS {
        // One of them came with the loaders.
        let to = format!("::{folder}");
        if !efi.join(folder.trim_start_matches("/EFI/")).is_dir() {
            mtools("mmd", iso.time).args(["-i", &at, &to]).run()?;
        }
        let copy = mtools("mcopy", iso.time).args(["-o", "-i", &at]);
        copy.arg(finder).arg(format!("{to}/grub.cfg")).run()?;
    }
    Ok(image)
}

pub fn arguments(image: &Path) -> Vec<String> {
    let image = image.display().to_string();
    [
        "-append_partition",
        "2",
        "0xef",
        &image,
        "-appended_part_as_gpt",
        "-partition_offset",
        "16",
        "-e",
        "--interval:appended_partition_2:all::",
        "-no-emul-boot",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn size_of(path: &Path) -> io::Result<u64> {
    let meta = fs::metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size_of(&entry?.path())?))
}
