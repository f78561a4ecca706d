//! A root file system as a tar to a folder, with owners, modes, capabilities and hard links, and with the times of
//! files (not of folders: OSTree keeps neither).

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow};
use edge_ota::cmd::Cmd;
use tar::{Archive, EntryType};

use super::Layer;
use crate::interrupt;
use crate::progress::{Progress, Step};

/// How much may lie between unpacking and packing, in pieces of at most [`PIECE`].
const PIECES: usize = 64;
const PIECE: usize = 1 << 18;

/// Unpacks into `to`, which must be empty. Device nodes are left out: a tree has none.
pub fn unpack(layer: &Layer, to: &Path, progress: &Progress) -> Result<()> {
    let size = layer
        .path
        .metadata()
        .with_context(|| format!("opening {}", layer.path.display()))?
        .len();
    let step = progress.bytes("unpacking", size);
    let act = || {
        let counted = Counted {
            inner: BufReader::with_capacity(1 << 20, File::open(&layer.path)?),
            step: &step,
        };
        unpack_tar(zstd::Decoder::new(counted)?, to)
    };
    act().with_context(|| format!("unpacking {} into {}", layer.path.display(), to.display()))?;
    step.done();
    Ok(())
}

/// As [`unpack`], a tar that is being made; meanwhile it is packed as `packed`.
pub fn unpack_new(tar: impl Read, to: &Path, packed: &Path) -> Result<()> {
    let (send, pieces) = sync_channel(PIECES);
    thread::scope(|scope| {
        let packer = scope.spawn(move || pack(&pieces, packed));
        let mut tee = Tee {
            inner: BufReader::with_capacity(PIECE, tar),
            send,
        };
        let unpacked = unpack_tar(&mut tee, to)
            .and_then(|()| Ok(io::copy(&mut tee, &mut io::sink())?))
            .with_context(|| format!("unpacking into {}", to.display()));
        drop(tee);
        let packer = packer.join();
        // A packer that failed is why a piece could not be handed on.
        packer
            .unwrap_or_else(|_| Err(anyhow!("the packer panicked")))
            .with_context(|| format!("writing {}", packed.display()))?;
        unpacked.map(drop)
    })
}

/// Packs a root file system that is there already.
pub fn pack_tree(root: &Path, packed: &Path) -> Result<()> {
    Cmd::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--format=pax",
            "--sort=name",
        ])
        .args(["--one-file-system", "-cf", "-", "-C"])
        .arg(root)
        .arg(".")
        .run_with(
            |mut tar| {
                let mut packer = packer(packed)?;
                io::copy(&mut tar, &mut packer)?;
                packer.finish()?;
                Ok(())
            },
            |_| {},
        )
        .with_context(|| format!("packing {}", root.display()))
}

fn packer(to: &Path) -> io::Result<zstd::Encoder<'static, File>> {
    zstd::Encoder::new(File::create(to)?, zstd::DEFAULT_COMPRESSION_LEVEL)
}

fn unpack_tar(tar: impl Read, to: &Path) -> Result<()> {
    let mut archive = Archive::new(tar);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(true);
    // As the tar crate does: folders last, so that closed ones can be filled.
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

fn pack(pieces: &Receiver<Vec<u8>>, to: &Path) -> Result<()> {
    let mut packer = packer(to)?;
    for piece in pieces {
        packer.write_all(&piece)?;
    }
    packer.finish()?;
    Ok(())
}

/// Hands on what is read.
struct Tee<R> {
    inner: R,
    send: SyncSender<Vec<u8>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let piece = buffer.get(..n).unwrap_or_default().to_vec();
        self.send.send(piece).map_err(io::Error::other)?;
        Ok(n)
    }
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
        let tar = Cmd::new("tar").args(["--xattrs", "--format=pax", "-cf", "-", "-C"]);
        let tar = tar.arg(&from).arg(".").output().unwrap();
        let path = dir.path().join("l.tar.zst");
        unpack_new(tar.as_slice(), &to, &path).unwrap();
        assert_all_is_there(&to);

        let again = dir.path().join("again");
        fs::create_dir(&again).unwrap();
        let layer = Layer {
            path,
            key: "k".into(),
            packages: vec![],
            from_cache: true,
        };
        unpack(&layer, &again, &Progress::plain("test")).unwrap();
        assert_all_is_there(&again);
        let (third, packed) = (dir.path().join("third"), dir.path().join("p.tar.zst"));
        fs::create_dir(&third).unwrap();
        pack_tree(&again, &packed).unwrap();
        let layer = Layer {
            path: packed,
            ..layer
        };
        unpack(&layer, &third, &Progress::plain("test")).unwrap();
        assert_all_is_there(&third);
        let nowhere = dir.path().join("none/l.tar.zst");
        let error = unpack_new(tar.as_slice(), &to, &nowhere).unwrap_err();
        assert!(format!("{error:#}").contains("none/l.tar.zst"), "{error:#}");
    }

    fn assert_all_is_there(to: &Path) {
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
