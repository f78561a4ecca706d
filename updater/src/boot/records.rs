//! The loader's records as values and bytes (docs/formats.md, "edge-trial" and "edge-boot").

use sha2::{Digest, Sha256};

use super::envblk::{self, Vars};
use crate::types::{CommitChecksum, Slot};

/// A slot that the loader shall try, and how many tries it has left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trial {
    pub slot: Slot,
    pub commit: CommitChecksum,
    pub left: u8,
}

/// Boots of the default slot since it last reached boot-complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Boots {
    Count(u8),
    /// The default failed [`MAX_BOOTS`] times in a row and the loader turned to the other slot.
    Fallback,
}

pub const MAX_BOOTS: u8 = 5;

/// What a slot boots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotFile {
    pub slot: Slot,
    pub commit: CommitChecksum,
    /// `<commit>.<serial>`, the name of the deployment's folder and of its boot files' folder.
    pub deployment: String,
    pub version: String,
    /// Kernel arguments beside `root=`, `ostree=` and ours.
    pub options: String,
    pub kernel_sha256: String,
    pub initrd_sha256: String,
    /// The device tree to hand to the kernel, where the board needs another than its firmware's.
    pub fdt: Option<DeviceTree>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceTree {
    /// Beside the kernel's copy.
    pub file: String,
    pub sha256: String,
}

impl Trial {
    pub fn to_bytes(&self) -> Vec<u8> {
        let (slot, commit, left) = (
            self.slot.as_str(),
            self.commit.as_str(),
            self.left.to_string(),
        );
        let check = format!("{slot}/{commit}/{left}");
        envblk::format(&[
            ("trial_slot", slot),
            ("trial_commit", commit),
            ("trial_left", &left),
            ("trial_check", &check),
        ])
    }

    pub fn from_vars(vars: &Vars) -> Option<Self> {
        let get = |key: &str| vars.get(key).map(String::as_str);
        let (slot, commit, left) = (get("trial_slot")?, get("trial_commit")?, get("trial_left")?);
        if get("trial_check")? != format!("{slot}/{commit}/{left}") {
            return None;
        }
        let left: u8 = left.parse().ok().filter(|n| *n <= 9)?;
        Some(Self {
            slot: slot.parse().ok()?,
            commit: commit.parse().ok()?,
            left,
        })
    }
}

/// Of two copies the valid one with fewer tries left: the loader counts them down one by one.
pub fn trial_of_copies(copies: [Option<Trial>; 2]) -> Option<Trial> {
    // Of equals the second, as the loader reads them.
    copies
        .into_iter()
        .rev()
        .flatten()
        .min_by_key(|trial| trial.left)
}

/// The `boots` record: the count, and `seq`, which the loader passes on to tell two disks apart.
pub struct BootsRecord {
    pub boots: Boots,
    pub seq: String,
}

impl BootsRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = match self.boots {
            Boots::Count(n) => n.to_string(),
            Boots::Fallback => "fallback".to_owned(),
        };
        envblk::format(&[("boots", &count), ("seq", &self.seq)])
    }

    /// Anything unreadable is a fresh record: a lost count must not keep a good system from booting.
    pub fn from_vars(vars: &Vars) -> Self {
        let boots = match vars.get("boots").map(String::as_str) {
            Some("fallback") => Boots::Fallback,
            Some(n) => Boots::Count(n.parse().unwrap_or(0)),
            None => Boots::Count(0),
        };
        let seq = vars
            .get("seq")
            .filter(|s| s.len() == 1 && s.bytes().all(|b| b.is_ascii_digit()));
        Self {
            boots,
            seq: seq.cloned().unwrap_or_else(|| "0".to_owned()),
        }
    }
}

