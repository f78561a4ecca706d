//! The file system on `edge-trial` (docs/formats.md), by which GRUB finds the records. It never changes, so a device
//! can write it anew without a tool for FAT; images have mtools write the same.

use super::on_disk::{BOOTS_SECTOR, TRIAL_SECTORS};

/// What comes before the first record: the boot sector, both copies of the table, the folder.
pub const HEAD: usize = SECTOR * 7;

const SECTOR: usize = 512;
const TABLE: [u8; 8] = [0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
const TABLES: [usize; 2] = [SECTOR, 2 * SECTOR];
const FOLDER: usize = 3 * SECTOR;
const ENTRY: usize = 32;
/// Sectors of 512 bytes, 8 in a cluster, 1 before the tables, 2 tables of 1 sector, 64 names, 2048 sectors in all.
const GEOMETRY: [u8; 13] = [0, 2, 8, 1, 0, 2, 64, 0, 0, 8, 0xf0, 1, 0];
const GEOMETRY_AT: usize = 11;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Name as FAT writes it, first cluster.
const FILES: [(&[u8; 11], u16); 3] = [
    (b"TRIAL   0  ", 2),
    (b"TRIAL   1  ", 3),
    (b"BOOTS      ", 4),
];

/// The first sectors of the partition. The records themselves follow.
pub fn head() -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    put(&mut bytes, 0, &[0xeb, 0x3c, 0x90]);
    put(&mut bytes, 3, b"edge-ota");
    put(&mut bytes, GEOMETRY_AT, &GEOMETRY);
    put(&mut bytes, 24, &[1, 0, 1, 0]);
    put(&mut bytes, 38, b"\x29EGDEEDGETRIAL  FAT12   ");
    put(&mut bytes, SECTOR - 2, &SIGNATURE);
    for at in TABLES {
        put(&mut bytes, at, &TABLE);
    }
    put(&mut bytes, FOLDER, &entry(b"EDGETRIAL  ", 0x08, 0, 0));
    for (n, (name, cluster)) in FILES.iter().enumerate() {
        let entry = entry(name, 0x20, *cluster, 1024);
        put(&mut bytes, FOLDER + (n + 1) * ENTRY, &entry);
    }
    bytes
}

/// Whether a loader finds each record at its sector by the file system.
pub fn is_sound(bytes: &[u8]) -> bool {
    let has = |at: usize, what: &[u8]| bytes.get(at..at + what.len()) == Some(what);
    let names = bytes.get(FOLDER..HEAD).unwrap_or_default();
    let finds = |name: &[u8; 11], cluster: u16| {
        names.chunks_exact(ENTRY).any(|entry| {
            entry.starts_with(name)
                && entry.get(26..28) == Some(&cluster.to_le_bytes())
                && entry.get(28..32) == Some(&1024u32.to_le_bytes())
        })
    };
    has(GEOMETRY_AT, &GEOMETRY)
        && has(SECTOR - 2, &SIGNATURE)
        && TABLES.iter().all(|at| has(*at, &TABLE))
        && FILES.iter().all(|(name, cluster)| finds(name, *cluster))
}

/// The whole partition with records that say nothing: no trial, no boot yet.
pub fn empty(boots: &[u8], none: &[u8]) -> Vec<u8> {
    let mut bytes = head();
    bytes.resize(1 << 20, 0);
    for (sector, record) in TRIAL_SECTORS
        .map(|sector| (sector, none))
        .into_iter()
        .chain([(BOOTS_SECTOR, boots)])
    {
        put(&mut bytes, sector as usize * SECTOR, record);
    }
    bytes
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: u32) -> [u8; ENTRY] {
    // 1980-01-01, the first day FAT knows.
    const DAY: [u8; 2] = [0x21, 0];
    let mut bytes = [0; ENTRY];
    put(&mut bytes, 0, name);
    put(&mut bytes, 11, &[attributes]);
    for at in [16, 18, 24] {
        put(&mut bytes, at, &DAY);
    }
    put(&mut bytes, 26, &cluster.to_le_bytes());
    put(&mut bytes, 28, &size.to_le_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::envblk;
    use crate::cmd::Cmd;
    use crate::media::filesystems;

    #[test]
    fn what_mtools_writes_is_sound_and_so_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trial.img");
        filesystems::write_trial(&file, dir.path(), 7).unwrap();
        let theirs = std::fs::read(&file).unwrap();
        assert!(is_sound(&theirs));
        assert!(is_sound(&head()));
        let fixed = |bytes: &[u8]| {
            [
                &bytes[GEOMETRY_AT..GEOMETRY_AT + 13],
                &bytes[SECTOR..FOLDER],
            ]
            .concat()
        };
        assert_eq!(fixed(&theirs), fixed(&head()));
    }

    #[test]
    fn stock_tools_read_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trial.img");
        let boots = envblk::format(&[("boots", "0"), ("seq", "0")]);
        std::fs::write(&file, empty(&boots, &envblk::format(&[]))).unwrap();
        Cmd::new("fsck.fat").arg("-n").arg(&file).run().unwrap();
        let read = Cmd::new("mtype").arg("-i").arg(&file).arg("::boots");
        assert_eq!(read.output().unwrap(), boots);
    }

    #[test]
    fn a_changed_byte_that_matters_shows() {
        for at in [
            13,
            17,
            SECTOR + 3,
            2 * SECTOR + 4,
            FOLDER + ENTRY,
            FOLDER + ENTRY + 26,
        ] {
            let mut bytes = head();
            bytes[at] ^= 1;
            assert!(!is_sound(&bytes), "byte {at}");
        }
        assert!(!is_sound(&[]));
    }
}
