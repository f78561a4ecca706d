//! The file that an image is handed out as. The same release gives the same bytes in every format: what qemu-img takes
//! from the clock and from chance is set from the commit afterwards.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;
use edge_ota::media::layout::uuid;
use edge_ota::types::CommitChecksum;

use super::{guid, vhd, vhdx, vmdk};

/// Level 9 takes as long as qcow2 does; 19 takes twenty times as long, for a tenth less.
const ZSTD_LEVEL: &str = "-9";
const VHD_FOOTER: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// As it is on a disk, with holes, and a .bmap beside it
    Raw,
    /// The same, compressed by zstd
    #[value(name = "raw.zst")]
    RawZst,
    /// Compressed, for QEMU, libvirt, Proxmox, OpenStack
    Qcow2,
    /// Dynamic, of exactly the disk's size
    Vhd,
    /// Fixed, for Azure
    VhdFixed,
    /// Dynamic, for Hyper-V
    Vhdx,
    /// Stream-optimized, for VMware and VirtualBox
    Vmdk,
}

/// What of an image is not its content.
#[derive(Clone, Copy)]
pub struct Stamp<'a> {
    pub commit: &'a CommitChecksum,
    /// Of the release, in seconds of Unix.
    pub time: u64,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::RawZst => "raw.zst",
            Format::Qcow2 => "qcow2",
            Format::Vhd => "vhd",
            Format::VhdFixed => "vhd-fixed",
            Format::Vhdx => "vhdx",
            Format::Vmdk => "vmdk",
        }
    }

    /// What is written to a medium as it is has a map of what must be written.
    pub fn has_map(self) -> bool {
        matches!(self, Format::Raw | Format::RawZst)
    }
}

/// QEMU's word for what a file is by its magic, never by probing its content: that is the guest's.
pub fn qemu_driver(image: &Path) -> Result<&'static str> {
    let act = || -> io::Result<&'static str> {
        let mut file = File::open(image)?;
        let (head, length) = (magic(&mut file)?, file.metadata()?.len());
        // A fixed VHD is known by what follows a disk of whole MiB.
        let footer = match length.checked_sub(VHD_FOOTER) {
            Some(end) if end % (1 << 20) == 0 => {
                file.seek(SeekFrom::Start(end))?;
                magic(&mut file)?
            }
            _ => [0; 8],
        };
        Ok(match (&head, &footer) {
            ([b'Q', b'F', b'I', 0xfb, ..], _) => "qcow2",
            ([b'K', b'D', b'M', b'V', ..], _) => "vmdk",
            (b"vhdxfile", _) => "vhdx",
            (b"conectix", _) | (_, b"conectix") => "vpc",
            _ => "raw",
        })
    };
    act().with_context(|| format!("reading {}", image.display()))
}

fn magic(file: &mut File) -> io::Result<[u8; 8]> {
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map(|()| magic)
}

/// Writes a disk as a file of another format.
pub fn write(raw: &Path, format: Format, stamp: Stamp, to: &Path) -> Result<()> {
    let (seed, time) = (stamp.commit.as_str(), stamp.time);
    match format {
        // The disk was made in its place.
        Format::Raw => Ok(()),
        Format::RawZst => compress(raw, to),
        Format::Qcow2 => convert(raw, "qcow2", &["-c"], to),
        Format::Vhd => {
            let options = ["-o", "subformat=dynamic,force_size=on"];
            convert(raw, "vpc", &options, to)?;
            vhd::settle(to, time, &guid::big_endian(&uuid(seed, "vhd"))?)
        }
        Format::VhdFixed => {
            let options = ["-o", "subformat=fixed,force_size=on"];
            convert(raw, "vpc", &options, to)?;
            vhd::settle(to, time, &guid::big_endian(&uuid(seed, "vhd"))?)
        }
        Format::Vhdx => {
            // Blocks of 1 MiB, for ext4 spreads its groups over a disk.
            let options = ["-o", "subformat=dynamic,block_size=1M"];
            convert(raw, "vhdx", &options, to)?;
            vhdx::settle(to, seed)
        }
        Format::Vmdk => {
            let options = ["-o", "subformat=streamOptimized,adapter_type=lsilogic"];
            convert(raw, "vmdk", &options, to)?;
            vmdk::settle(to, content_id(seed)?)
        }
    }
}

