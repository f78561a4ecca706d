//! The file systems of an image, written straight to their place in the disk file: no loop devices.

use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::boot::envblk;
use edge_ota::boot::grub;
use edge_ota::boot::on_disk::{BOOTS_SECTOR, TRIAL_SECTORS};
use edge_ota::boot::records::{Boots, BootsRecord};
use edge_ota::cmd::Cmd;

use super::layout::Partition;

const KIB: u64 = 1024;

/// The EFI system partition: the tree's shim and GRUB, and our static script. Debian's signed GRUB
/// looks for its script in `/EFI/debian`.
pub fn write_esp(disk: &Path, partition: &Partition, efi: &Path, work: &Path) -> Result<()> {
    let script = work.join("grub.cfg");
    std::fs::write(&script, grub::SCRIPT)
        .with_context(|| format!("writing {}", script.display()))?;
    let id = partition.uuid.get(..8).unwrap_or("0");
    let image = mtools_image(disk, partition);
    Cmd::new("mformat")
        .args([
            "-F", "-h", "64", "-s", "32", "-c", "1", "-v", "ESP", "-N", id,
        ])
        .args([
            "-T",
            &(partition.size / 512).to_string(),
            "-i",
            &image,
            "::",
        ])
        .run()?;
    Cmd::new("mcopy")
        .args(["-s", "-i", &image])
        .arg(efi.join("EFI"))
        .arg("::")
        .run()?;
    Cmd::new("mmd").args(["-i", &image, "::EFI/debian"]).run()?;
    Cmd::new("mcopy")
        .args(["-i", &image])
        .arg(&script)
        .arg("::EFI/debian/grub.cfg")
        .run()
}

/// The loader's own records, at the fixed sectors of docs/formats.md.
pub fn write_trial(file: &Path, work: &Path) -> Result<()> {
    let boots = BootsRecord {
        boots: Boots::Count(0),
        seq: "0".to_owned(),
    };
    let blocks = [
        ("trial.0", envblk::format(&[])),
        ("trial.1", envblk::format(&[])),
        ("boots", boots.to_bytes()),
    ];
    std::fs::File::create(file)
        .and_then(|f| f.set_len(KIB * KIB))
        .with_context(|| format!("making {}", file.display()))?;
    Cmd::new("mformat")
        .args([
            "-T", "2048", "-h", "1", "-s", "1", "-c", "8", "-r", "4", "-L", "1", "-R", "1",
        ])
        .args(["-v", "EDGETRIAL", "-N", "45444745", "-i"])
        .arg(file)
        .arg("::")
        .run()?;
    for (name, bytes) in blocks {
        let path = work.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        Cmd::new("mcopy")
            .arg("-i")
            .arg(file)
            .arg(&path)
            .arg("::")
            .run()?;
    }
    check_sectors(file)
}

/// The files must lie where Linux and U-Boot will look for them without a file system.
fn check_sectors(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    for sector in TRIAL_SECTORS.into_iter().chain([BOOTS_SECTOR]) {
        let start = usize::try_from(sector)? * 512;
        let block = bytes.get(start..start + envblk::SIZE).unwrap_or(&[]);
        envblk::parse(block)
            .with_context(|| format!("mformat did not put a record at sector {sector}"))?;
    }
    Ok(())
}

/// The file system that the loader reads: without the features that GRUB or U-Boot do not know.
pub fn write_boot(disk: &Path, partition: &Partition, from: &Path) -> Result<()> {
    mke2fs(
        disk,
        partition,
        from,
        &["-m", "0", "-O", "^orphan_file,^metadata_csum_seed,^64bit"],
    )
}

pub fn write_root(disk: &Path, partition: &Partition, from: &Path, deployment: &str) -> Result<()> {
    mke2fs(
        disk,
        partition,
        from,
        &["-m", "1", "-O", "^orphan_file,^metadata_csum_seed"],
    )?;
    let command = format!("sif /ostree/deploy/edge/deploy/{deployment} flags 0x80010");
    let device = format!("{}?offset={}", disk.display(), partition.start);
    // libostree makes a deployment's root immutable; mke2fs does not carry that flag over.
    Cmd::new("debugfs")
        .args(["-w", "-R", &command, &device])
        .run()
}

fn mke2fs(disk: &Path, partition: &Partition, from: &Path, options: &[&str]) -> Result<()> {
    let extended = format!(
        "offset={},hash_seed={},root_owner=0:0",
        partition.start, partition.uuid
    );
    Cmd::new("mke2fs")
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-L",
            partition.name,
            "-U",
            &partition.uuid,
            "-E",
            &extended,
        ])
        .args(options)
        .arg("-d")
        .arg(from)
        .arg(disk)
        .arg(format!("{}k", partition.size / KIB))
        .run()
}

pub fn mtools_image(disk: &Path, partition: &Partition) -> String {
    format!("{}@@{}", disk.display(), partition.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lie_at_their_sectors() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trial.img");
        write_trial(&file, dir.path()).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 1 << 20);
    }
}
