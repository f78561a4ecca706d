//! What another installer left: the partitions of the disk, by what is mounted from them, and the deployment.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{major, minor};

use crate::sysroot::Theirs;

#[derive(Debug)]
pub struct Found {
    pub disk: PathBuf,
    pub esp: Part,
    pub boot: Part,
    pub root: Part,
    all: Vec<Part>,
}

/// A partition as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub device: PathBuf,
    /// Its first sector of 512 bytes.
    pub start: u64,
    disk: PathBuf,
}

impl Found {
    pub fn device_at(&self, start: u64) -> Result<PathBuf> {
        let found = self.all.iter().find(|part| part.start == start);
        let found = found.with_context(|| format!("the kernel knows no partition at {start}"))?;
        Ok(found.device.clone())
    }
}

/// `root` is that of the system: in it the sysroot, `/boot` and `/boot/efi` are mounted.
pub fn look(root: &Path) -> Result<Found> {
    let [sysroot, boot, esp] = ["sysroot", "boot", "boot/efi"].map(|path| part_of(root, path));
    let (sysroot, boot, esp) = (sysroot?, boot?, esp?);
    for (part, line) in [
        (&boot, "part /boot --fstype=ext4 --size=512"),
        (&esp, "part /boot/efi --fstype=efi --size=64"),
    ] {
        if part.start == sysroot.start || part.disk != sysroot.disk {
            bail!(
                "a partition is missing on {}: the kickstart needs '{line}'",
                sysroot.disk.display()
            );
        }
    }
    if esp == boot {
        bail!("/boot/efi is no partition: only systems that boot by UEFI can be adopted");
    }
    Ok(Found {
        all: parts_of(root, &sysroot.disk)?,
        disk: sysroot.disk.clone(),
        root: sysroot,
        boot,
        esp,
    })
}

/// The deployment that `root` is, or the only one there is; `sysroot` is where the root file system is mounted.
pub fn deployment(root: &Path, sysroot: &Path) -> Result<Theirs> {
    let own = fs::metadata(root).map(|meta| (meta.dev(), meta.ino()))?;
    let mut found = Vec::new();
    for stateroot in folders(&sysroot.join("ostree/deploy"))? {
        for dir in folders(&stateroot.join("deploy"))? {
            let theirs = theirs(&stateroot, &dir)?;
            let meta = fs::metadata(&dir)?;
            if (meta.dev(), meta.ino()) == own {
                return Ok(theirs);
            }
            found.push(theirs);
        }
    }
    match found.pop() {
        Some(one) if found.is_empty() => Ok(one),
        Some(_) => bail!("there are several deployments: run this in the one to adopt, by chroot"),
        None => bail!("there is no OSTree deployment: the kickstart needs 'ostreesetup'"),
    }
}

fn theirs(stateroot: &Path, dir: &Path) -> Result<Theirs> {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let (id, stateroot) = (name(dir), name(stateroot));
    let id = id.context("a deployment without a name")?;
    let commit = id.split('.').next().unwrap_or_default().parse()?;
    let stateroot = stateroot.context("a stateroot without a name")?;
    Ok(Theirs {
        stateroot,
        commit,
        id,
    })
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("listing {}", dir.display()))?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn part_of(root: &Path, path: &str) -> Result<Part> {
    let place = root.join(path);
    let meta = fs::metadata(&place).with_context(|| format!("asking for {}", place.display()))?;
    let link = root.join(format!(
        "sys/dev/block/{}:{}",
        major(meta.dev()),
        minor(meta.dev())
    ));
    let dir = fs::canonicalize(&link);
    let dir =
        dir.with_context(|| format!("/{path} is not on a partition, or /sys is not mounted"))?;
    part(root, &dir)?.with_context(|| format!("/{path} is not on a partition of a disk"))
}

fn parts_of(root: &Path, disk: &Path) -> Result<Vec<Part>> {
    let name = disk.file_name().context("a disk without a name")?;
    let dir = fs::canonicalize(root.join("sys/class/block").join(name))?;
    let mut parts = Vec::new();
    for dir in folders(&dir)? {
        parts.extend(part(root, &dir)?);
    }
    Ok(parts)
}

/// `None` for what is no partition.
fn part(root: &Path, dir: &Path) -> Result<Option<Part>> {
    if !dir.join("partition").exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(dir.join("start"))?;
    let (name, disk) = (dir.file_name(), dir.parent().and_then(Path::file_name));
    let (Some(name), Some(disk)) = (name, disk) else {
        bail!("{} is no partition", dir.display());
    };
    Ok(Some(Part {
        device: root.join("dev").join(name),
        disk: root.join("dev").join(disk),
        start: text.trim().parse().context("a partition without a start")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployment_we_run_in_is_meant_else_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let sysroot = dir.path();
        assert!(deployment(sysroot, sysroot).is_err());
        let id = |digit: &str| format!("{}.0", digit.repeat(64));
        let put = |stateroot: &str, id: &str| {
            let path = sysroot
                .join("ostree/deploy")
                .join(stateroot)
                .join("deploy")
                .join(id);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let first = put("fedora", &id("a"));
        let found = deployment(sysroot, sysroot).unwrap();
        assert_eq!((found.stateroot.as_str(), found.id), ("fedora", id("a")));
        let second = put("edge", &id("b"));
        assert!(
            deployment(sysroot, sysroot)
                .unwrap_err()
                .to_string()
                .contains("several")
        );
        assert_eq!(deployment(&second, sysroot).unwrap().stateroot, "edge");
        assert_eq!(
            deployment(&first, sysroot).unwrap().commit.as_str(),
            "a".repeat(64)
        );
    }
}
