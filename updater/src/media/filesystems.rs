//! The file systems of a disk, written straight to their place in an image or to the partition of a device: no loop
//! devices. Every time in them is the release's, so that the same release makes the same image.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::Place;
use crate::boot::envblk;
use crate::boot::grub;
use crate::boot::on_disk::{BOOTS_SECTOR, TRIAL_SECTORS};
use crate::boot::records::{Boots, BootsRecord};
use crate::cmd::Cmd;

const KIB: u64 = 1024;

/// The EFI system partition: the tree's shim and GRUB, and our static script. Debian's signed GRUB
/// looks for its script in `/EFI/debian`.
pub fn write_esp(place: &Place, efi: &Path, work: &Path, time: u64) -> Result<()> {
    let script = work.join("grub.cfg");
    std::fs::write(&script, grub::SCRIPT)
        .with_context(|| format!("writing {}", script.display()))?;
    format_fat(place, "ESP", time)?;
    let image = place.for_mtools();
    copy_into_fat(&image, &efi.join("EFI"), "::EFI", time)?;
    mtools("mmd", time)
        .args(["-i", &image, "::EFI/debian"])
        .run()?;
    mtools("mcopy", time)
        .args(["-i", &image])
        .arg(&script)
        .arg("::EFI/debian/grub.cfg")
        .run()
}

/// Copies a folder, with a name of its own there, into a file system as mtools name it. In the order of the names,
/// whatever the order of the folder: that shows in the image.
pub fn copy_into_fat(image: &str, from: &Path, to: &str, time: u64) -> Result<()> {
    let tool = |name: &str| mtools(name, time).args(["-i", image]);
    tool("mmd").arg(to).run()?;
    let (folders, files) = listed(from)?;
    if !files.is_empty() {
        tool("mcopy").args(&files).arg(to).run()?;
    }
    folders.iter().try_for_each(|folder| {
        let name = folder.file_name().context("a folder without a name")?;
        let to = format!("{to}/{}", name.to_string_lossy());
        copy_into_fat(image, folder, &to, time)
    })
}

fn listed(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let act = || -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let paths = act().with_context(|| format!("listing {}", dir.display()))?;
    Ok(paths.into_iter().partition(|path| path.is_dir()))
}

/// With the geometry of a disk. As small as the partition is it would be FAT16.
pub(super) fn format_fat(place: &Place, label: &str, time: u64) -> Result<()> {
    let sectors = (place.partition.size / 512).to_string();
    mtools("mformat", time)
        .args(["-F", "-h", "64", "-s", "32", "-c", "1", "-v", label])
        .args(["-N", place.fat_id(), "-T", &sectors])
        .args(["-i", &place.for_mtools(), "::"])
        .run()
}

/// The loader's own records, at the fixed sectors of docs/formats.md.
pub fn write_trial(file: &Path, work: &Path, time: u64) -> Result<()> {
    let boots = BootsRecord {
        boots: Boots::Count(0),
        seq: "0".to_owned(),
    };
    let blocks = [
        ("trial.0", envblk::format(&[])),
        ("trial.1", envblk::format(&[])),
        ("boots", boots.to_bytes()),
    ];
    std::fs::File::create(file)
        .and_then(|f| f.set_len(KIB * KIB))
        .with_context(|| format!("making {}", file.display()))?;
    mtools("mformat", time)
        .args([
            "-T", "2048", "-h", "1", "-s", "1", "-c", "8", "-r", "4", "-L", "1", "-R", "1",
        ])
        .args(["-v", "EDGETRIAL", "-N", "45444745", "-i"])
        .arg(file)
        .arg("::")
        .run()?;
    for (name, bytes) in blocks {
        let path = work.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        mtools("mcopy", time)
            .arg("-i")
            .arg(file)
            .arg(&path)
            .arg("::")
            .run()?;
    }
    check_sectors(file)
}

/// The files must lie where Linux and U-Boot will look for them without a file system.
fn check_sectors(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    for sector in TRIAL_SECTORS.into_iter().chain([BOOTS_SECTOR]) {
        let start = usize::try_from(sector)? * 512;
        let block = bytes.get(start..start + envblk::SIZE).unwrap_or(&[]);
        envblk::parse(block)
            .with_context(|| format!("mformat did not put a record at sector {sector}"))?;
    }
    Ok(())
}

/// The EFI system partition or U-Boot's, with nothing in it, to be mounted. As small as it is it would be FAT16.
pub fn make_empty_fat(place: &Place, label: &str) -> Result<()> {
    let id = place.fat_id();
    Cmd::new("mkfs.vfat")
        .args(["-F", "32", "-s", "1", "-n", label, "-i", id])
        .arg(place.file)
        .run()
}

/// The file system that the loader reads.
pub fn write_boot(place: &Place, from: &Path, time: u64) -> Result<()> {
    mke2fs(place, from, BOOT_OPTIONS, time)?;
    debugfs(place, &inode_times(place, time)?, time)
}

