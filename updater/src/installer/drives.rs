//! The drives of a machine, and which of them is meant. Two that could be meant are an error, never a guess.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::Serialize;

const SECTOR: u64 = 512;

/// A whole disk that could be installed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drive {
    /// `/dev/sda`
    pub device: PathBuf,
    /// Bytes
    pub size: u64,
    pub removable: bool,
    pub model: String,
    pub serial: String,
    /// World wide name or another name that the hardware says of itself.
    pub wwid: String,
    /// What is mounted from it, or built upon it.
    pub in_use: Vec<String>,
    /// The partitions on it, for whoever must agree to their end.
    pub partitions: Vec<String>,
}

impl Drive {
    /// Whether it is what udev calls `id` in `/dev/disk/by-id`: that ends with the serial number, or is the wwid. There is
    /// no udev in an installer.
    pub fn has_id(&self, id: &str) -> bool {
        let ends = |serial: &str| {
            let rest = id.strip_suffix(serial);
            !serial.is_empty() && rest.is_some_and(|rest| rest.ends_with(['_', '-']))
        };
        let plain = self
            .wwid
            .trim_start_matches("naa.")
            .trim_start_matches("0x");
        ends(&self.serial.replace(' ', "_"))
            || ends(&self.wwid)
            || (!plain.is_empty() && id == format!("wwn-0x{plain}"))
    }
}

impl fmt::Display for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.device.display(), bytes(self.size))?;
        for (name, value) in [("", &self.model), ("serial ", &self.serial)] {
            if !value.is_empty() {
                write!(f, ", {name}{value}")?;
            }
        }
        if self.removable {
            f.write_str(", removable")?;
        }
        f.write_str(")")
    }
}

/// `7.8 GB`
pub fn bytes(size: u64) -> String {
    indicatif::DecimalBytes(size).to_string()
}

/// Which drive is meant: rules that must all hold. Without a rule it is the only drive that is not removable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    rules: Vec<Rule>,
    /// Of several, the smallest.
    smallest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Device(PathBuf),
    Serial(String),
    Wwid(String),
    Model(String),
    /// At least, at most, in bytes.
    Size(u64, u64),
    Removable,
}

impl FromStr for Wish {
    type Err = anyhow::Error;

    /// Rules, separated by commas: `/dev/…`, `serial=…`, `wwid=…`, `model=…`, `size=8G..64G`, `removable`, `smallest`.
    fn from_str(text: &str) -> Result<Self> {
        let mut wish = Self::default();
        for word in text.split(',').map(str::trim) {
            match word {
                "smallest" => wish.smallest = true,
                _ => wish.rules.push(rule(word)?),
            }
        }
        Ok(wish)
    }
}

fn rule(word: &str) -> Result<Rule> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    Ok(match (key, value) {
        ("removable", "") => Rule::Removable,
        ("serial", v) if !v.is_empty() => Rule::Serial(v.to_owned()),
        ("wwid", v) if !v.is_empty() => Rule::Wwid(v.to_owned()),
        ("model", v) if !v.is_empty() => Rule::Model(v.to_owned()),
        ("size", v) => size_rule(v)?,
        _ if word.starts_with("/dev/") => Rule::Device(PathBuf::from(word)),
        _ => bail!(
            "'{word}' names no disk: use /dev/…, serial=…, wwid=…, model=…, size=8G..64G, removable or smallest"
        ),
    })
}

fn size_rule(text: &str) -> Result<Rule> {
    let (least, most) = text
        .split_once("..")
        .with_context(|| format!("size={text} is not a range such as 8G..64G"))?;
    let number = |text: &str, open: u64| match text {
        "" => Ok(open),
        _ => size(text),
    };
    Ok(Rule::Size(number(least, 0)?, number(most, u64::MAX)?))
}

/// `8G`, `512M` (powers of 1024), or bytes.
pub fn size(text: &str) -> Result<u64> {
    let unit = match text.chars().next_back() {
        Some('T') => 1 << 40,
        Some('G') => 1 << 30,
        Some('M') => 1 << 20,
        _ => 1,
    };
    let number = text.trim_end_matches(['T', 'G', 'M']);
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|n| n.checked_mul(unit))
        .with_context(|| format!("'{text}' is not a size such as 8G or 512M"))
}

impl Wish {
    /// One device and no other.
    pub fn device(path: &Path) -> Self {
        Self {
            rules: vec![Rule::Device(path.to_owned())],
            smallest: false,
        }
    }

