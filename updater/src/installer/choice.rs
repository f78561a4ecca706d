//! The disk that a kickstart file and the kernel's arguments come to together, and whether it may be erased. Pure but for
//! the links that a device may be named by.

use std::path::Path;

use anyhow::{Result, bail};

use super::drives::{Drive, Wish, bytes};
use crate::kickstart::{DiskName, Disks, Erase};

const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Said by whoever starts the installer; it goes before what the file says.
    pub wish: Option<Wish>,
    /// Of a kickstart file.
    pub disks: Option<Disks>,
}

impl Choice {
    pub fn of(wish: Option<Wish>) -> Self {
        Self { wish, disks: None }
    }

    pub fn choose(&self, drives: &[Drive], root: &Path) -> Result<Drive> {
        let Some(disks) = &self.disks else {
            let wish = self.wish.clone().unwrap_or_default();
            return wish.choose(drives, root).cloned();
        };
        let seen: Vec<Drive> = drives
            .iter()
            .filter(|d| is_seen(disks, d))
            .cloned()
            .collect();
        let drive = self.wish_for(disks, &seen)?.choose(&seen, root)?.clone();
        may_be_erased(disks, &drive)?;
        is_large_enough(disks, &drive)?;
        Ok(drive)
    }

    fn wish_for(&self, disks: &Disks, seen: &[Drive]) -> Result<Wish> {
        if let Some(wish) = &self.wish {
            return Ok(wish.clone());
        }
        let named = |name: &DiskName| seen.iter().filter(|d| is(name, d)).collect::<Vec<_>>();
        match (&disks.target, disks.only.as_slice(), seen) {
            (Some(target), _, _) => match named(target).as_slice() {
                [one] => Ok(Wish::device(&one.device)),
                [] => bail!("the kickstart file's disk {target} is not there"),
                _ => bail!("the kickstart file's {target} is more than one disk"),
            },
            // Named, so that it may be a removable one.
            (None, [_, ..], [one]) => Ok(Wish::device(&one.device)),
            _ => Ok(Wish::default()),
        }
    }
}

fn is_seen(disks: &Disks, drive: &Drive) -> bool {
    let only = disks.only.is_empty() || disks.only.iter().any(|name| is(name, drive));
    only && !disks.ignore.iter().any(|name| is(name, drive))
}

fn is(name: &DiskName, drive: &Drive) -> bool {
    let device = drive
        .device
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let id = name.as_str().strip_prefix("disk/by-id/");
    name.matches(&device) || id.is_some_and(|id| drive.has_id(id))
}

fn may_be_erased(disks: &Disks, drive: &Drive) -> Result<()> {
    let listed = match &disks.erase {
        Erase::All => true,
        Erase::Drives(names) => names.iter().any(|name| is(name, drive)),
        Erase::Nothing => false,
    };
    if drive.partitions.is_empty() {
        return match disks.zerombr || listed {
            true => Ok(()),
            false => bail!(
                "{drive} has no partition table: zerombr in the kickstart file lets it be written"
            ),
        };
    }
    match listed {
        true => Ok(()),
        false => bail!(
            "{drive} holds {}: only clearpart in the kickstart file lets it be erased",
            drive.partitions.join(", ")
        ),
    }
}

fn is_large_enough(disks: &Disks, drive: &Drive) -> Result<()> {
    let wanted = disks.root.size.unwrap_or(0).saturating_mul(MIB);
    match drive.size >= wanted {
        true => Ok(()),
        false => bail!("{drive} is smaller than the {} of part /", bytes(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kickstart::parse;

    const SERVER: &str =
        "ostreesetup --osname=edge --remote=edge --url=http://x --ref=channel:stable\n";

    fn drive(name: &str, gib: u64, partitions: &[&str]) -> Drive {
        Drive {
            device: format!("/dev/{name}").into(),
            size: gib << 30,
            removable: name == "sdz",
            model: "M".into(),
            serial: format!("S{name}"),
            wwid: format!("naa.5{name}"),
            in_use: vec![],
            partitions: partitions.iter().map(|&p| p.to_owned()).collect(),
        }
    }

    fn choice(lines: &str, wish: Option<&str>) -> Choice {
        let text = format!("{SERVER}{lines}\n");
        let kickstart = parse("t.ks", &text, &mut |_| bail!("none")).unwrap();
        Choice {
            wish: wish.map(|wish| wish.parse().unwrap()),
            disks: Some(kickstart.disks),
        }
    }

    #[test]
    fn a_file_names_the_disk_and_lets_it_be_erased() {
        let drives = [
            drive("sda", 8, &["sda1 (1 GB)"]),
            drive("sdb", 16, &[]),
            drive("sdz", 4, &[]),
        ];
        let check = |lines: &str, wish: Option<&str>, want: Result<&str, &str>| {
            let found = choice(lines, wish).choose(&drives, Path::new("/nonexistent"));
            match (found, want) {
                (Ok(drive), Ok(name)) => assert_eq!(drive.device, Path::new(name), "{lines}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{lines}: {error}")
                }
                (found, _) => panic!("{lines}: {found:?}"),
            }
        };
        let all = "zerombr\nclearpart --all\n";
        check(
            &format!("{all}part / --size=1024 --grow --ondisk=sda"),
            None,
            Ok("/dev/sda"),
        );
        check(
            &format!("{all}ignoredisk --only-use=sdz"),
            None,
            Ok("/dev/sdz"),
        );
        check(
            &format!("{all}ignoredisk --drives=sda"),
            None,
            Ok("/dev/sdb"),
        );
        check(all, Some("serial=Ssdb"), Ok("/dev/sdb"));
        check(all, None, Err("could be"));
        let by_id = "part / --size=1024 --grow --ondisk=disk/by-id/ata-M_Ssdb";
        check(&format!("{all}{by_id}"), None, Ok("/dev/sdb"));
        check(&format!("zerombr\n{by_id}"), None, Ok("/dev/sdb"));
        check(by_id, None, Err("zerombr"));
        check(
            "zerombr\npart / --size=1024 --grow --ondisk=sda",
            None,
            Err("holds sda1 (1 GB): only clearpart"),
        );
        check(
            "clearpart --all --drives=sdb\nbootloader --boot-drive=sda",
            None,
            Err("only clearpart"),
        );
        check(
            &format!("{all}bootloader --boot-drive=sdq"),
            None,
            Err("sdq is not there"),
        );
        check(
            &format!("{all}part / --size=9000 --grow --ondisk=sda"),
            None,
            Err("smaller than the"),
        );
    }
}
