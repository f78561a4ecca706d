//! The one durable write.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

/// Replaces `path` so that after a power cut it holds either all of the old or all of the new
/// bytes: temporary file, fsync, rename, fsync of the folder. The file is world-readable.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with_mode(path, bytes, 0o644)
}

/// As [`write`], readable by its owner alone.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let act = || -> Result<()> {
        let parent = folder(path)?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(parent)?;
        // The mode asked for above is cut by the umask.
        temporary
            .as_file()
            .set_permissions(Permissions::from_mode(mode))?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        sync_dir(parent)
    };
    act().with_context(|| format!("writing {}", path.display()))
}

/// Removes `path` if it is there, durably.
pub fn remove(path: &Path) -> Result<()> {
    let act = || -> Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        sync_dir(folder(path)?)
    };
    act().with_context(|| format!("removing {}", path.display()))
}

/// A name alone is in the current folder.
fn folder(path: &Path) -> Result<&Path> {
    let parent = path.parent().context("it has no folder")?;
    match parent.as_os_str().is_empty() {
        true => Ok(Path::new(".")),
        false => Ok(parent),
    }
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("syncing {}", path.display()))
}

/// Overwrites bytes of an existing file or block device in place, durably. Nothing moves on the
/// medium, so a boot loader that knows the blocks still finds them.
pub fn overwrite(path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    let act = || -> Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(bytes, offset)?;
        file.sync_data()?;
        Ok(())
    };
    act().with_context(|| {
        format!(
            "writing {} bytes at {offset} of {}",
            bytes.len(),
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        overwrite(&path, 1, b"X").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"tXo");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn error_names_the_file() {
        let error = write(Path::new("/proc/none/f"), b"").unwrap_err();
        assert!(format!("{error:#}").contains("/proc/none/f"));
    }
}
