//! Images of boards that QEMU does not have: what their ROM looks for is where it looks, and U-Boot's script
//! loads the kernel and the board's device tree, in the U-Boot of a machine that QEMU has.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_build::board::{Board, QemuFirmware};
use qemu_tests::hardware;
use qemu_tests::lab::{self, Lab, NOWHERE};
use qemu_tests::site::{self, Site};
use qemu_tests::vm::{BOOT, Vm, VmConfig};

/// A flattened image tree, as a device tree begins.
const FIT: &[u8] = &[0xd0, 0x0d, 0xfe, 0xed];
/// Begins the configuration header that the ROM of AM335x reads, 20 bytes into the first sector.
const AM335X: &[u8] = b"CHSETTINGS";
const UBOOT_OF_BEAGLEBONE: u64 = 0x60000;
/// Allwinner's boot0 header, behind a jump.
const SUNXI: &[u8] = b"eGON.BT0";

/// What the help of the commands says that the script calls; U-Boot is built with a choice of them.
const COMMANDS: &[&str] = &[
    "run script from memory",
    "load binary file from a filesystem",
    "part number <interface>",
    "part uuid <interface>",
    "part start <interface>",
    "mmc read addr",
    "mmc write addr",
    "env export [-t",
    "env import [-d] [-t",
    "minimal test like /bin/sh",
    "memory write (fill)",
    "boot Linux zImage",
];

#[test]
fn card_of_beaglebone_black() -> Result<()> {
    let firmware = [(0x20000 + 20, AM335X), (UBOOT_OF_BEAGLEBONE, FIT)];
    card("beaglebone-black", &firmware, |image| {
        let mut uboot = vec![0; 2 << 20];
        File::open(image)?.read_exact_at(&mut uboot, UBOOT_OF_BEAGLEBONE)?;
        for command in COMMANDS {
            let there = uboot
                .windows(command.len())
                .any(|w| w == command.as_bytes());
            ensure!(there, "the board's U-Boot knows nothing of '{command}'");
        }
        Ok(())
    })
}

#[test]
fn card_of_bananapi_m1() -> Result<()> {
    card("bananapi-m1", &[(0x2000 + 4, SUNXI)], |_| Ok(()))
}

#[test]
fn card_of_cubieboard() -> Result<()> {
    card("cubieboard", &[(0x2000 + 4, SUNXI)], |_| Ok(()))
}

#[test]
fn card_of_roc_rk3328_cc() -> Result<()> {
    card("roc-rk3328-cc", &[], |image| {
        // Its U-Boot is in no package; its place is free.
        let mut room = vec![0; (0x1000000 - 0x8000) as usize];
        File::open(image)?.read_exact_at(&mut room, 0x8000)?;
        ensure!(
            room.iter().all(|&byte| byte == 0),
            "something lies before 16 MiB"
        );
        Ok(())
    })
}

/// Looks for the firmware's first bytes at their offsets, does `more` with the image, and boots it.
fn card(
    board: &str,
    firmware: &[(u64, &[u8])],
    more: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let lab = Lab::open(&site::board_under_test())?;
    let dir = tempfile::tempdir_in(&lab.runs)?;
    let site = Site {
        board: board.to_owned(),
        ..lab.site.copy_to(&dir.path().join("site"))?
    };
    let image = image(&lab, &site, dir.path())?;
    for &(offset, magic) in firmware {
        let mut found = vec![0; magic.len()];
        File::open(&image)?.read_exact_at(&mut found, offset)?;
        ensure!(
            found == magic,
            "{found:02x?} at {offset:#x} of the image, not {magic:02x?}"
        );
    }

    more(&image)?;

    let disk = dir.path().join("disk.qcow2");
    lab::overlay_of("raw", &image, &disk)?;
    let machine = stand_in(&hardware::board(board)?.arch.debian)?;
    let config = VmConfig::new(&machine, dir.path().join("machine"), disk, lab.ssh_key)?;
    let mut vm = Vm::start(config)?;
    let mut loads = || -> Result<()> {
        vm.console.wait_for_text("edge-ota: slot a", BOOT)?;
        vm.console.wait_for_text("Starting kernel", BOOT)
    };
    match loads() {
        Ok(()) => Ok(()),
        Err(e) => Err(e.context(vm.last_words()?)),
    }
}

fn image(lab: &Lab, site: &Site, dir: &Path) -> Result<PathBuf> {
    let treefiles = lab::workspace()?.join("treefiles");
    let treefile = lab::write_treefile(&treefiles, &dir.join("tree"), &lab.ssh_key)?;
    let commit = lab::compose(site, &treefile)?;
    let image = dir.join("card.img");
    site.edge_build("image")
        .args(["--board", &site.board, "--commit", commit.as_str()])
        .args(["--url", NOWHERE, "--format", "raw", "--out"])
        .arg(&image)
        .run()
        .with_context(|| format!("the image of {}", site.board))?;
    Ok(image)
}

/// A machine of QEMU with U-Boot for an architecture.
fn stand_in(debian: &str) -> Result<Board> {
    if debian == "armhf" {
        return hardware::board("armhf");
    }
    let mut board = hardware::board("aarch64")?;
    let qemu = board.qemu.as_mut().context("aarch64 has no machine")?;
    qemu.firmware = vec![QemuFirmware {
        code: "usr/lib/u-boot/qemu_arm64/u-boot.bin".to_owned(),
        vars: None,
    }];
    Ok(board)
}
