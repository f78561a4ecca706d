//! Machines without a disk start from an installation medium: by BIOS, by UEFI with and without Secure Boot, from an
//! optical drive and from a stick.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_build::interrupt::WorkDir;
use edge_build::provision::iso::{self, Iso};
use edge_build::repo::Repo;
use qemu_tests::hardware;
use qemu_tests::lab::Lab;
use qemu_tests::netboot::{self, SAYS};
use qemu_tests::variant;
use qemu_tests::vm::{Firmware, Medium, Vm, VmConfig};

/// From power on to the kernel's first program, under emulation, on a busy machine.
const START: Duration = Duration::from_secs(600);
const LABEL: &str = "EDGE_TEST";

#[test]
fn iso_starts_from_drives_and_sticks() -> Result<()> {
    let lab = Lab::open("x86_64")?;
    let dir = lab.runs.join("iso");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let iso = medium(&lab, &dir)?;
    for (name, firmware, medium) in [
        ("bios-drive", Firmware::Bios, Medium::Disc(iso.clone())),
        ("bios-stick", Firmware::Bios, Medium::Stick(iso.clone())),
        ("uefi-drive", Firmware::Plain, Medium::Disc(iso.clone())),
        ("secure-stick", Firmware::SecureBoot, Medium::Stick(iso)),
    ] {
        starts(&dir.join(name), firmware, medium).with_context(|| name.to_owned())?;
    }
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

fn starts(dir: &Path, firmware: Firmware, medium: Medium) -> Result<()> {
    fs::create_dir_all(dir)?;
    let board = hardware::board("x86_64")?;
    let config = VmConfig {
        firmware,
        medium: Some(medium),
        // QEMU's BIOS tries its first disk only: a stick that comes after one must be chosen by hand.
        disks: Vec::new(),
        ..VmConfig::new(&board, dir.to_owned(), PathBuf::new(), dir.join("no-key"))?
    };
    let mut vm = Vm::start(config)?;
    let said = vm.console.wait_for("word of the installer", START, |line| {
        Some(line.split_once(SAYS)?.1.to_owned())
    });
    match said {
        Ok(said) => {
            let wanted = format!("edge.bundle=LABEL={LABEL}");
            ensure!(said.contains(&wanted), "the machine was told '{said}'");
            vm.quit()
        }
        Err(e) => Err(e.context(vm.last_words()?)),
    }
}

/// The lab's site and a stand-in for the installer.
fn medium(lab: &Lab, dir: &Path) -> Result<PathBuf> {
    netboot::stand_in(lab, "x86_64", dir)?;
    let installer = netboot::installer_dir(dir, "x86_64");
    let efi = dir.join("efi");
    copy_efi(lab, &efi)?;
    let out = dir.join("edge.iso");
    let mut kernel_arguments = hardware::board("x86_64")?.kargs();
    kernel_arguments.push(format!("edge.bundle=LABEL={LABEL}"));
    let iso = Iso {
        title: "Install the test node",
        kernel: &installer.join("vmlinuz"),
        initramfs: &installer.join("initramfs.img"),
        kernel_arguments: &kernel_arguments,
        efi: &efi,
        bios: Some(Path::new("/usr/lib/grub/i386-pc")),
        served: &lab.site.dir,
        label: &LABEL.parse()?,
        commit: &lab.base,
        time: Repo::open(&lab.site.repo())?.describe(&lab.base)?.timestamp,
    };
    iso::write(&iso, &WorkDir::new_in(dir)?, &out)?;
    Ok(out)
}

fn copy_efi(lab: &Lab, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join("EFI/BOOT"))?;
    for name in ["BOOTX64.EFI", "grubx64.efi", "mmx64.efi"] {
        let path = format!("EFI/BOOT/{name}");
        let from = format!("usr/lib/ostree-boot/efi/{path}");
        let bytes = variant::read_file(&lab.site.repo(), &lab.base, &from)?;
        fs::write(to.join(path), bytes)?;
    }
    Ok(())
}
