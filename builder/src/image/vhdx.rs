//! What qemu-img writes into a VHDX by chance: the ids of its writers, sequence numbers, the id that a guest sees of its
//! disk (page 83 of SCSI), and a log of what is long in its place. Fields as in Microsoft's \[MS-VHDX\].

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use edge_ota::media::layout::uuid;

use super::guid;

const KIB: u64 = 1024;
const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const HEADER: usize = 4096;
const REGIONS: u64 = 192 * KIB;
const ENTRY: usize = 32;
/// In a region table and in a metadata table, entries begin after a head.
const REGIONS_HEAD: u64 = 16;
const METADATA_HEAD: u64 = 32;
const METADATA_REGION: &str = "8B7CA206-4790-4B9A-B8FE-575F050F886E";
const PAGE_83: &str = "BECA12AB-B2E6-4523-93EF-C309E000C746";
/// More entries than either table has room for are damage.
const MOST_ENTRIES: u64 = 2047;

/// Takes ids and sequence numbers from `seed`, and empties the log.
pub fn settle(path: &Path, seed: &str) -> Result<()> {
    let act = || -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        for (sequence, at) in (1..).zip(HEADERS) {
            let mut header = [0; HEADER];
            file.read_exact_at(&mut header, at)?;
            clear_log(&file, &header)?;
            file.write_all_at(&settled(header, sequence, seed), at)?;
        }
        let (metadata, _) = entry(&file, REGIONS, 8, REGIONS_HEAD, METADATA_REGION)?;
        let (_, page) = entry(&file, metadata, 10, METADATA_HEAD, PAGE_83)?;
        let id = guid::little_endian(&uuid(seed, "vhdx page 83"))?;
        Ok(file.write_all_at(&id, metadata + u64::from(page))?)
    };
    act().with_context(|| format!("setting the ids of {}", path.display()))
}

/// An empty id of the log says that all of it has been written to its place.
fn clear_log(file: &File, header: &[u8; HEADER]) -> Result<()> {
    ensure!(header.starts_with(b"head"), "it has no header");
    ensure!(
        header[48..64].iter().all(|byte| *byte == 0),
        "its log is in use"
    );
    let (length, offset) = (u32_at(header, 68)?, u64_at(header, 72)?);
    ensure!(length <= 1 << 20, "its log is of {length} bytes");
    let zeros = vec![0; usize::try_from(length)?];
    Ok(file.write_all_at(&zeros, offset)?)
}

fn settled(mut header: [u8; HEADER], sequence: u64, seed: &str) -> [u8; HEADER] {
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    for (at, what) in [(16, "vhdx file"), (32, "vhdx data")] {
        if let Ok(id) = guid::little_endian(&uuid(seed, what)) {
            header[at..at + 16].copy_from_slice(&id);
        }
    }
    header[4..8].fill(0);
    let sum = crc32c::crc32c(&header);
    header[4..8].copy_from_slice(&sum.to_le_bytes());
    header
}

/// The first two fields after the id of an entry of a table, as 64 bits and, for metadata, as its first 32. The number of
/// entries is 16 bits wide at `count`.
fn entry(file: &File, table: u64, count: u64, head: u64, id: &str) -> Result<(u64, u32)> {
    let mut number = [0; 2];
    file.read_exact_at(&mut number, table + count)?;
    let wanted = guid::little_endian(id)?;
    for n in 0..u64::from(u16::from_le_bytes(number)).min(MOST_ENTRIES) {
        let mut bytes = [0; ENTRY];
        file.read_exact_at(&mut bytes, table + head + n * ENTRY as u64)?;
        if bytes.starts_with(&wanted) {
            return Ok((u64_at(&bytes, 16)?, u32_at(&bytes, 16)?));
        }
    }
    bail!("it has no entry {id}")
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..at + 4).context("it is cut off")?;
    Ok(u32::from_le_bytes(field.try_into()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    let field = bytes.get(at..at + 8).context("it is cut off")?;
    Ok(u64::from_le_bytes(field.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_vhdx_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vhdx");
        let mut in_use = vec![0; 256 << 10];
        in_use[64 << 10..(64 << 10) + 4].copy_from_slice(b"head");
        in_use[(64 << 10) + 50] = 1;
        for (bytes, said) in [(vec![0; 256 << 10], "no header"), (in_use, "log is in use")] {
            std::fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", settle(&path, "seed").unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
