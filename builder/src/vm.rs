//! An image in QEMU, for a look.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

use crate::board::{Board, Qemu};
use crate::image::Format;
use crate::interrupt::WorkDir;

/// Code and empty variables of OVMF, as Debian and Fedora lay them.
const FIRMWARE: &[(&str, &str)] = &[
    (
        "usr/share/OVMF/OVMF_CODE_4M.fd",
        "usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "usr/share/edk2/ovmf/OVMF_CODE.fd",
        "usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
];

/// Boots the image with its serial console on our terminal. Changes are dropped unless `keep`.
pub fn run(root: &Path, board: &Board, image: &Path, keep: bool, work: &WorkDir) -> Result<()> {
    let Some(qemu) = &board.qemu else {
        bail!(
            "board {} has no [qemu] section: it runs on hardware only",
            board.name
        );
    };
    let (code, vars) = firmware(root)?;
    let own_vars = work.path().join("vars.fd");
    fs::copy(&vars, &own_vars).with_context(|| format!("copying {}", vars.display()))?;
    let snapshot = if keep { "off" } else { "on" };
    let disk = format!(
        "file={},format={},if=virtio,snapshot={snapshot}",
        image.display(),
        format_of(image)?
    );
    eprintln!(
        "edge-build: leave QEMU with Ctrl-A X{}",
        if keep {
            ""
        } else {
            "; changes to the image are dropped"
        }
    );
    let status = command(qemu)
        .arg("-drive")
        .arg(format!(
            "if=pflash,format=raw,readonly=on,file={}",
            code.display()
        ))
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,file={}", own_vars.display()))
        .args(["-drive", &disk])
        .status_inherited()?;
    match status.success() {
        true => Ok(()),
        false => bail!("QEMU ended with {status}"),
    }
}

fn command(qemu: &Qemu) -> Cmd {
    Cmd::new(format!("qemu-system-{}", qemu.system))
        .args([
            "-machine",
            &format!("{},accel=tcg", qemu.machine),
            "-cpu",
            &qemu.cpu,
            "-nographic",
        ])
        .args(["-m", &qemu.memory.to_string(), "-smp", "2"])
        .args([
            "-device",
            "virtio-rng-pci",
            "-device",
            "i6300esb",
            "-action",
            "watchdog=reset",
        ])
        .args(["-nic", "user,model=virtio-net-pci"])
}

fn firmware(root: &Path) -> Result<(PathBuf, PathBuf)> {
    let found = FIRMWARE
        .iter()
        .map(|(code, vars)| (root.join(code), root.join(vars)));
    found
        .into_iter()
        .find(|(code, vars)| code.exists() && vars.exists())
        .context("no UEFI firmware for QEMU on this machine: install the package 'ovmf'")
}

fn format_of(image: &Path) -> Result<&'static str> {
    let mut magic = [0; 4];
    use std::io::Read;
    fs::File::open(image)
        .and_then(|mut file| file.read_exact(&mut magic))
        .with_context(|| format!("reading {}", image.display()))?;
    let format = if magic == *b"QFI\xfb" {
        Format::Qcow2
    } else {
        Format::Raw
    };
    Ok(format.as_str())
}
