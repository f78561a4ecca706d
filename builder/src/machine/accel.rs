//! KVM where a guest really runs under it: on some hosts the device opens and guests die.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;

/// `kvm` or `tcg` for a kind of machine, QEMU's word. Found once for each boot of the host: a probe that hangs takes seconds.
pub fn find(system: &str) -> Result<&'static str> {
    // Only guests of the host's own kind are probed for.
    if system != "x86_64" || !cfg!(target_arch = "x86_64") || !Path::new("/dev/kvm").exists() {
        return Ok("tcg");
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("reading the host's boot id")?;
    let note = std::env::temp_dir().join(format!("edge-build-accel-{}", boot.trim()));
    if let Ok(found) = fs::read_to_string(&note) {
        return Ok(if found == "kvm" { "kvm" } else { "tcg" });
    }
    let found = if kvm_runs_a_guest()? { "kvm" } else { "tcg" };
    edge_ota::durable::write(&note, found.as_bytes())?;
    Ok(found)
}

/// A boot sector that writes 0x10 to the debug-exit port, which ends QEMU with status 0x10 * 2 + 1.
fn kvm_runs_a_guest() -> Result<bool> {
    let mut sector = [0u8; 512];
    sector[..5].copy_from_slice(&[0xb0, 0x10, 0xe6, 0xf4, 0xf4]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let disk = tempfile::NamedTempFile::new()?;
    fs::write(disk.path(), sector)?;
    let output = Cmd::new("timeout")
        .args([
            "20",
            "qemu-system-x86_64",
            "-machine",
            "q35,accel=kvm",
            "-cpu",
            "host",
            "-nodefaults",
        ])
        .args([
            "-display",
            "none",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
            "-drive",
        ])
        .arg(format!("if=ide,format=raw,file={}", disk.path().display()))
        .complete()?;
    Ok(output.status.code() == Some(0x10 * 2 + 1))
}
