//! A packed layer to a folder, with owners, modes, times, capabilities and hard links.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use tar::{Archive, EntryType};

use super::Layer;
use crate::interrupt;
use crate::progress::{Progress, Step};

/// Unpacks into `to`, which must be empty. Device nodes are left out: a tree has none.
pub fn unpack(layer: &Layer, to: &Path, progress: &Progress) -> Result<()> {
    let size = layer
        .path
        .metadata()
        .with_context(|| format!("opening {}", layer.path.display()))?
        .len();
    let step = progress.bytes("unpacking", size);
    unpack_file(&layer.path, to, &step)
        .with_context(|| format!("unpacking {} into {}", layer.path.display(), to.display()))?;
    step.done();
    Ok(())
}

fn unpack_file(path: &Path, to: &Path, step: &Step) -> Result<()> {
    let counted = Counted {
        inner: BufReader::with_capacity(1 << 20, File::open(path)?),
        step,
    };
    let mut archive = Archive::new(zstd::Decoder::new(counted)?);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(true);
    // As the tar crate does: folders last, so that their modes and times are not disturbed.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        interrupt::check()?;
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::Char | EntryType::Block | EntryType::Fifo => {}
            EntryType::Directory => folders.push(entry),
            _ => drop(entry.unpack_in(to)?),
        }
    }
    folders.sort_by(|a, b| b.path_bytes().cmp(&a.path_bytes()));
    for mut folder in folders {
        folder.unpack_in(to)?;
    }
    Ok(())
}

/// Counts compressed bytes.
struct Counted<'a, R> {
    inner: R,
    step: &'a Step,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.step.advance(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn modes_links_and_attributes_survive() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("closed")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("closed/f"), "x").unwrap();
        fs::hard_link(from.join("closed/f"), from.join("g")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("l")).unwrap();
        fs::set_permissions(from.join("closed/f"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(from.join("closed"), fs::Permissions::from_mode(0o1555)).unwrap();
        rustix::fs::setxattr(
            from.join("g"),
            "user.k",
            b"v",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let path = dir.path().join("l.tar.zst");
        Cmd::new("tar")
            .args(["--xattrs", "--format=pax", "--zstd", "-cf"])
            .arg(&path)
            .arg("-C")
            .arg(&from)
            .arg(".")
            .run()
            .unwrap();
        let layer = Layer {
            path,
            key: "k".into(),
            packages: vec![],
            from_cache: false,
        };
        unpack(&layer, &to, &Progress::plain("test")).unwrap();
        let meta = fs::metadata(to.join("g")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o4751, 2));
        assert_eq!(
            fs::metadata(to.join("closed")).unwrap().mode() & 0o7777,
            0o1555
        );
        assert_eq!(
            fs::read_link(to.join("l")).unwrap(),
            Path::new("/etc/passwd")
        );
        let mut value = [0; 8];
        let n = rustix::fs::getxattr(to.join("g"), "user.k", &mut value).unwrap();
        assert_eq!(&value[..n], b"v");
    }
}
