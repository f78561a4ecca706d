//! GRUB for machines that start by BIOS. Its core lies at a fixed place before the first partition, and the boot
//! sector leads there: both become firmware outside of partitions, which images and installations write alike.
//!
//! Offsets and the form of the block list are those of GRUB 2 (`grub/i386/pc/boot.h`, `grub/offsets.h`).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use edge_ota::media::firmware;

use super::rooted;

/// Where the packages' step leaves `boot.img` and `core.img`.
pub const DIR: &str = "usr/lib/ostree-boot/bios";

const SECTOR: usize = 512;
/// Behind the partition table, also on disks whose sectors have 4096 bytes.
const CORE_SECTOR: u8 = 64;
const FIRST_PARTITION: usize = 1 << 20;

/// The code of a master boot record; an id and the partition table follow.
const CODE: usize = 440;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// The sector of the core, 64 bits, little-endian.
const KERNEL_SECTOR: usize = 0x5c;
/// A jump over the check that the BIOS has passed on which disk it boots.
const DRIVE_CHECK: usize = 0x66;
const JUMP: [u8; 2] = [0xeb, 0x05];
const NOPS: [u8; 2] = [0x90, 0x90];

/// The last entry of the first sector's list: where the rest of the core begins, its sectors, where it goes.
const BLOCK_LIST: usize = SECTOR - 12;

/// Puts the loader where images and installations look for firmware; a tree without one stays as it is.
pub fn place(root: &Path) -> Result<()> {
    let dir = root.join(DIR);
    if !dir.is_dir() {
        return Ok(());
    }
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    let boot = boot_code(&read("boot.img")?).context("boot.img of GRUB for BIOS")?;
    let core = placed_core(&read("core.img")?).context("core.img of GRUB for BIOS")?;
    let core_at = u64::from(CORE_SECTOR) * SECTOR as u64;
    for (offset, name, bytes) in [(0, "boot.img", boot), (core_at, "core.img", core)] {
        let file = firmware::file_name(offset, name);
        rooted::put(&root.join(firmware::DIR).join(file), bytes)?;
    }
    rooted::remove(&dir)
}

/// The code of a master boot record that loads the core.
fn boot_code(boot: &[u8]) -> Result<Vec<u8>> {
    ensure!(
        boot.len() == SECTOR && boot.ends_with(&SIGNATURE),
        "it is no boot sector"
    );
    let mut code = boot.get(..CODE).unwrap_or_default().to_vec();
    // Some BIOSes pass nonsense instead of the disk they boot from: GRUB then takes the first.
    replace(&mut code, DRIVE_CHECK, &JUMP, &NOPS)?;
    replace(
        &mut code,
        KERNEL_SECTOR,
        &list_start(1),
        &list_start(CORE_SECTOR),
    )?;
    Ok(code)
}

/// The core as it lies on the disk: its first sector knows where the others are.
fn placed_core(core: &[u8]) -> Result<Vec<u8>> {
    let room = FIRST_PARTITION - usize::from(CORE_SECTOR) * SECTOR;
    if core.len() > room {
        bail!("its {} bytes do not fit into {room}", core.len());
    }
    let mut core = core.to_vec();
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    let rest = u16::try_from(core.len() / SECTOR)?.saturating_sub(1);
    let list = [&list_start(2)[..], &rest.to_le_bytes()].concat();
    let placed = [&list_start(CORE_SECTOR + 1)[..], &rest.to_le_bytes()].concat();
    replace(&mut core, BLOCK_LIST, &list, &placed)?;
    Ok(core)
}

fn list_start(sector: u8) -> [u8; 8] {
    u64::from(sector).to_le_bytes()
}

/// What is replaced must be there: another form of GRUB would not boot.
fn replace(bytes: &mut [u8], at: usize, old: &[u8], new: &[u8]) -> Result<()> {
    match bytes.get_mut(at..at + old.len()) {
        Some(place) if place == old => place.copy_from_slice(new),
        found => bail!("at byte {at:#x} it has {found:02x?}, not {old:02x?}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot_sector() -> Vec<u8> {
        let mut boot = vec![7; SECTOR];
        boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&list_start(1));
        boot[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&JUMP);
        boot[SECTOR - 2..].copy_from_slice(&SIGNATURE);
        boot
    }

    fn core(len: usize) -> Vec<u8> {
        let mut core = vec![7; len];
        let rest = (len.div_ceil(SECTOR) - 1) as u16;
        core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&list_start(2));
        core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&rest.to_le_bytes());
        core
    }

    #[test]
    fn the_boot_sector_leads_to_the_core() {
        let code = boot_code(&boot_sector()).unwrap();
        assert_eq!(code.len(), CODE);
        assert_eq!(code[KERNEL_SECTOR..KERNEL_SECTOR + 8], list_start(64));
        assert_eq!(code[DRIVE_CHECK..DRIVE_CHECK + 2], NOPS);
        let rest = code.iter().filter(|byte| **byte == 7).count();
        assert_eq!(rest, CODE - 10, "nothing else changes");
    }

    #[test]
    fn the_core_knows_where_its_rest_is() {
        for (len, sectors) in [(1024, 2), (1025, 3), (188_156, 368)] {
            let placed = placed_core(&core(len)).unwrap();
            assert_eq!(placed.len(), sectors * SECTOR);
            assert_eq!(placed[BLOCK_LIST..BLOCK_LIST + 8], list_start(65));
            assert!(placed[len..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_is_not_grub_is_refused() {
        let mut other = boot_sector();
        other[DRIVE_CHECK] = 0;
        let table = [
            (boot_code(&[0; 512]), "no boot sector"),
            (boot_code(&boot_sector()[..511]), "no boot sector"),
            (boot_code(&other), "at byte 0x66"),
            (placed_core(&[]), "at byte 0x1f4"),
            (placed_core(&vec![0; 4096]), "at byte 0x1f4"),
            (placed_core(&vec![0; FIRST_PARTITION]), "do not fit"),
        ];
        for (result, expected) in table {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_tree_has_it_as_firmware() {
        let dir = tempfile::tempdir().unwrap();
        place(dir.path()).unwrap();
        rooted::put(&dir.path().join(DIR).join("boot.img"), boot_sector()).unwrap();
        rooted::put(&dir.path().join(DIR).join("core.img"), core(5000)).unwrap();
        place(dir.path()).unwrap();
        let blobs = firmware::of_tree(dir.path()).unwrap();
        let places: Vec<(u64, u64)> = blobs.iter().map(|b| (b.offset, b.size)).collect();
        assert_eq!(places, [(0, 440), (32_768, 5120)]);
        assert!(!dir.path().join(DIR).exists());
    }
}