pub fn write_root(place: &Place, from: &Path, deployment: &str, time: u64) -> Result<()> {
    mke2fs(place, from, ROOT_OPTIONS, time)?;
    // libostree makes a deployment's root immutable; mke2fs does not carry that flag over.
    let flag = format!("sif /ostree/deploy/edge/deploy/{deployment} flags 0x80010\n");
    let commands = inode_times(place, time)? + &flag;
    debugfs(place, &commands, time)
}

/// The file system for `/var`, with what is in it before the first boot.
pub fn write_var(place: &Place, from: &Path, time: u64) -> Result<()> {
    mke2fs(place, from, VAR_OPTIONS, time)?;
    debugfs(place, &inode_times(place, time)?, time)
}

/// Without the features that GRUB or U-Boot do not know.
const BOOT_OPTIONS: &[&str] = &["-m", "0", "-O", "^orphan_file,^metadata_csum_seed,^64bit"];
const ROOT_OPTIONS: &[&str] = &["-m", "1", "-O", "^orphan_file,^metadata_csum_seed"];
/// As large as it will be: mke2fs would take small blocks for what is small at first.
const VAR_OPTIONS: &[&str] = &[
    "-b",
    "4096",
    "-m",
    "1",
    "-O",
    "^orphan_file,^metadata_csum_seed",
];

/// The same file systems with nothing in them, to be mounted.
pub fn make_empty_boot(place: &Place) -> Result<()> {
    ext4(place, BOOT_OPTIONS)
        .arg(place.file)
        .arg(size(place))
        .run()
}

pub fn make_empty_root(place: &Place) -> Result<()> {
    ext4(place, ROOT_OPTIONS)
        .arg(place.file)
        .arg(size(place))
        .run()
}

fn mke2fs(place: &Place, from: &Path, options: &[&str], time: u64) -> Result<()> {
    set_times(from, time)?;
    at_time(ext4(place, options), time)
        .arg("-d")
        .arg(from)
        .arg(place.file)
        .arg(size(place))
        .run()
}

fn ext4(place: &Place, options: &[&str]) -> Cmd {
    let partition = place.partition;
    let extended = format!(
        "offset={},hash_seed={},root_owner=0:0",
        place.start, partition.uuid
    );
    Cmd::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4"])
        .args(["-L", partition.name, "-U", &partition.uuid])
        .args(["-E", &extended])
        .args(options)
}

fn size(place: &Place) -> String {
    format!("{}k", place.partition.size / KIB)
}

/// What mke2fs copies from the files: no time later than the release's. libostree's files keep their zero.
fn set_times(path: &Path, time: u64) -> Result<()> {
    let meta = fs::symlink_metadata(path).with_context(|| format!("reading {}", path.display()))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
            set_times(&entry?.path(), time)?;
        }
    }
    let time = i64::try_from(time)?;
    let at = |seconds| Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: at(time),
        last_modification: at(meta.mtime().min(time)),
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("setting the times of {}", path.display()))
}

/// Commands for debugfs that set the times that mke2fs takes from the clock, that a file cannot be given, or that
/// reading it changes. From e2fsprogs 1.47.1 on mke2fs does it by itself.
fn inode_times(place: &Place, time: u64) -> Result<String> {
    // The first inode that is not reserved (ext4's s_first_ino) is lost+found's.
    const FIRST: u64 = 11;
    const ROOT: u64 = 2;
    let listed = Cmd::new("dumpe2fs")
        .arg("-h")
        .arg(place.for_e2fs())
        .env("LC_ALL", "C")
        .text()?;
    let number = |name: &str| -> Result<u64> {
        let line = listed.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim().parse().ok());
        number.with_context(|| format!("dumpe2fs says no '{name}'"))
    };
    let used = number("Inode count:")? - number("Free inodes:")?;
    let inodes = [ROOT].into_iter().chain(FIRST..=used);
    let commands = inodes.map(|inode| {
        ["atime", "ctime", "crtime"]
            .map(|field| format!("sif <{inode}> {field} @{time}\n"))
            .concat()
    });
    Ok(commands.collect())
}

fn debugfs(place: &Place, commands: &str, time: u64) -> Result<()> {
    let tool = Cmd::new("debugfs").args(["-w", "-f", "/dev/stdin"]);
    at_time(tool, time)
        .arg(place.for_e2fs())
        .output_with_input(commands.as_bytes().to_vec())
        .map(drop)
}

/// A tool of mtools; what it writes has this time.
pub fn mtools(tool: &str, time: u64) -> Cmd {
    at_time(Cmd::new(tool), time)
}

/// Before 1.47.1 e2fsprogs knows a variable of its own only.
fn at_time(tool: Cmd, time: u64) -> Cmd {
    tool.env("SOURCE_DATE_EPOCH", time.to_string())
        .env("E2FSPROGS_FAKE_TIME", time.to_string())
        .env("TZ", "UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lie_at_their_sectors() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trial.img");
        write_trial(&file, dir.path(), 7).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 1 << 20);
    }
}
