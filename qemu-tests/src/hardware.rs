//! The boards, and the firmware that their machines start with.

use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_build::board::{self, Board, Qemu};
use edge_build::machine;

use crate::lab;
use crate::vm::Firmware;

/// OVMF with Microsoft's keys.
const SECURE: (&str, &str) = (
    "usr/share/OVMF/OVMF_CODE_4M.ms.fd",
    "usr/share/OVMF/OVMF_VARS_4M.ms.fd",
);

const SEABIOS: &str = "usr/share/seabios/bios-256k.bin";

/// One of the project's boards.
pub fn board(name: &str) -> Result<Board> {
    let dir = lab::workspace()?.join("boards");
    board::load(&dir, &name.parse()?)
}

/// The root of the paths of a machine's firmware: what `.ci/firmware` unpacked, if it is there, else the host's.
pub fn firmware_root(qemu: &Qemu) -> Result<PathBuf> {
    let unpacked = unpacked_firmware()?;
    let there = qemu.firmware(&unpacked).is_ok();
    Ok(if there { unpacked } else { "/".into() })
}

pub fn firmware(qemu: &Qemu, kind: Firmware) -> Result<machine::Firmware> {
    match kind {
        Firmware::Plain => machine::Firmware::installed(qemu, &firmware_root(qemu)?),
        Firmware::SecureBoot => secure_boot(),
        Firmware::Bios => Ok(machine::Firmware {
            code: PathBuf::from("/").join(SEABIOS),
            vars: None,
            secure_boot: false,
        }),
    }
}

fn secure_boot() -> Result<machine::Firmware> {
    let roots = [unpacked_firmware()?, "/".into()];
    let root = roots.iter().find(|root| root.join(SECURE.0).exists());
    let root = root.with_context(|| format!("no /{} is here", SECURE.0))?;
    Ok(machine::Firmware {
        code: root.join(SECURE.0),
        vars: Some(root.join(SECURE.1)),
        secure_boot: true,
    })
}

fn unpacked_firmware() -> Result<PathBuf> {
    Ok(lab::target_dir(&lab::workspace()?).join("firmware"))
}
