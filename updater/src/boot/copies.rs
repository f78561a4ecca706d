//! Copies of boot files, read back, with their checksums.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::records::{DeviceTree, hex};
use crate::durable;

/// The tree keeps its own name, but not the vendor's folder that it lies in.
pub fn copy_tree(from: &Path, dir: &Path) -> Result<DeviceTree> {
    let file = plain_name(from)?;
    Ok(DeviceTree {
        sha256: copy_synced(from, &dir.join(&file))?,
        file,
    })
}

pub fn replace_tree(from: &Path, dir: &Path) -> Result<DeviceTree> {
    let file = plain_name(from)?;
    Ok(DeviceTree {
        sha256: replace(from, &dir.join(&file))?,
        file,
    })
}

/// One that is good already is not written.
pub fn replace(from: &Path, to: &Path) -> Result<String> {
    match (hash_if_exists(from)?, hash_if_exists(to)) {
        (Some(good), Ok(Some(found))) if good == found => return Ok(good),
        _ => {}
    }
    let new = to.with_extension("new");
    let sum = copy_synced(from, &new)?;
    fs::rename(&new, to).with_context(|| format!("replacing {}", to.display()))?;
    to.parent().map_or(Ok(()), durable::sync_dir)?;
    Ok(sum)
}

fn plain_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no plain name", path.display()))?;
    Ok(name.to_owned())
}

pub fn hash_if_exists(path: &Path) -> Result<Option<String>> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("opening {}", path.display()))?,
    };
    let sum = hash_while(&mut file, |_| Ok(()));
    sum.map(Some)
        .with_context(|| format!("reading {}", path.display()))
}

/// Copies, syncs, and reads the copy back from the medium's side of the page cache as far as one can.
pub fn copy_synced(from: &Path, to: &Path) -> Result<String> {
    let act = || -> Result<String> {
        let (mut source, mut target) = (File::open(from)?, File::create(to)?);
        let sum = hash_while(&mut source, |bytes| target.write_all(bytes))?;
        target.sync_all()?;
        rustix::fs::fadvise(&target, 0, None, rustix::fs::Advice::DontNeed)?;
        let copied = hash_while(&mut File::open(to)?, |_| Ok(()))?;
        if sum != copied {
            bail!("the copy differs from what was written: the medium is failing");
        }
        Ok(sum)
    };
    act().with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn hash_while(
    from: &mut File,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let n = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else {
            return Ok(hex(&hash.finalize()));
        };
        hash.update(bytes);
        each(bytes)?;
    }
}
