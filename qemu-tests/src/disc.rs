//! A disc with an installer and a release, in a machine whose disk is empty.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::hardware;
use crate::netboot;
use crate::site::Site;
use crate::status::State;
use crate::vm::{BOOT, Medium, Vm, VmConfig};

/// From power on to a disk that is whole, under emulation, on a busy machine.
pub const INSTALL: Duration = Duration::from_secs(1200);
/// What an installation must do with, in MiB.
pub const MEMORY: u32 = 256;

pub struct Disc {
    pub image: PathBuf,
    /// What `edge-build installer --json` says.
    pub said: Value,
}

/// How long it took.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From power on to a good verdict.
    pub whole: Duration,
    /// Of it, in the installer: from its first word to its last.
    pub installing: Duration,
}

/// Makes the disc in `dir`; devices follow `url`.
pub fn make(site: &Site, url: &str, dir: &Path) -> Result<Disc> {
    fs::create_dir_all(dir)?;
    let image = dir.join("edge.iso");
    let said = site
        .edge_build("installer")
        .args(["--json", "--board", &site.board, "--url", url])
        .args(["--append", "edge.disk=/dev/vda", "--out"])
        .arg(dir.join("installer"))
        .arg("--iso")
        .arg(&image)
        .output()?;
    Ok(Disc {
        image,
        said: serde_json::from_slice(&said)?,
    })
}

/// Installs the machine and lets it boot from its disk to a good verdict.
pub fn install(disc: &Disc, board: &str, ssh_key: &Path, dir: &Path) -> Result<(Vm, Times)> {
    let disk = netboot::empty_disk(dir)?;
    let board = hardware::board(board)?;
    let config = VmConfig {
        medium: Some(Medium::Disc(disc.image.clone())),
        memory_mib: MEMORY,
        ..VmConfig::new(&board, dir.to_owned(), disk, ssh_key.to_owned())?
    };
    let start = Instant::now();
    let mut vm = Vm::start(config)?;
    match watch(&mut vm, start) {
        Ok(times) => Ok((vm, times)),
        Err(e) => Err(e.context(vm.last_words()?)),
    }
}

fn watch(vm: &mut Vm, start: Instant) -> Result<Times> {
    vm.console.wait_for_text("edge-ota: checking: ", INSTALL)?;
    let begin = Instant::now();
    vm.console.wait_for_text("edge-ota: installed: ", INSTALL)?;
    let installing = begin.elapsed();
    let status = vm.wait_for_report(BOOT)?;
    ensure!(
        status.state == State::Good,
        "the first boot ended in {status:?}"
    );
    Ok(Times {
        whole: start.elapsed(),
        installing,
    })
}