impl SlotFile {
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = self.lines();
        let mut lines: Vec<(&str, &str)> = lines.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let check = check_of(&lines);
        lines.push(("check", &check));
        envblk::format(&lines)
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let vars = envblk::parse(bytes)?;
        let get = |key: &str| vars.get(key).cloned();
        if get("format")? != "1" {
            return None;
        }
        let file = Self {
            slot: get("slot")?.parse().ok()?,
            commit: get("commit")?.parse().ok()?,
            deployment: get("deployment")?,
            version: get("version")?,
            options: get("options")?,
            kernel_sha256: get("kernel_sha256")?,
            initrd_sha256: get("initrd_sha256")?,
            fdt: match get("fdt") {
                Some(file) => Some(DeviceTree {
                    file,
                    sha256: get("fdt_sha256")?,
                }),
                None => None,
            },
        };
        let lines = file.lines();
        let lines: Vec<(&str, &str)> = lines.iter().map(|(k, v)| (*k, v.as_str())).collect();
        (get("check")? == check_of(&lines)).then_some(file)
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("format", "1".to_owned()),
            ("slot", self.slot.to_string()),
            ("commit", self.commit.to_string()),
            ("deployment", self.deployment.clone()),
            ("version", self.version.clone()),
            ("options", self.options.clone()),
            ("kernel_sha256", self.kernel_sha256.clone()),
            ("initrd_sha256", self.initrd_sha256.clone()),
        ];
        if let Some(fdt) = &self.fdt {
            lines.push(("fdt", fdt.file.clone()));
            lines.push(("fdt_sha256", fdt.sha256.clone()));
        }
        lines
    }
}

fn check_of(lines: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for (key, value) in lines {
        hash.update(format!("{key}={value}\n"));
    }
    hex(&hash.finalize())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The `default` file.
pub fn default_to_bytes(slot: Slot) -> Vec<u8> {
    envblk::format(&[("format", "1"), ("default", slot.as_str())])
}

pub fn default_from_bytes(bytes: &[u8]) -> Option<Slot> {
    let vars = envblk::parse(bytes)?;
    if vars.get("format")? != "1" {
        return None;
    }
    vars.get("default")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(left: u8) -> Trial {
        Trial {
            slot: Slot::B,
            commit: "ab".repeat(32).parse().unwrap(),
            left,
        }
    }

    fn slot_file() -> SlotFile {
        SlotFile {
            slot: Slot::A,
            commit: "cd".repeat(32).parse().unwrap(),
            deployment: format!("{}.0", "cd".repeat(32)),
            version: "13.1".into(),
            options: "console=ttyS0 panic=5".into(),
            kernel_sha256: "0".repeat(64),
            initrd_sha256: "1".repeat(64),
            fdt: None,
        }
    }

    fn with_tree() -> SlotFile {
        SlotFile {
            fdt: Some(DeviceTree {
                file: "am335x-boneblack.dtb".into(),
                sha256: "2".repeat(64),
            }),
            ..slot_file()
        }
    }

    fn trial_of(bytes: &[u8]) -> Option<Trial> {
        Trial::from_vars(&envblk::parse(bytes)?)
    }

    #[test]
    fn the_copy_with_fewer_tries_counts_and_damage_is_no_trial() {
        let (three, two, junk, zero) = (
            trial(3).to_bytes(),
            trial(2).to_bytes(),
            vec![b'x'; 1024],
            vec![0; 1024],
        );
        let table: &[(&[u8], &[u8], Option<u8>)] = &[
            (&three, &three, Some(3)),
            (&two, &three, Some(2)),
            (&three, &two, Some(2)),
            (&junk, &three, Some(3)),
            (&three, &zero, Some(3)),
            (&zero, &zero, None),
            (&junk, b"", None),
        ];
        for (one, other, left) in table {
            let copies = [trial_of(one), trial_of(other)];
            assert_eq!(trial_of_copies(copies).map(|t| t.left), *left);
        }
    }

    #[test]
    fn a_changed_byte_never_reads_as_another_value() {
        let (good, bytes) = (trial(3), trial(3).to_bytes());
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            assert!(trial_of(&changed).is_none_or(|t| t == good), "byte {i}");
        }
        for good in [slot_file(), with_tree()] {
            let bytes = good.to_bytes();
            for i in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[i] ^= 1;
                assert!(
                    SlotFile::from_bytes(&changed).is_none_or(|f| f == good),
                    "byte {i}"
                );
            }
        }
    }

    #[test]
    fn round_trips() {
        for file in [slot_file(), with_tree()] {
            assert_eq!(SlotFile::from_bytes(&file.to_bytes()), Some(file));
        }
        assert_eq!(
            default_from_bytes(&default_to_bytes(Slot::B)),
            Some(Slot::B)
        );
        for boots in [Boots::Count(4), Boots::Fallback] {
            let record = BootsRecord {
                boots,
                seq: "7".into(),
            };
            let read = BootsRecord::from_vars(&envblk::parse(&record.to_bytes()).unwrap());
            assert_eq!((read.boots, read.seq.as_str()), (boots, "7"));
        }
        let nothing = BootsRecord::from_vars(&Vars::new());
        assert_eq!(
            (nothing.boots, nothing.seq.as_str()),
            (Boots::Count(0), "0")
        );
    }
}
