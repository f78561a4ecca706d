//! An image in QEMU, for a look.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

use crate::board::{Board, Qemu};
use crate::image;
use crate::interrupt::WorkDir;
use crate::machine::{Firmware, qemu_of};

/// Boots the image with its serial console on our terminal. Changes are dropped unless `keep`.
pub fn run(root: &Path, board: &Board, image: &Path, keep: bool, work: &WorkDir) -> Result<()> {
    let qemu = qemu_of(board)?;
    let firmware = firmware_arguments(qemu, root, work)?;
    let snapshot = if keep { "off" } else { "on" };
    let disk = format!(
        "file={},format={},if=virtio,snapshot={snapshot}",
        image.display(),
        image::qemu_driver(image)?
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
        .args(firmware)
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
        .args(["-device", "virtio-rng-pci"])
        .args(qemu.watchdog.iter().flat_map(|device| ["-device", device]))
        .args(["-action", "watchdog=reset"])
        .args(["-nic", "user,model=virtio-net-pci"])
}

/// Variables are written to a copy: each run begins with those of the factory.
fn firmware_arguments(qemu: &Qemu, root: &Path, work: &WorkDir) -> Result<Vec<String>> {
    let Firmware { code, vars, .. } = Firmware::installed(qemu, root)?;
    let Some(vars) = vars else {
        return Ok(vec!["-bios".to_owned(), code.display().to_string()]);
    };
    let own = work.path().join("vars.fd");
    fs::copy(&vars, &own).with_context(|| format!("copying {}", vars.display()))?;
    let drive = |options: &str, file: &Path| {
        format!("if=pflash,format=raw{options},file={}", file.display())
    };
    Ok(vec![
        "-drive".to_owned(),
        drive(",readonly=on", &code),
        "-drive".to_owned(),
        drive("", &own),
    ])
}
