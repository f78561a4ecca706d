//! The partition table of an adopted disk: the numbers and names that our boot loader looks for. Pure.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::disk::{PART_BOOT, PART_ESP, PART_ROOT, PART_TRIAL};

/// GPT type ids: the Linux file system type, and what a kickstart's `part biosboot` makes.
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";
/// Sectors; the records need 1 MiB.
const TRIAL: std::ops::RangeInclusive<u64> = 2048..=32_768;

/// What `sfdisk --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Table {
    label: String,
    id: String,
    #[serde(default)]
    firstlba: Option<u64>,
    #[serde(default)]
    lastlba: Option<u64>,
    sectorsize: u64,
    partitions: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    pub node: PathBuf,
    start: u64,
    size: u64,
    r#type: String,
    uuid: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    attrs: Option<String>,
}

/// Which partition becomes what, by its first sector: once the table is changed the kernel and the disk number them
/// differently until the next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    pub esp: u64,
    pub trial: u64,
    pub boot: u64,
    pub root: u64,
}

impl Roles {
    fn in_order(&self) -> [(u64, &'static str); 4] {
        [
            (self.esp, PART_ESP),
            (self.trial, PART_TRIAL),
            (self.boot, PART_BOOT),
            (self.root, PART_ROOT),
        ]
    }
}

pub fn parse(json: &[u8]) -> Result<Table> {
    #[derive(Deserialize)]
    struct Printed {
        partitiontable: Table,
    }
    let printed: Printed = serde_json::from_slice(json).context("reading the partition table")?;
    let table = printed.partitiontable;
    if table.label != "gpt" {
        bail!(
            "the disk has a {} table: our boot loader needs GPT",
            table.label
        );
    }
    if table.sectorsize != 512 {
        bail!("the disk has sectors of {} bytes", table.sectorsize);
    }
    Ok(table)
}

impl Table {
    /// The partition for the loader's records: the one that has the name already, else the one that a kickstart's
    /// `part biosboot --size=1` made. Its first sector.
    pub fn find_trial(&self) -> Result<u64> {
        let named = |entry: &&Entry| entry.name.as_deref() == Some(PART_TRIAL);
        let spare = |entry: &&Entry| {
            entry.r#type.eq_ignore_ascii_case(BIOS_BOOT) && TRIAL.contains(&entry.size)
        };
        let named: Vec<&Entry> = self.partitions.iter().filter(named).collect();
        let found = match named.is_empty() {
            true => self.partitions.iter().filter(spare).collect(),
            false => named,
        };
        match found.as_slice() {
            [one] => Ok(one.start),
            [] => bail!(
                "no partition for the boot loader's records: the kickstart needs \
                 'part biosboot --fstype=biosboot --size=1'"
            ),
            _ => bail!("two partitions could be for the boot loader's records"),
        }
    }

    /// Whether the numbers and names are ours.
    pub fn is_ours(&self, roles: &Roles) -> bool {
        let ours = roles.in_order();
        let mut firsts = self.partitions.iter().zip(ours);
        self.partitions.len() >= ours.len()
            && firsts.all(|(entry, (start, name))| {
                let numbered = number(&entry.node) == number_of(name);
                entry.start == start && numbered && entry.name.as_deref() == Some(name)
            })
    }

