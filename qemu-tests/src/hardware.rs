//! The boards, and the firmware that their machines start with.

use std::path::Path;

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

/// One of the project's boards.
pub fn board(name: &str) -> Result<Board> {
    let dir = lab::workspace()?.join("boards");
    board::load(&dir, &name.parse()?)
}

/// From what `.ci/firmware` unpacked, if it is there, else from the host.
pub fn firmware(qemu: &Qemu, kind: Firmware) -> Result<machine::Firmware> {
    let unpacked = lab::target_dir(&lab::workspace()?).join("firmware");
    let (unpacked, host) = (unpacked.as_path(), Path::new("/"));
    if kind == Firmware::SecureBoot {
        let there = |root: &&Path| root.join(SECURE.0).exists();
        let root = [unpacked, host].into_iter().find(there);
        let root = root.with_context(|| format!("no /{} is here", SECURE.0))?;
        return Ok(machine::Firmware {
            code: root.join(SECURE.0),
            vars: Some(root.join(SECURE.1)),
            secure_boot: true,
        });
    }
    machine::Firmware::installed(qemu, unpacked)
        .or_else(|_| machine::Firmware::installed(qemu, host))
}
