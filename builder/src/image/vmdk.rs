//! What qemu-img writes into a VMDK of the moment it was made: a content id, and the name that the file had meanwhile.
//! Fields as in VMware's "Virtual Disk Format 5.0".

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const MAGIC: &[u8] = b"KDMV";
const SECTOR: u64 = 512;
/// The descriptor of a sparse extent is text in a room of its own, of some 10 KiB.
const MOST_SECTORS: u64 = 128;
/// Readers of a file with everything in it do not look for its name, so that it may be renamed.
const NAME: &str = "disk.vmdk";

pub fn settle(path: &Path, content_id: u32) -> Result<()> {
    let act = || -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut head = [0; 44];
        file.read_exact_at(&mut head, 0)?;
        ensure!(head.starts_with(MAGIC), "it is no sparse extent");
        let field =
            |at: usize| -> Result<u64> { Ok(u64::from_le_bytes(head[at..at + 8].try_into()?)) };
        let (offset, sectors) = (field(28)?, field(36)?);
        ensure!(
            (1..=MOST_SECTORS).contains(&sectors) && offset <= MOST_SECTORS,
            "it has no descriptor"
        );
        let mut room = vec![0; usize::try_from(sectors * SECTOR)?];
        file.read_exact_at(&mut room, offset * SECTOR)?;
        let text = room.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(text).context("its descriptor is no text")?;
        let mut settled = settled(text, content_id)?.into_bytes();
        ensure!(settled.len() <= room.len(), "its descriptor is full");
        settled.resize(room.len(), 0);
        Ok(file.write_all_at(&settled, offset * SECTOR)?)
    };
    act().with_context(|| format!("setting the content id of {}", path.display()))
}

fn settled(descriptor: &str, content_id: u32) -> Result<String> {
    let mut found = (0, 0);
    let mut text = String::new();
    for line in descriptor.lines() {
        if line.starts_with("CID=") {
            found.0 += 1;
            text.push_str(&format!("CID={content_id:08x}\n"));
        } else if let Some((extent, _)) = line.split_once(" SPARSE ") {
            found.1 += 1;
            text.push_str(&format!("{extent} SPARSE \"{NAME}\"\n"));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    ensure!(
        found == (1, 1),
        "its descriptor has {} content ids and {} extents",
        found.0,
        found.1
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_id_and_name_are_set_and_nothing_else() {
        let made = "# Disk DescriptorFile\nversion=1\nCID=8acf\nparentCID=ffffffff\n\
                    RW 8388608 SPARSE \".a b.partial\"\n\n#DDB\n";
        let expected = "# Disk DescriptorFile\nversion=1\nCID=0000001f\nparentCID=ffffffff\n\
                    RW 8388608 SPARSE \"disk.vmdk\"\n\n#DDB\n";
        assert_eq!(settled(made, 31).unwrap(), expected);
        assert!(settled("CID=1\nCID=2\n", 31).is_err());
        assert!(settled("", 31).is_err());
    }

    #[test]
    fn what_is_no_vmdk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vmdk");
        let mut vast = vec![0xff; 512];
        vast[..4].copy_from_slice(MAGIC);
        for (bytes, said) in [(vec![0; 512], "sparse extent"), (vast, "no descriptor")] {
            std::fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", settle(&path, 1).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
