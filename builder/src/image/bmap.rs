//! A block map of a disk image, which tells what must be written to a medium and what of it may be left as it is: the
//! XML of bmap-tools, version 2.0. It is a matter of what the disk holds, not of how the file lies on this machine.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::boot::records::hex;
use edge_ota::media::Place;
use edge_ota::media::layout::Layout;
use sha2::{Digest, Sha256};

use super::ext4;
use crate::interrupt;

const BLOCK: u64 = 4096;

/// Where `bmaptool copy` looks for the map of an image.
pub fn beside(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".bmap");
    name.into()
}

/// The map of a disk of ours, with a checksum of each range.
pub fn of_disk(raw: &Path, layout: &Layout) -> Result<String> {
    let ranges = to_blocks(&in_use(raw, layout)?);
    let act = || -> Result<String> {
        let mut file = File::open(raw)?;
        let mut summed = Vec::new();
        for range in ranges {
            interrupt::check()?;
            let sum = checksum(&mut file, &range)?;
            summed.push((range, sum));
        }
        Ok(xml(layout.size, &summed))
    };
    act().with_context(|| format!("mapping {}", raw.display()))
}

/// Everything but the free blocks of the large file systems: what is free in a journal or in a FAT must be zero.
fn in_use(raw: &Path, layout: &Layout) -> Result<Vec<Range<u64>>> {
    let (mut ranges, mut next) = (Vec::new(), 0);
    for partition in layout.partitions() {
        if !partition.is_ext4() {
            continue;
        }
        ranges.push(next..partition.start);
        ranges.extend(ext4::in_use(&Place::in_image(raw, partition))?);
        next = partition.start + partition.size;
    }
    ranges.push(next..layout.size);
    Ok(ranges)
}

/// In whole blocks, and none next to another. The ranges come in order.
fn to_blocks(bytes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut blocks: Vec<Range<u64>> = Vec::new();
    for range in bytes.iter().filter(|range| !range.is_empty()) {
        let range = range.start / BLOCK..range.end.div_ceil(BLOCK);
        match blocks.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => blocks.push(range),
        }
    }
    blocks
}

fn checksum(file: &mut File, blocks: &Range<u64>) -> Result<String> {
    let length = (blocks.end - blocks.start) * BLOCK;
    file.seek(SeekFrom::Start(blocks.start * BLOCK))?;
    let mut sum = Sha256::new();
    let read = io::copy(&mut file.take(length), &mut sum)?;
    ensure!(read == length, "it ends within block {}", blocks.end - 1);
    Ok(hex(&sum.finalize()))
}