    /// The one drive that is meant. `links` are other names of devices, as in `/dev/disk/by-id`.
    pub fn choose<'a>(&self, drives: &'a [Drive], root: &Path) -> Result<&'a Drive> {
        let explicit = self
            .rules
            .iter()
            .any(|rule| matches!(rule, Rule::Device(_) | Rule::Removable));
        let mut meant: Vec<&Drive> = drives
            .iter()
            .filter(|drive| explicit || !drive.removable)
            .filter(|drive| self.rules.iter().all(|rule| rule.holds(drive, root)))
            .collect();
        meant.sort_by_key(|drive| drive.size);
        let second_as_small = matches!(meant.as_slice(), [a, b, ..] if a.size == b.size);
        match meant.as_slice() {
            [] => bail!("no disk fits '{self}'; there is {}", list(drives)),
            [first, _, ..] if self.smallest && !second_as_small => free(first),
            [only] => free(only),
            _ => bail!(
                "'{self}' could be {}: name one of them with --disk, by its device, serial=, wwid=, model= or size=",
                names(&meant)
            ),
        }
    }
}

fn free(drive: &Drive) -> Result<&Drive> {
    match drive.in_use.as_slice() {
        [] => Ok(drive),
        users => bail!("{drive} is in use: {}", users.join(", ")),
    }
}

impl Rule {
    fn holds(&self, drive: &Drive, root: &Path) -> bool {
        match self {
            Rule::Device(path) => {
                let id = path
                    .strip_prefix("/dev/disk/by-id")
                    .ok()
                    .and_then(Path::to_str);
                path == &drive.device
                    || leads_to(root, path, drive)
                    || id.is_some_and(|id| drive.has_id(id))
            }
            Rule::Serial(serial) => drive.serial == *serial,
            Rule::Wwid(wwid) => drive.wwid == *wwid,
            Rule::Model(model) => drive.model.contains(model.as_str()),
            Rule::Size(least, most) => (*least..=*most).contains(&drive.size),
            Rule::Removable => drive.removable,
        }
    }
}

/// Whether it is a link, such as udev makes, to the drive.
fn leads_to(root: &Path, path: &Path, drive: &Drive) -> bool {
    let below = path.strip_prefix("/").unwrap_or(path);
    fs::canonicalize(root.join(below)).is_ok_and(|found| found == drive.device)
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.rules.iter().map(Rule::to_string).collect();
        if self.smallest {
            words.push("smallest".to_owned());
        }
        match words.is_empty() {
            true => f.write_str("the only disk that is not removable"),
            false => f.write_str(&words.join(",")),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Device(path) => write!(f, "{}", path.display()),
            Rule::Serial(serial) => write!(f, "serial={serial}"),
            Rule::Wwid(wwid) => write!(f, "wwid={wwid}"),
            Rule::Model(model) => write!(f, "model={model}"),
            Rule::Size(least, u64::MAX) => write!(f, "size={least}.."),
            Rule::Size(least, most) => write!(f, "size={least}..{most}"),
            Rule::Removable => f.write_str("removable"),
        }
    }
}

fn names(drives: &[&Drive]) -> String {
    drives
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}

