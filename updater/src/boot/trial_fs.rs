//! The file system on `edge-trial` (docs/formats.md), by which GRUB finds the records. It never changes; a tree brings
//! it.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::filesystems;

    fn made() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trial.img");
        filesystems::write_trial(&file, dir.path(), 7).unwrap();
        std::fs::read(&file).unwrap()
    }

    #[test]
    fn what_a_tree_brings_is_sound_and_a_changed_byte_that_matters_shows() {
        let good = made();
        assert!(is_sound(&good) && is_sound(&good[..HEAD]));
        for at in [
            13,
            17,
            SECTOR + 3,
            2 * SECTOR + 4,
            FOLDER + ENTRY,
            FOLDER + ENTRY + 26,
        ] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(!is_sound(&bytes), "byte {at}");
        }
        assert!(!is_sound(&[]));
    }
}
