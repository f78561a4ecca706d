//! Where the partitions of a disk lie. Pure.

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use super::firmware::Blob;
use crate::disk::{PART_BOOT, PART_ESP, PART_ROOT, PART_TRIAL, PART_VAR};

const MIB: u64 = 1 << 20;
/// Bytes of the smallest disk.
pub const LEAST: u64 = 1024 * MIB;
/// Bytes of the smallest root and of the smallest `/var` beside it.
const LEAST_ROOT: u64 = 640 * MIB;
const LEAST_VAR: u64 = 64 * MIB;
/// Bytes of `edge-trial`.
pub const TRIAL_SIZE: usize = 1 << 20;
const SECTOR: u64 = 512;
/// The code in the master boot record; beside it the partition table has its place.
const MBR_CODE: u64 = 440;

/// GPT type ids (UEFI specification, "Defined GPT Partition Entry - Partition Type GUIDs", and the
/// Linux file system and Microsoft basic data types).
const TYPE_ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const TYPE_LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const TYPE_BASIC_DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub disk_id: String,
    pub size: u64,
    pub esp: Partition,
    pub trial: Partition,
    pub boot: Partition,
    pub root: Partition,
    /// Where `/var` is not a folder of the root.
    pub var: Option<Partition>,
    /// How many entries the partition table has room for, where that is not the usual 128.
    table_length: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub name: &'static str,
    pub type_id: &'static str,
    pub uuid: String,
    /// Bytes from the start of the disk.
    pub start: u64,
    pub size: u64,
    /// U-Boot looks for its script on the partitions with the attribute "legacy BIOS bootable".
    pub bootable: bool,
}

impl Partition {
    pub fn is_ext4(&self) -> bool {
        !matches!(self.name, PART_ESP | PART_TRIAL)
    }
}

/// `esp`, `edge-trial`, `edge-boot`, and the root last, so that it can grow. Ids come from `seed`:
/// the same release makes the same image, and a device replaces them at its first boot. Firmware outside of
/// partitions goes before them.
pub fn layout(size: u64, seed: &str, firmware: &[Blob]) -> Result<Layout> {
    let size = disk_size(size);
    if size < LEAST {
        bail!(
            "a disk of {} MiB is too small: it takes at least {} MiB",
            size / MIB,
            LEAST / MIB
        );
    }
    let end = firmware.iter().map(Blob::end).max().unwrap_or(0);
    let mut next = end.div_ceil(MIB).max(1) * MIB;
    let mut place = |name, type_id, bytes: u64| {
        let partition = Partition {
            name,
            type_id,
            uuid: uuid(seed, name),
            start: next,
            size: bytes,
            bootable: false,
        };
        next += bytes;
        partition
    };
    let esp = place(PART_ESP, TYPE_ESP, 64 * MIB);
    let trial = place(PART_TRIAL, TYPE_LINUX, TRIAL_SIZE as u64);
    let boot = place(PART_BOOT, TYPE_LINUX, 256 * MIB);
    let start = boot.start + boot.size;
    let root = place(PART_ROOT, TYPE_LINUX, size - start - MIB);
    Ok(Layout {
        disk_id: uuid(seed, "disk"),
        size,
        esp,
        trial,
        boot,
        root,
        var: None,
        table_length: table_length(firmware)?,
    })
}

/// What of a size a disk has: whole MiB.
pub fn disk_size(size: u64) -> u64 {
    size / MIB * MIB
}

/// The table begins behind the protective MBR and the header, and ends before the first blob.
fn table_length(firmware: &[Blob]) -> Result<Option<u64>> {
    const FIRST_ENTRY: u64 = 2 * SECTOR;
    const ENTRY: u64 = 128;
    const USUAL: u64 = 128;
    const LEAST: u64 = 8;
    let behind = firmware.iter().filter(|blob| blob.end() > MBR_CODE);
    let Some(first) = behind.map(|blob| blob.offset).min() else {
        return Ok(None);
    };
    match first.saturating_sub(FIRST_ENTRY) / ENTRY {
        USUAL.. => Ok(None),
        length @ LEAST.. => Ok(Some(length)),
        _ => bail!("firmware at byte {first} of the disk leaves no room for a partition table"),
    }
}

impl Layout {
    /// For U-Boot: it takes its script from the first partition, or from `edge-boot` when that one is damaged, and
    /// keeps EFI variables of its own on whatever has the type of an EFI system partition.
    pub fn for_uboot(mut self) -> Self {
        self.esp.type_id = TYPE_BASIC_DATA;
        self.esp.bootable = true;
        self.boot.bootable = true;
        self
    }

    /// With a partition for `/var` behind the root, which gives it the room: from then on the root does not grow, and
    /// `/var` does.
    pub fn with_var(mut self, size: u64, seed: &str) -> Result<Self> {
        let size = size.div_ceil(MIB) * MIB;
        let rest = self.root.size.checked_sub(size);
        let Some(rest) = rest.filter(|rest| *rest >= LEAST_ROOT && size >= LEAST_VAR) else {
            bail!(
                "/var of {} MiB on a disk of {} MiB: it takes at least {} MiB, and the root {} MiB",
                size / MIB,
                self.size / MIB,
                LEAST_VAR / MIB,
                LEAST_ROOT / MIB
            );
        };
        self.root.size = rest;
        self.var = Some(Partition {
            name: PART_VAR,
            uuid: uuid(seed, PART_VAR),
            start: self.root.start + rest,
            size,
            ..self.root.clone()
        });
        Ok(self)
    }