fn list(drives: &[Drive]) -> String {
    match drives {
        [] => "no disk at all: does the installer have its driver?".to_owned(),
        _ => drives
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The drives there are, by name. Below `root` are `sys`, `proc` and `dev`.
pub fn list_all(root: &Path) -> Result<Vec<Drive>> {
    let dir = root.join("sys/block");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
        names.extend(entry?.file_name().into_string().ok());
    }
    let mounts = mounts(root)?;
    let drives = names.iter().filter(|name| is_drive(name));
    let drives = drives.map(|name| read_drive(root, name, &mounts));
    Ok(drives.filter(|drive| drive.size > 0).collect())
}

/// Disks by their kernel's names: no memory, no optical drives, nothing that is built upon disks, and not what an eMMC
/// keeps beside its user area.
fn is_drive(name: &str) -> bool {
    let kinds = ["sd", "hd", "vd", "xvd", "nvme", "mmcblk", "pmem"];
    kinds.iter().any(|kind| name.starts_with(kind))
        && !(name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb")))
}

fn read_drive(root: &Path, name: &str, mounts: &[(String, String)]) -> Drive {
    let dir = root.join("sys/block").join(name);
    let say = |files: &[&str]| -> String {
        let texts = files
            .iter()
            .map(|file| fs::read(dir.join(file)).unwrap_or_default());
        let mut texts = texts.map(|bytes| printable(&bytes));
        texts.find(|text| !text.is_empty()).unwrap_or_default()
    };
    let sectors: u64 = say(&["size"]).parse().unwrap_or(0);
    let partitions = partitions(&dir, name);
    let own = |device: &str| device == name || partitions.iter().any(|(p, _)| p == device);
    let mut in_use: Vec<String> = mounts
        .iter()
        .filter(|(device, _)| own(device.trim_start_matches("/dev/")))
        .map(|(device, at)| format!("{device} on {at}"))
        .collect();
    in_use.extend(holders(&dir, &partitions));
    if say(&["ro"]) == "1" {
        in_use.push("it is read-only".to_owned());
    }
    Drive {
        device: root.join("dev").join(name),
        size: sectors.saturating_mul(SECTOR),
        removable: say(&["removable"]) == "1" || on_usb(&dir),
        model: say(&["device/model", "device/name"]),
        serial: say(&["serial", "device/serial", "device/vpd_pg80"]),
        wwid: say(&["wwid", "device/wwid", "device/cid"]),
        in_use,
        partitions: partitions.into_iter().map(|(_, text)| text).collect(),
    }
}

/// The page of SCSI's vital product data has a head of four bytes that do not print.
fn printable(bytes: &[u8]) -> String {
    let text = bytes.iter().copied().filter(|b| (0x20..0x7f).contains(b));
    text.map(char::from).collect::<String>().trim().to_owned()
}

/// A stick or a card reader's card may say that it stays.
fn on_usb(dir: &Path) -> bool {
    fs::canonicalize(dir.join("device")).is_ok_and(|path| {
        path.components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with("usb"))
    })
}

/// Names of partitions, and each with its size and label.
fn partitions(dir: &Path, drive: &str) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(drive)).collect();
    names.sort();
    let read = |file: String| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let describe = |name: &String| {
        let sectors: u64 = read(format!("{name}/size")).trim().parse().unwrap_or(0);
        let uevent = read(format!("{name}/uevent"));
        let label = uevent
            .lines()
            .find_map(|line| line.strip_prefix("PARTNAME="));
        let label = label.map(|label| format!(" {label}")).unwrap_or_default();
        format!("{name}{label} ({})", bytes(sectors.saturating_mul(SECTOR)))
    };
    names
        .iter()
        .map(|name| (name.clone(), describe(name)))
        .collect()
}

/// Device mapper and RAID upon the drive or its partitions.
fn holders(dir: &Path, partitions: &[(String, String)]) -> Vec<String> {
    let folders =
        std::iter::once(dir.to_owned()).chain(partitions.iter().map(|(name, _)| dir.join(name)));
    let entries = folders.filter_map(|folder| fs::read_dir(folder.join("holders")).ok());
    let names = entries
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .map(|name| format!("{name} is built upon it"))
        .collect()
}

