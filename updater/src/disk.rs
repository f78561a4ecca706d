//! The partitions of the disk we run from, found by GPT name beside the one that holds the sysroot,
//! never by a label or an id that a second disk could carry too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, major, minor};
use rustix::mount::{MountFlags, mount};

use crate::cmd::Cmd;

pub const PART_ESP: &str = "esp";
pub const PART_TRIAL: &str = "edge-trial";
pub const PART_BOOT: &str = "edge-boot";
pub const PART_ROOT: &str = "edge-root";
/// Where `/var` lies on a partition of its own.
pub const PART_VAR: &str = "edge-var";

/// The disk under the sysroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `/dev/vda`
    pub device: PathBuf,
    partitions: Vec<Partition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    pub name: String,
    pub device: PathBuf,
}

impl Disk {
    /// Finds the disk that holds the file system of `path`.
    pub fn of(root: &Path, path: &Path) -> Result<Self> {
        let dev = fs::metadata(path)
            .with_context(|| format!("asking for {}", path.display()))?
            .dev();
        let link = root.join(format!("sys/dev/block/{}:{}", major(dev), minor(dev)));
        let partition = fs::canonicalize(&link).with_context(|| {
            format!(
                "{} is not on a disk: {} is missing",
                path.display(),
                link.display()
            )
        })?;
        let disk = partition.parent().context("a partition without a disk")?;
        Self::from_sysfs(root, disk)
    }

    /// A whole disk by its device, `/dev/vda`.
    pub fn on(root: &Path, device: &Path) -> Result<Self> {
        let name = device.file_name().context("a disk without a name")?;
        Self::from_sysfs(root, &root.join("sys/block").join(name))
    }

    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn from_sysfs(root: &Path, disk: &Path) -> Result<Self> {
        let name = disk
            .file_name()
            .and_then(|n| n.to_str())
            .context("a disk without a name")?;
        let mut partitions = Vec::new();
        for entry in fs::read_dir(disk).with_context(|| format!("listing {}", disk.display()))? {
            let uevent = entry?.path().join("uevent");
            let Ok(text) = fs::read_to_string(&uevent) else {
                continue;
            };
            if let Some(partition) = parse_uevent(root, &text) {
                partitions.push(partition);
            }
        }
        partitions.sort_by_key(|p| p.number);
        Ok(Self {
            device: root.join("dev").join(name),
            partitions,
        })
    }

    pub fn partition(&self, name: &str) -> Result<&Partition> {
        let mut found = self.partitions.iter().filter(|p| p.name == name);
        match (found.next(), found.next()) {
            (Some(partition), None) => Ok(partition),
            (None, _) => bail!(
                "{} has no partition named {name}: was it made by edge-build?",
                self.device.display()
            ),
            _ => bail!("{} has two partitions named {name}", self.device.display()),
        }
    }

    /// Gives the disk and its partitions ids of their own, so that a second copy of the same image
    /// is another disk. The loader reads the ids anew at each boot.
    pub fn make_unique(&self) -> Result<()> {
        self.sfdisk(&["--disk-id"], &[random_uuid()?])?;
        for partition in &self.partitions {
            self.sfdisk(
                &["--part-uuid"],
                &[partition.number.to_string(), random_uuid()?],
            )?;
        }
        Ok(())
    }

    /// The partition for `/var`, where the disk was made with one.
    pub fn var(&self) -> Result<Option<&Partition>> {
        match self.partitions.iter().any(|p| p.name == PART_VAR) {
            true => self.partition(PART_VAR).map(Some),
            false => Ok(None),
        }
    }

    /// What grows with the disk: the last partition.
    fn growing(&self) -> Result<&Partition> {
        match self.var()? {
            Some(var) => Ok(var),
            None => self.partition(PART_ROOT),
        }
    }

    /// Bytes of the partition that grows.
    pub fn grown_size(&self) -> Result<u64> {
        self.size_of(&self.growing()?.device)
    }

    /// Grows the last partition and its file system to the end of the disk.
    pub fn grow(&self) -> Result<()> {
        let last = self.growing()?;
        Cmd::new("sfdisk")
            .args([
                "--quiet",
                "--force",
                "--no-reread",
                "--no-tell-kernel",
                "-N",
            ])
            .arg(last.number.to_string())
            .arg(&self.device)
            .output_with_input(b", +\n".to_vec())?;
        Cmd::new("partx")
            .args(["--update", "--nr"])
            .arg(last.number.to_string())
            .arg(&self.device)
            .run()?;
        Cmd::new("resize2fs").arg(&last.device).run()
    }

    fn size_of(&self, device: &Path) -> Result<u64> {
        let text = Cmd::new("blockdev").arg("--getsize64").arg(device).text()?;
        text.trim()
            .parse()
            .with_context(|| format!("size of {}", device.display()))
    }

    fn sfdisk(&self, options: &[&str], values: &[String]) -> Result<()> {
        Cmd::new("sfdisk")
            .args(["--quiet", "--force", "--no-reread", "--no-tell-kernel"])
            .args(options)
            .arg(&self.device)
            .args(values)
            .run()
    }
}

