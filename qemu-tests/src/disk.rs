//! Reads and damages the disk of a machine that is off.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;

const SECTOR: u64 = 512;
/// Protective record, header and the usual 128 entries of 128 bytes.
const GPT_SECTORS: u64 = 34;

/// A GPT partition of a qcow2 file, by name.
pub struct Partition<'a> {
    disk: &'a Path,
    offset: u64,
    length: u64,
}

impl<'a> Partition<'a> {
    pub fn find(disk: &'a Path, name: &str) -> Result<Self> {
        let table = read(disk, 0, GPT_SECTORS * SECTOR)?;
        let (first, last) = find_in_gpt(&table, name)
            .with_context(|| format!("{} has no partition '{name}'", disk.display()))?;
        Ok(Self {
            disk,
            offset: first * SECTOR,
            length: (last + 1 - first) * SECTOR,
        })
    }

    pub fn read_sectors(&self, first: u64, count: u64) -> Result<Vec<u8>> {
        read(self.disk, self.at(first, count * SECTOR)?, count * SECTOR)
    }

    pub fn write_sectors(&self, first: u64, bytes: &[u8]) -> Result<()> {
        let offset = self.at(first, bytes.len() as u64)?;
        let source = tempfile::NamedTempFile::new()?;
        std::fs::write(source.path(), bytes)?;
        let command = format!(
            "write -s {} {offset} {}",
            source.path().display(),
            bytes.len()
        );
        Cmd::new("qemu-io")
            .args(["-f", "qcow2", "-c", &command])
            .arg(self.disk)
            .run()
    }

    fn at(&self, sector: u64, length: u64) -> Result<u64> {
        ensure!(
            sector * SECTOR + length <= self.length,
            "sector {sector} is past the end of the partition"
        );
        Ok(self.offset + sector * SECTOR)
    }
}

fn read(disk: &Path, offset: u64, length: u64) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("sectors");
    Cmd::new("qemu-img")
        .args(["dd", "-f", "qcow2", "-O", "raw", "bs=512"])
        .arg(format!("skip={}", offset / SECTOR))
        // qemu-img counts from the start of the disk, not from what it skips.
        .arg(format!("count={}", (offset + length) / SECTOR))
        .arg(format!("if={}", disk.display()))
        .arg(format!("of={}", copy.display()))
        .run()?;
    let bytes = std::fs::read(&copy)?;
    ensure!(
        bytes.len() as u64 == length,
        "read {} bytes of {length} from {}",
        bytes.len(),
        disk.display()
    );
    Ok(bytes)
}

/// First and last sector. UEFI specification 2.10, section 5.3.3: names are 36 UTF-16 units at 56.
fn find_in_gpt(table: &[u8], name: &str) -> Option<(u64, u64)> {
    let wanted: Vec<u8> = name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let number =
        |entry: &[u8], at: usize| Some(u64::from_le_bytes(entry.get(at..at + 8)?.try_into().ok()?));
    let entries = table.get(2 * SECTOR as usize..)?.chunks_exact(128);
    let entry = entries
        .into_iter()
        .find(|entry| entry.get(56..).is_some_and(|n| n.starts_with(&wanted)))?;
    Some((number(entry, 32)?, number(entry, 40)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_reads_and_writes_a_partition() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk.qcow2");
        let raw = dir.path().join("raw");
        std::fs::File::create(&raw)
            .unwrap()
            .set_len(8 << 20)
            .unwrap();
        let layout = b"label: gpt\nsize=1MiB, name=edge\nsize=1MiB, name=edge-trial\n".to_vec();
        Cmd::new("sfdisk")
            .arg("-q")
            .arg(&raw)
            .output_with_input(layout)
            .unwrap();
        Cmd::new("qemu-img")
            .args(["convert", "-O", "qcow2"])
            .arg(&raw)
            .arg(&disk)
            .run()
            .unwrap();
        let partition = Partition::find(&disk, "edge-trial").unwrap();
        assert_eq!((partition.offset, partition.length), (2 << 20, 1 << 20));
        partition.write_sectors(7, &[0x5a; 1024]).unwrap();
        assert_eq!(partition.read_sectors(7, 2).unwrap(), [0x5a; 1024]);
        assert_eq!(partition.read_sectors(9, 1).unwrap(), [0; 512]);
        assert!(partition.write_sectors(2047, &[0; 1024]).is_err());
        assert!(Partition::find(&disk, "edge-boot").is_err());
    }
}