/// By all processors, whose number does not show in the result.
fn compress(raw: &Path, to: &Path) -> Result<()> {
    Cmd::new("zstd")
        .args(["--quiet", "--force", "-T0", ZSTD_LEVEL, "-o"])
        .arg(to)
        .arg(raw)
        .run()
}

fn convert(raw: &Path, driver: &str, options: &[&str], to: &Path) -> Result<()> {
    Cmd::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", driver])
        .args(options)
        .arg(raw)
        .arg(to)
        .run()
}

fn content_id(seed: &str) -> Result<u32> {
    let id = guid::big_endian(&uuid(seed, "vmdk"))?;
    let [a, b, c, d, ..] = id;
    Ok(u32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;

    const SIZE: u64 = 67 << 20;

    /// Data, zeros that are stored, and holes.
    fn disk(dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        let file = File::create(&path).unwrap();
        file.set_len(SIZE).unwrap();
        let noise: Vec<u8> = (0..300_000u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        for at in [0, 5 << 20, (30 << 20) + 777, SIZE - 300_000] {
            file.write_all_at(&noise, at).unwrap();
        }
        file.write_all_at(&vec![0; 3 << 20], 40 << 20).unwrap();
        path
    }

    fn commit() -> CommitChecksum {
        "b9a6c93f6698d2bb0b15947042a909fdad4f7ff7f7ada39da49b33f5a1e9cd1e"
            .parse()
            .unwrap()
    }

    fn made(dir: &Path, format: Format, name: &str) -> PathBuf {
        let (raw, to, commit) = (disk(dir, "raw"), dir.join(name), commit());
        let stamp = Stamp {
            commit: &commit,
            time: 1_790_000_000,
        };
        write(&raw, format, stamp, &to).unwrap();
        to
    }

    fn check(format: Format, driver: &str) {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (
            made(dir.path(), format, "first"),
            made(dir.path(), format, "second, renamed"),
        );
        assert!(
            fs::read(&first).unwrap() == fs::read(&second).unwrap(),
            "{format:?} differs from run to run"
        );
        assert_eq!(qemu_driver(&first).unwrap(), driver);
        let original = disk(dir.path(), "original");
        Cmd::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", driver])
            .arg(original)
            .arg(&first)
            .run()
            .unwrap();
        let info = Cmd::new("qemu-img").args(["info", "--output=json", "-f", driver]);
        let info = info.arg(&first).output().unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        assert_eq!(info["virtual-size"], SIZE, "{format:?}");
    }

    #[test]
    fn every_format_holds_the_disk_and_comes_out_the_same_again() {
        for (format, driver) in [
            (Format::Qcow2, "qcow2"),
            (Format::Vhd, "vpc"),
            (Format::VhdFixed, "vpc"),
            (Format::Vhdx, "vhdx"),
            (Format::Vmdk, "vmdk"),
        ] {
            check(format, driver);
        }
    }

    #[test]
    fn zstd_gives_the_disk_back() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (
            made(dir.path(), Format::RawZst, "first"),
            made(dir.path(), Format::RawZst, "second"),
        );
        assert!(fs::read(&first).unwrap() == fs::read(second).unwrap());
        let unpacked = Cmd::new("zstd").args(["-dc"]).arg(first).output().unwrap();
        assert!(unpacked == fs::read(disk(dir.path(), "original")).unwrap());
    }

    #[test]
    fn an_image_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (raw, commit) = (disk(dir.path(), "raw"), commit());
        let stamp = Stamp {
            commit: &commit,
            time: 0,
        };
        for format in [Format::RawZst, Format::Vhdx] {
            let to = dir.path().join("none/out");
            let error = write(&raw, format, stamp, &to).unwrap_err();
            assert!(format!("{error:#}").contains("none/out"), "{error:#}");
        }
    }
}