/// Device and mount point; swap counts as mounted.
fn mounts(root: &Path) -> Result<Vec<(String, String)>> {
    let read = |file: &str| {
        let path = root.join("proc").join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let (mounts, swaps) = (read("mounts")?, read("swaps").unwrap_or_default());
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    let swapped = swaps.lines().skip(1);
    let swapped = swapped.filter_map(|line| {
        Some((
            line.split_whitespace().next()?.to_owned(),
            "swap".to_owned(),
        ))
    });
    Ok(mounted.chain(swapped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn drive(name: &str, gib: u64, removable: bool) -> Drive {
        Drive {
            device: PathBuf::from(format!("/dev/{name}")),
            size: gib * GIB,
            removable,
            model: format!("MODEL {gib}"),
            serial: format!("S-{name}"),
            wwid: format!("naa.{name}"),
            in_use: Vec::new(),
            partitions: Vec::new(),
        }
    }

    #[test]
    fn one_drive_is_chosen_or_none() {
        let drives = [
            drive("sda", 8, true),
            drive("sdb", 64, false),
            drive("sdc", 32, false),
            drive("vda", 500, false),
        ];
        let check = |wish: &str, want: Result<&str, &str>| {
            let wish = match wish {
                "" => Wish::default(),
                _ => wish.parse().unwrap(),
            };
            let found = wish.choose(&drives, Path::new("/nonexistent"));
            match (found, want) {
                (Ok(drive), Ok(name)) => assert_eq!(drive.device, Path::new(name), "{wish}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{wish}: {found:?}"),
            }
        };
        check("/dev/sdb", Ok("/dev/sdb"));
        check("/dev/sda", Ok("/dev/sda"));
        check("serial=S-sdc", Ok("/dev/sdc"));
        check("wwid=naa.vda", Ok("/dev/vda"));
        check("model=MODEL 64", Ok("/dev/sdb"));
        check("size=100G..", Ok("/dev/vda"));
        check("size=..40G", Ok("/dev/sdc"));
        check("removable", Ok("/dev/sda"));
        check("smallest", Ok("/dev/sdc"));
        check("size=40G..,smallest", Ok("/dev/sdb"));
        check(
            "model=MODEL,size=30G..",
            Err("could be /dev/sdc (34.36 GB, MODEL 32, serial S-sdc) or /dev/sdb"),
        );
        check("", Err("could be"));
        check(
            "serial=none",
            Err("no disk fits 'serial=none'; there is /dev/sda"),
        );
        check("/dev/sdz", Err("no disk fits"));
    }

    #[test]
    fn the_only_one_needs_no_rule_and_two_as_small_are_a_doubt() {
        let root = Path::new("/nonexistent");
        let (stick, disk) = (drive("sda", 8, true), drive("sdb", 64, false));
        let two = [stick.clone(), disk.clone()];
        assert_eq!(Wish::default().choose(&two, root).unwrap(), &disk);
        assert!(Wish::default().choose(&[stick], root).is_err());
        let twins = [drive("sda", 8, false), drive("sdb", 8, false)];
        let smallest: Wish = "smallest".parse().unwrap();
        assert!(smallest.choose(&twins, root).is_err());
        let busy = Drive {
            in_use: vec!["/dev/sdb1 on /".into()],
            ..disk
        };
        let error = Wish::default()
            .choose(&[busy], root)
            .unwrap_err()
            .to_string();
        assert!(error.contains("in use: /dev/sdb1 on /"), "{error}");
    }

    #[test]
    fn ids_are_known_without_udev() {
        let disk = Drive {
            serial: "WD 12".into(),
            wwid: "naa.5000c500a".into(),
            ..drive("sda", 8, false)
        };
        for (id, want) in [
            ("ata-MODEL_X_WD_12", true),
            ("scsi-SATA_WD_12", true),
            ("wwn-0x5000c500a", true),
            ("ata-MODEL_WD_123", false),
            ("WD_12", false),
            ("wwn-0x5000", false),
        ] {
            assert_eq!(disk.has_id(id), want, "{id}");
        }
        let wish: Wish = "/dev/disk/by-id/ata-MODEL_X_WD_12".parse().unwrap();
        let drives = [disk];
        assert!(wish.choose(&drives, Path::new("/nonexistent")).is_ok());
    }

    #[test]
    fn wrong_rules_say_what_is_possible() {
        for text in [
            "sda",
            "size=8",
            "size=x..",
            "serial=",
            "",
            "smallest,",
            "colour=red",
        ] {
            let error = text.parse::<Wish>().unwrap_err().to_string();
            assert!(error.contains("8G"), "{text}: {error}");
        }
    }

    #[test]
    fn a_machine_is_read_from_sysfs() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        put(
            "proc/mounts",
            b"/dev/sda1 /boot ext4 rw 0 0\nproc /proc proc rw 0 0\n",
        );
        for name in ["loop0", "sr0", "ram0", "mmcblk0boot0", "dm-0"] {
            put(&format!("sys/block/{name}/size"), b"2048\n");
        }
        put("sys/block/sda/size", b"16777216\n");
        put("sys/block/sda/removable", b"0\n");
        put("sys/block/sda/device/model", b"QEMU HARDDISK   \n");
        put("sys/block/sda/device/vpd_pg80", b"\x00\x80\x00\x04QM01");
        put("sys/block/sda/sda1/size", b"2048\n");
        put("sys/block/sda/sda1/uevent", b"PARTN=1\nPARTNAME=esp\n");
        put("sys/block/mmcblk0/size", b"2048\n");
        put("sys/block/mmcblk0/device/name", b"MMC04G\n");
        put("sys/block/mmcblk0/device/serial", b"0x1234\n");
        put("sys/block/sdb/size", b"0\n");
        let drives = list_all(root.path()).unwrap();
        let [card, disk] = drives.as_slice() else {
            panic!("{drives:?}")
        };
        assert_eq!(
            (card.model.as_str(), card.serial.as_str()),
            ("MMC04G", "0x1234")
        );
        assert_eq!((disk.size, disk.serial.as_str()), (8 * GIB, "QM01"));
        assert_eq!(disk.in_use, ["/dev/sda1 on /boot"]);
        assert_eq!(disk.partitions, ["sda1 esp (1.05 MB)"]);
    }
}