    /// The script for sfdisk: our four first, with their names, then the others as they are. No partition moves, and
    /// each keeps its id.
    pub fn ours(&self, roles: &Roles) -> Result<String> {
        let mut script = format!("label: gpt\nlabel-id: {}\n", self.id);
        for (key, value) in [("first-lba", self.firstlba), ("last-lba", self.lastlba)] {
            if let Some(value) = value {
                script.push_str(&format!("{key}: {value}\n"));
            }
        }
        let ours = roles.in_order();
        for (start, name) in ours {
            let entry = self.partitions.iter().find(|entry| entry.start == start);
            let entry = entry.with_context(|| format!("no partition begins at sector {start}"))?;
            let r#type = match name == PART_TRIAL {
                true => LINUX,
                false => &entry.r#type,
            };
            script.push_str(&line(entry, r#type, name));
        }
        let others = self.partitions.iter();
        for entry in others.filter(|entry| ours.iter().all(|(start, _)| entry.start != *start)) {
            let name = entry.name.as_deref().unwrap_or_default();
            script.push_str(&line(entry, &entry.r#type, name));
        }
        Ok(script)
    }
}

fn line(entry: &Entry, r#type: &str, name: &str) -> String {
    let Entry {
        start, size, uuid, ..
    } = entry;
    let attrs = entry.attrs.as_ref();
    let attrs = attrs.map_or(String::new(), |attrs| format!(", attrs=\"{attrs}\""));
    format!("start={start}, size={size}, type={type}, uuid={uuid}, name=\"{name}\"{attrs}\n")
}

/// The digits at the end of `/dev/vda2`, `/dev/nvme0n1p2`.
fn number(node: &Path) -> Option<u32> {
    let name = node.file_name()?.to_str()?;
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name.get(digits..)?.parse().ok()
}

/// As grub.cfg has it.
fn number_of(name: &str) -> Option<u32> {
    let names = [PART_ESP, PART_TRIAL, PART_BOOT, PART_ROOT];
    (1..)
        .zip(names)
        .find(|(_, known)| *known == name)
        .map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::Cmd;

    /// As Anaconda orders them: the records' partition last.
    fn disk() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::File::create(&disk)
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let layout = format!(
            "label: gpt\nsize=8MiB, type=U, name=\"EFI System Partition\"\nsize=16MiB\nsize=1MiB, type={BIOS_BOOT}\nsize=2MiB, name=data\n\n"
        );
        sfdisk(&disk, layout.into_bytes());
        let more = b"size=16MiB, name=\"root part\"\n".to_vec();
        Cmd::new("sfdisk")
            .args(["-q", "--append"])
            .arg(&disk)
            .output_with_input(more)
            .unwrap();
        (dir, disk)
    }

    fn sfdisk(disk: &Path, script: Vec<u8>) {
        let sfdisk = Cmd::new("sfdisk").args(["-q", "--wipe", "never"]).arg(disk);
        sfdisk.output_with_input(script).unwrap();
    }

    fn read(disk: &Path) -> Table {
        parse(&Cmd::new("sfdisk").arg("--json").arg(disk).output().unwrap()).unwrap()
    }

    #[test]
    fn partitions_get_our_numbers_and_names_and_do_not_move() {
        let (_dir, disk) = disk();
        let before = read(&disk);
        let starts: Vec<u64> = before.partitions.iter().map(|entry| entry.start).collect();
        let [esp, boot, trial, data, root] = starts[..] else {
            panic!("{starts:?}")
        };
        assert_eq!(before.find_trial().unwrap(), trial);
        let roles = Roles {
            esp,
            trial,
            boot,
            root,
        };
        assert!(!before.is_ours(&roles));
        sfdisk(&disk, before.ours(&roles).unwrap().into_bytes());

        let after = read(&disk);
        assert!(after.is_ours(&roles));
        assert_eq!(after.find_trial().unwrap(), trial);
        let places = |table: &Table| -> std::collections::BTreeMap<u64, (u64, String)> {
            let entries = table.partitions.iter();
            entries
                .map(|entry| (entry.start, (entry.size, entry.uuid.clone())))
                .collect()
        };
        assert_eq!(places(&before), places(&after));
        assert_eq!(before.id, after.id);
        let last = after.partitions.last().unwrap();
        assert_eq!((last.start, last.name.as_deref()), (data, Some("data")));
        sfdisk(&disk, after.ours(&roles).unwrap().into_bytes());
        assert_eq!(read(&disk).partitions, after.partitions);
    }

    #[test]
    fn a_disk_that_our_loader_could_not_read_is_refused() {
        for (json, part) in [
            (
                r#"{"partitiontable":{"label":"dos","id":"1","sectorsize":512,"partitions":[]}}"#,
                "GPT",
            ),
            (
                r#"{"partitiontable":{"label":"gpt","id":"1","sectorsize":4096,"partitions":[]}}"#,
                "4096",
            ),
            ("{}", "reading the partition table"),
        ] {
            let error = format!("{:#}", parse(json.as_bytes()).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
        let empty =
            r#"{"partitiontable":{"label":"gpt","id":"1","sectorsize":512,"partitions":[]}}"#;
        let error = parse(empty.as_bytes()).unwrap().find_trial().unwrap_err();
        assert!(error.to_string().contains("part biosboot"), "{error}");
    }
}