    /// In the order of the disk.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        [&self.esp, &self.trial, &self.boot, &self.root]
            .into_iter()
            .chain(&self.var)
    }

    /// What `sfdisk` reads.
    pub fn sfdisk_script(&self) -> String {
        let mut script = format!("label: gpt\nlabel-id: {}\n", self.disk_id);
        if let Some(length) = self.table_length {
            script.push_str(&format!("table-length: {length}\n"));
        }
        for p in self.partitions() {
            script.push_str(&format!(
                "start={}, size={}, type={}, uuid={}, name={}{}\n",
                p.start / SECTOR,
                p.size / SECTOR,
                p.type_id,
                p.uuid,
                p.name,
                if p.bootable {
                    ", attrs=LegacyBIOSBootable"
                } else {
                    ""
                }
            ));
        }
        script
    }
}

/// A version 8 (RFC 9562, free form) UUID from a seed.
pub fn uuid(seed: &str, what: &str) -> String {
    let digest = Sha256::digest(format!("{seed}\n{what}"));
    let mut hex: Vec<char> = digest
        .iter()
        .take(16)
        .flat_map(|b| format!("{b:02X}").chars().collect::<Vec<_>>())
        .collect();
    if let Some(version) = hex.get_mut(12) {
        *version = '8';
    }
    if let Some(variant) = hex.get_mut(16) {
        *variant = 'A';
    }
    let text: String = hex.into_iter().collect();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or("").to_owned();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_each_other_and_end_before_the_backup_table() {
        let layout = layout(4096 * MIB + 5, "seed", &[]).unwrap();
        let mut end = MIB;
        for partition in layout.partitions() {
            assert_eq!(partition.start, end);
            end += partition.size;
        }
        assert_eq!(end, 4095 * MIB);
        assert!(
            layout
                .sfdisk_script()
                .contains("start=2048, size=131072, type=C12A7328")
        );
    }

    #[test]
    fn firmware_pushes_the_partitions_back_and_shortens_the_table() {
        let check = |offset: u64, size: u64, start: u64, length: Option<u64>| {
            let blob = Blob {
                offset,
                size,
                path: "x".into(),
            };
            let layout = layout(4096 * MIB, "seed", &[blob]).unwrap();
            assert_eq!(
                (layout.esp.start, layout.table_length),
                (start, length),
                "{offset}"
            );
        };
        check(128 << 10, 100_000, MIB, None);
        check(384 << 10, 2 * MIB, 3 * MIB, None);
        check(8 << 10, 600_000, MIB, Some(56));
        check(8 * MIB, MIB + 1, 10 * MIB, None);
        check(0, 440, MIB, None);
        let early = Blob {
            offset: 1024,
            size: 1,
            path: "x".into(),
        };
        assert!(layout(4096 * MIB, "seed", &[early]).is_err());
    }

    #[test]
    fn var_takes_its_room_from_the_root() {
        let plain = layout(4096 * MIB, "seed", &[]).unwrap();
        let apart = plain.clone().with_var(1000 * MIB - 1, "seed").unwrap();
        let var = apart.var.clone().unwrap();
        assert_eq!((var.size, var.is_ext4()), (1000 * MIB, true));
        assert_eq!(apart.root.size + var.size, plain.root.size);
        assert_eq!(var.start, apart.root.start + apart.root.size);
        assert_ne!(var.uuid, apart.root.uuid);
        assert!(apart.sfdisk_script().contains("name=edge-var\n"));
        for size in [MIB, 3500 * MIB, 8192 * MIB] {
            assert!(plain.clone().with_var(size, "seed").is_err(), "{size}");
        }
    }

    #[test]
    fn uboot_is_led_to_its_two_scripts() {
        let layout = layout(4096 * MIB, "seed", &[]).unwrap();
        let (grub, uboot) = (layout.sfdisk_script(), layout.for_uboot().sfdisk_script());
        assert!(!grub.contains("attrs"));
        let bootable: Vec<bool> = uboot.lines().map(|line| line.contains("attrs")).collect();
        assert_eq!(bootable, [false, false, true, false, true, false]);
        assert!(!uboot.contains(TYPE_ESP));
    }

    #[test]
    fn ids_differ_by_part_and_seed_and_repeat() {
        assert_eq!(uuid("a", "x"), uuid("a", "x"));
        assert_ne!(uuid("a", "x"), uuid("a", "y"));
        assert_ne!(uuid("a", "x"), uuid("b", "x"));
        assert_eq!(uuid("a", "x").len(), 36);
    }

    #[test]
    fn a_disk_too_small_is_refused_with_the_least_size() {
        assert!(
            layout(MIB, "s", &[])
                .unwrap_err()
                .to_string()
                .contains("1024 MiB")
        );
    }
}