fn xml(size: u64, ranges: &[(Range<u64>, String)]) -> String {
    let mapped: u64 = ranges
        .iter()
        .map(|(range, _)| range.end - range.start)
        .sum();
    let map: String = ranges
        .iter()
        .map(|(range, sum)| {
            let (first, last) = (range.start, range.end - 1);
            format!("        <Range chksum=\"{sum}\"> {first}-{last} </Range>\n")
        })
        .collect();
    let with_checksum = |sum: &str| {
        format!(
            "<?xml version=\"1.0\" ?>\n\
             <bmap version=\"2.0\">\n\
             \x20   <ImageSize> {size} </ImageSize>\n\
             \x20   <BlockSize> {BLOCK} </BlockSize>\n\
             \x20   <BlocksCount> {} </BlocksCount>\n\
             \x20   <MappedBlocksCount> {mapped} </MappedBlocksCount>\n\
             \x20   <ChecksumType> sha256 </ChecksumType>\n\
             \x20   <BmapFileChecksum> {sum} </BmapFileChecksum>\n\
             \x20   <BlockMap>\n{map}    </BlockMap>\n\
             </bmap>\n",
            size.div_ceil(BLOCK)
        )
    };
    // The map's own checksum is of the map with zeros in its place.
    let sum = Sha256::digest(with_checksum(&"0".repeat(64)));
    with_checksum(&hex(&sum))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init)]
    use super::*;
    use edge_ota::cmd::Cmd;
    use edge_ota::media::layout::layout;
    use edge_ota::media::{self, filesystems};

    #[test]
    fn ranges_become_whole_blocks_and_meet() {
        let check = |bytes: &[Range<u64>], expected: &[(u64, u64)]| {
            let blocks = to_blocks(bytes);
            let blocks: Vec<_> = blocks.iter().map(|b| (b.start, b.end)).collect();
            assert_eq!(blocks, expected, "{bytes:?}");
        };
        check(&[0..1, 4096..4097], &[(0, 2)]);
        check(&[0..4096, 8192..8193], &[(0, 1), (2, 3)]);
        check(&[0..1024, 1024..3000, 3000..5000], &[(0, 2)]);
        check(&[5..5, 4000..9000], &[(0, 3)]);
        check(&[], &[]);
    }

    #[test]
    fn a_map_names_its_own_checksum() {
        let map = xml(10_000, &[(0..1, "ab".into()), (2..3, "cd".into())]);
        assert!(map.contains("<BlocksCount> 3 </BlocksCount>"), "{map}");
        assert!(map.contains("<MappedBlocksCount> 2 <"), "{map}");
        assert!(map.contains("<Range chksum=\"cd\"> 2-2 </Range>"), "{map}");
        let own = map.split_once("<BmapFileChecksum> ").unwrap().1;
        let own = own.get(..64).unwrap();
        let blank = map.replace(own, &"0".repeat(64));
        assert_eq!(hex(&Sha256::digest(blank)), own);
    }

    #[test]
    fn an_image_that_ends_early_is_no_image() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, vec![0; 5000]).unwrap();
        let mut file = File::open(&path).unwrap();
        assert!(checksum(&mut file, &(0..1)).is_ok());
        assert!(checksum(&mut file, &(0..2)).is_err());
        assert_eq!(beside(&path), dir.path().join("x.bmap"));
    }

    /// A disk of ours with a file on its root.
    fn disk(dir: &Path) -> (PathBuf, Layout) {
        let (raw, layout) = (dir.join("disk"), layout(1 << 30, "seed", &[]).unwrap());
        File::create(&raw).unwrap().set_len(layout.size).unwrap();
        media::partition(&raw, &layout).unwrap();
        let tree = dir.join("tree");
        std::fs::create_dir(&tree).unwrap();
        // Its end is zero, and yet it is part of the file.
        let content = [vec![7; 50_000], vec![0; 200_000]].concat();
        std::fs::write(tree.join("file"), content).unwrap();
        for partition in [&layout.boot, &layout.root] {
            let place = Place::in_image(&raw, partition);
            filesystems::write_boot(&place, &tree, 7).unwrap();
        }
        (raw, layout)
    }

    #[test]
    fn bmap_tools_copy_by_the_map() {
        let dir = tempfile::tempdir().unwrap();
        let (raw, layout) = disk(dir.path());
        let map = of_disk(&raw, &layout).unwrap();
        assert_eq!(map, of_disk(&raw, &layout).unwrap());
        std::fs::write(beside(&raw), &map).unwrap();
        let copy = dir.path().join("copy");
        let bmaptool = || Cmd::new("bmaptool").args(["copy"]).arg(&raw).arg(&copy);
        bmaptool().run().unwrap();
        let compare = Cmd::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw"]);
        compare.arg(&raw).arg(&copy).run().unwrap();
        // It checks the sums of ranges and of the map.
        edge_ota::durable::overwrite(&raw, layout.boot.start + 1024, b"damage").unwrap();
        assert!(bmaptool().run().is_err());
        std::fs::write(beside(&raw), map.replace("> 0-", "> 1-")).unwrap();
        assert!(bmaptool().run().is_err());
    }

    #[test]
    fn what_a_map_leaves_out_is_not_missed_on_a_used_medium() {
        let dir = tempfile::tempdir().unwrap();
        let (raw, layout) = disk(dir.path());
        let image = std::fs::read(&raw).unwrap();
        let mut used = vec![0xff; image.len()];
        for range in to_blocks(&in_use(&raw, &layout).unwrap()) {
            let bytes = usize::try_from(range.start * BLOCK).unwrap()
                ..usize::try_from(range.end * BLOCK).unwrap();
            used[bytes.clone()].copy_from_slice(&image[bytes]);
        }
        let left = used.iter().filter(|byte| **byte == 0xff).count();
        assert!(left > 500 << 20, "only {left} bytes are left out");
        let medium = dir.path().join("medium");
        std::fs::write(&medium, used).unwrap();
        for partition in [&layout.boot, &layout.root] {
            let place = Place::in_image(&medium, partition);
            let fsck = Cmd::new("e2fsck").args(["-fn"]).arg(place.for_e2fs());
            fsck.run().unwrap();
            let dump = Cmd::new("debugfs").args(["-R", "cat /file"]);
            let file = dump.arg(place.for_e2fs()).output().unwrap();
            assert!(file.len() == 250_000 && file.ends_with(&[0; 200_000]));
        }
        assert_eq!(image.len() as u64, layout.size);
    }
}
