//! Which parts of an ext4 file system are in use.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::media::Place;

/// In bytes of the image: files, folders, the journal and tables of the file system itself, also where they are zero.
pub fn in_use(place: &Place) -> Result<Vec<Range<u64>>> {
    let text = Cmd::new("dumpe2fs")
        .arg(place.for_e2fs())
        .env("LC_ALL", "C")
        .text()?;
    let blocks = used_blocks(&text)
        .with_context(|| format!("what dumpe2fs says of {}", place.partition.name))?;
    let bytes = |block: u64| place.start + block * blocks.size;
    let used = blocks.used.iter();
    Ok(used.map(|r| bytes(r.start)..bytes(r.end)).collect())
}

struct Blocks {
    size: u64,
    used: Vec<Range<u64>>,
}

/// The complement of the lines `Free blocks: 9-12, 14` of all groups.
fn used_blocks(text: &str) -> Result<Blocks> {
    let number = |name: &str| -> Result<u64> {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|value| value.trim().parse().ok());
        value.with_context(|| format!("no '{name}'"))
    };
    let (count, free, size) = (
        number("Block count:")?,
        number("Free blocks:")?,
        number("Block size:")?,
    );
    let (mut used, mut next, mut seen) = (Vec::new(), 0, 0);
    for line in text.lines() {
        let Some(list) = line.strip_prefix("  Free blocks:") else {
            continue;
        };
        for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
            let range = parse_range(range)?;
            ensure!(range.start >= next, "block {} twice", range.start);
            if range.start > next {
                used.push(next..range.start);
            }
            seen += range.end - range.start;
            next = range.end;
        }
    }
    ensure!(seen == free, "{seen} free blocks and {free} free blocks");
    ensure!(next <= count, "block {next} of {count}");
    if next < count {
        used.push(next..count);
    }
    Ok(Blocks { size, used })
}

/// `9-12` or `9`.
fn parse_range(text: &str) -> Result<Range<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let number = text.parse::<u64>();
        number.with_context(|| format!("'{text}' is no block"))
    };
    let (first, last) = (number(first)?, number(last)?);
    ensure!(first <= last && last < u64::MAX, "'{text}' is no range");
    Ok(first..last + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init)]
    use super::*;

    fn said(count: u64, free: u64, groups: &[&str]) -> String {
        let mut text =
            format!("Block count:   {count}\nFree blocks:     {free}\nBlock size:    1024\n");
        for group in groups {
            text.push_str(&format!(
                "Group\n  Free blocks: {group}\n  Free inodes: 1-9\n"
            ));
        }
        text
    }

    #[test]
    fn what_is_not_free_is_in_use() {
        let check = |count, free, groups: &[&str], expected: &[(u64, u64)]| {
            let blocks = used_blocks(&said(count, free, groups)).unwrap();
            let used: Vec<_> = blocks.used.iter().map(|b| (b.start, b.end)).collect();
            assert_eq!((blocks.size, used.as_slice()), (1024, expected));
        };
        check(20, 6, &["4-7, 9", "19"], &[(0, 4), (8, 9), (10, 19)]);
        check(20, 0, &["", ""], &[(0, 20)]);
        check(20, 10, &["10-14", "15-19"], &[(0, 10)]);
        for (count, free, groups) in [
            (20, 5, &["4-7"][..]),
            (20, 4, &["7-4"]),
            (6, 4, &["4-7"]),
            (20, 8, &["4-7", "4-7"]),
            (20, 1, &["x"]),
        ] {
            assert!(
                used_blocks(&said(count, free, groups)).is_err(),
                "{groups:?}"
            );
        }
        assert!(used_blocks("").is_err());
    }
}