fn parse_uevent(root: &Path, text: &str) -> Option<Partition> {
    let get = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    Some(Partition {
        number: get("PARTN")?.parse().ok()?,
        name: get("PARTNAME").unwrap_or("").to_owned(),
        device: root.join("dev").join(get("DEVNAME")?),
    })
}

/// An id that no other disk has.
pub fn random_uuid() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .context("asking the kernel for a random id")?;
    Ok(text.trim().to_uppercase())
}

/// Mounts `edge-boot` read-only at `target` unless it is there already.
pub fn mount_boot(disk: &Disk, target: &Path) -> Result<()> {
    let partition = disk.partition(PART_BOOT)?;
    fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
    if is_mount_point(target)? {
        return Ok(());
    }
    let flags = MountFlags::RDONLY
        | MountFlags::NOATIME
        | MountFlags::NODEV
        | MountFlags::NOSUID
        | MountFlags::NOEXEC;
    mount(&partition.device, target, "ext4", flags, c"").with_context(|| {
        format!(
            "mounting {} on {}",
            partition.device.display(),
            target.display()
        )
    })
}

/// Mounts the disk's `edge-var`, if it has one, where `var.mount` looks for `/var`; whether it did. It is checked as a
/// root file system is, for nothing else checks it.
pub fn mount_var(disk: &Disk, target: &Path) -> Result<bool> {
    let Some(partition) = disk.var()? else {
        return Ok(false);
    };
    if is_mount_point(target)? {
        return Ok(true);
    }
    check_ext4(&partition.device)?;
    mount(&partition.device, target, "ext4", MountFlags::NOATIME, c"").with_context(|| {
        format!(
            "mounting {} on {}",
            partition.device.display(),
            target.display()
        )
    })?;
    Ok(true)
}

/// What can be mended without a question is (e2fsck(8): 1 and 2 say that something was).
fn check_ext4(device: &Path) -> Result<()> {
    let status = Cmd::new("e2fsck").arg("-p").arg(device).status()?;
    match status.code() {
        Some(0..=3) => Ok(()),
        _ => bail!("{} needs 'e2fsck -f' by hand ({status})", device.display()),
    }
}

fn is_mount_point(path: &Path) -> Result<bool> {
    let parent = path.parent().context("no parent folder")?;
    Ok(fs::metadata(path)?.dev() != fs::metadata(parent)?.dev())
}

/// An exclusive lock on the updater's work, held until dropped; `None` when another process has it.
pub fn try_lock(path: &Path) -> Result<Option<std::fs::File>> {
    flock(path, rustix::fs::FlockOperation::NonBlockingLockExclusive)
}

/// As [`try_lock`], waiting for it.
pub fn lock(path: &Path) -> Result<std::fs::File> {
    flock(path, rustix::fs::FlockOperation::LockExclusive)?
        .context("a lock that was waited for was refused")
}

fn flock(path: &Path, operation: rustix::fs::FlockOperation) -> Result<Option<std::fs::File>> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
        .with_context(|| format!("opening the lock {}", path.display()))?;
    match rustix::fs::flock(&fd, operation) {
        Ok(()) => Ok(Some(fd.into())),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("locking {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_one_disk() {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("sys/devices/virtio/block/vda");
        for (name, n, label) in [
            ("vda1", 1, "esp"),
            ("vda2", 2, "edge-trial"),
            ("vda10", 10, "edge-root"),
        ] {
            fs::create_dir_all(disk.join(name)).unwrap();
            let text = format!(
                "MAJOR=254\nDEVNAME={name}\nDEVTYPE=partition\nPARTN={n}\nPARTNAME={label}\n"
            );
            fs::write(disk.join(name).join("uevent"), text).unwrap();
        }
        fs::create_dir_all(disk.join("queue")).unwrap();
        let found = Disk::from_sysfs(root.path(), &disk).unwrap();
        assert_eq!(
            found.partition(PART_ROOT).unwrap().device,
            root.path().join("dev/vda10")
        );
        assert_eq!(found.growing().unwrap().number, 10);
        assert!(found.var().unwrap().is_none());
        let error = found.partition(PART_BOOT).unwrap_err().to_string();
        assert!(error.contains("edge-boot"), "{error}");
    }

    #[test]
    fn where_var_is_a_partition_it_grows() {
        let partition = |number, name: &str| Partition {
            number,
            name: name.to_owned(),
            device: name.into(),
        };
        let disk = Disk {
            device: "vda".into(),
            partitions: vec![partition(4, PART_ROOT), partition(5, PART_VAR)],
        };
        assert_eq!(disk.growing().unwrap().name, PART_VAR);
        let twice = Disk {
            partitions: vec![partition(5, PART_VAR), partition(6, PART_VAR)],
            ..disk
        };
        assert!(twice.growing().is_err());
    }

    #[test]
    fn the_lock_is_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        let held = try_lock(&path).unwrap();
        assert!(held.is_some());
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
