//! The `newc` cpio form that the kernel unpacks (Documentation/driver-api/early-userspace in the
//! kernel's source). The same entries always give the same bytes.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail};

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// No initramfs of ours comes near it; it bounds what a hostile one may unpack to.
const MAX_UNPACKED: u64 = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Dir,
    File { mode: u32, data: Vec<u8> },
    Link(String),
    Char { major: u32, minor: u32 },
}

/// Entries by path, relative and without a leading `/`; the folders above each are implied.
pub type Entries = BTreeMap<String, Entry>;

pub fn write(entries: &Entries) -> Vec<u8> {
    let mut all = BTreeMap::new();
    for path in entries.keys() {
        for (end, _) in path.match_indices('/') {
            all.insert(path.get(..end).unwrap_or_default(), &Entry::Dir);
        }
    }
    all.extend(entries.iter().map(|(path, entry)| (path.as_str(), entry)));
    let mut out = Vec::new();
    for (number, (path, entry)) in (1u32..).zip(all) {
        let (mode, data, device) = match entry {
            Entry::Dir => (0o040_755, [].as_slice(), (0, 0)),
            Entry::File { mode, data } => (0o100_000 | mode, data.as_slice(), (0, 0)),
            Entry::Link(target) => (0o120_777, target.as_bytes(), (0, 0)),
            Entry::Char { major, minor } => (0o020_600, [].as_slice(), (*major, *minor)),
        };
        record(&mut out, number, mode, device, path, data);
    }
    record(&mut out, 0, 0, (0, 0), TRAILER, &[]);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// The paths in an initramfs: cpio archives one after the other, plain or compressed with zstd.
pub fn names(image: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = image;
    loop {
        rest = skip_zeros(rest);
        if rest.is_empty() {
            return Ok(names);
        } else if rest.starts_with(MAGIC) {
            rest = read_archive(rest, &mut names)?;
        } else if rest.starts_with(&ZSTD_MAGIC) {
            read_archives(&unpack(rest)?, &mut names)?;
            return Ok(names);
        } else {
            bail!("the initramfs is neither cpio nor zstd");
        }
    }
}

fn read_archives(mut rest: &[u8], names: &mut Vec<String>) -> Result<()> {
    rest = skip_zeros(rest);
    while !rest.is_empty() {
        rest = skip_zeros(read_archive(rest, names)?);
    }
    Ok(())
}

/// Reads up to the trailer and returns what follows it.
fn read_archive<'a>(archive: &'a [u8], names: &mut Vec<String>) -> Result<&'a [u8]> {
    let cut = || "the cpio archive is cut short";
    let mut at = 0;
    loop {
        let header = archive.get(at..at + HEADER).with_context(cut)?;
        if !header.starts_with(MAGIC) {
            bail!("no cpio header at byte {at}");
        }
        let (size, name_size) = (field(header, 6)?, field(header, 11)?);
        let name_at = at + HEADER;
        let name = archive
            .get(name_at..name_at + name_size.saturating_sub(1))
            .with_context(cut)?;
        let data_at = (name_at + name_size).next_multiple_of(4);
        at = (data_at + size).next_multiple_of(4);
        if name == TRAILER.as_bytes() {
            return Ok(archive.get(at..).unwrap_or_default());
        }
        let name = std::str::from_utf8(name).context("a cpio name is not UTF-8")?;
        names.push(
            name.trim_start_matches("./")
                .trim_start_matches('/')
                .to_owned(),
        );
    }
}

/// The nth of the eight-digit fields that follow the magic.
fn field(header: &[u8], n: usize) -> Result<usize> {
    let start = MAGIC.len() + n * 8;
    let digits = header.get(start..start + 8).unwrap_or_default();
    let text = std::str::from_utf8(digits).context("a cpio header is not text")?;
    let value = u32::from_str_radix(text, 16).context("a cpio header is not hexadecimal")?;
    Ok(usize::try_from(value)?)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(bytes)?;
    decoder
        .take(MAX_UNPACKED)
        .read_to_end(&mut out)
        .context("unpacking the initramfs")?;
    Ok(out)
}

fn skip_zeros(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

fn record(out: &mut Vec<u8>, ino: u32, mode: u32, device: (u32, u32), path: &str, data: &[u8]) {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let fields = [
        ino,
        mode,
        0,
        0,
        links,
        0,
        data.len() as u32,
        0,
        0,
        device.0,
        device.1,
        path.len() as u32 + 1,
        0,
    ];
    out.extend_from_slice(MAGIC);
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;

    fn sample() -> Entries {
        Entries::from([
            (
                "init".into(),
                Entry::File {
                    mode: 0o755,
                    data: b"#!/bin/sh\n".to_vec(),
                },
            ),
            ("usr/bin/sh".into(), Entry::Link("dash".into())),
            ("dev/console".into(), Entry::Char { major: 5, minor: 1 }),
            ("proc".into(), Entry::Dir),
        ])
    }

    #[test]
    fn names_come_back_plain_packed_and_joined() {
        let want = [
            "dev",
            "dev/console",
            "init",
            "proc",
            "usr",
            "usr/bin",
            "usr/bin/sh",
        ];
        let plain = write(&sample());
        assert_eq!(plain, write(&sample()));
        let packed = zstd::encode_all(plain.as_slice(), 3).unwrap();
        assert_eq!(names(&plain).unwrap(), want);
        assert_eq!(names(&packed).unwrap(), want);
        let early = write(&Entries::from([("kernel".into(), Entry::Dir)]));
        assert_eq!(
            names(&[early, packed].concat()).unwrap().len(),
            want.len() + 1
        );
    }

    #[test]
    fn every_cut_is_an_error_or_whole() {
        let plain = write(&sample());
        let end = plain.len() - 512;
        for length in (1..end).step_by(7) {
            assert!(names(&plain[..length]).is_err(), "{length}");
        }
        assert!(names(b"nonsense").is_err());
    }

    #[test]
    fn cpio_itself_can_read_it() {
        if Cmd::new("cpio").arg("--version").status().is_err() {
            return;
        }
        let listing = Cmd::new("cpio")
            .arg("-t")
            .output_with_input(write(&sample()))
            .unwrap();
        assert_eq!(
            listing,
            b"dev\ndev/console\ninit\nproc\nusr\nusr/bin\nusr/bin/sh\n"
        );
    }
}
