//! What qemu-img writes into a VHD of the moment it was made: a time and an id, in the footer and, where the disk is
//! dynamic, in its copy at the start. Fields as in Microsoft's "Virtual Hard Disk Image Format Specification".

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const FOOTER: usize = 512;
const COOKIE: &[u8] = b"conectix";
/// 2000-01-01, the specification's first second.
const EPOCH: u64 = 946_684_800;

/// Sets time (of Unix) and id.
pub fn settle(path: &Path, time: u64, id: &[u8; 16]) -> Result<()> {
    let act = || -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let end = file.metadata()?.len().checked_sub(FOOTER as u64);
        let end = end.context("it is shorter than a footer")?;
        let time = u32::try_from(time.saturating_sub(EPOCH)).context("its time is after 2136")?;
        ensure!(settle_at(&file, end, time, id)?, "it has no footer");
        // A fixed disk begins with its content.
        settle_at(&file, 0, time, id).map(drop)
    };
    act().with_context(|| format!("setting time and id of {}", path.display()))
}

/// Whether there is a footer.
fn settle_at(file: &File, at: u64, time: u32, id: &[u8; 16]) -> Result<bool> {
    let mut bytes = [0; FOOTER];
    file.read_exact_at(&mut bytes, at)?;
    if !bytes.starts_with(COOKIE) {
        return Ok(false);
    }
    file.write_all_at(&settled(bytes, time, id), at)?;
    Ok(true)
}

fn settled(mut footer: [u8; FOOTER], time: u32, id: &[u8; 16]) -> [u8; FOOTER] {
    footer[24..28].copy_from_slice(&time.to_be_bytes());
    footer[68..84].copy_from_slice(id);
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_vhd_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vhd");
        for bytes in [vec![0; 100], vec![0; 4096]] {
            std::fs::write(&path, bytes).unwrap();
            let error = settle(&path, EPOCH, &[1; 16]).unwrap_err();
            assert!(format!("{error:#}").contains("x.vhd"), "{error:#}");
        }
    }

    #[test]
    fn the_checksum_is_the_complement_of_the_sum_of_the_others() {
        let mut footer = [0; FOOTER];
        footer[..8].copy_from_slice(COOKIE);
        let footer = settled(footer, 1, &[2; 16]);
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        let own: u32 = footer[64..68].iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(footer[64..68], (!(sum - own)).to_be_bytes());
        assert_eq!(footer[24..28], [0, 0, 0, 1]);
    }
}
