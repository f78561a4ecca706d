//! What `edge-build installer` left in a folder: a kernel, an initramfs and what they are for.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use edge_ota::types::{BoardName, CommitChecksum};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::board::{self, Board, Boot};

const DESCRIPTION: &str = "installer.json";
const KERNEL: &str = "vmlinuz";
const INITRAMFS: &str = "initramfs.img";

/// The kind of machine, as a loader can tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    X86_64,
    Aarch64,
    Armhf,
}

impl System {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Armhf => "armhf",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone)]
pub struct Installer {
    pub dir: PathBuf,
    pub board: BoardName,
    pub system: System,
    /// By UEFI or BIOS, not by U-Boot.
    pub is_uefi: bool,
    pub version: String,
    pub commit: CommitChecksum,
    /// Of its kernel, without a machine's orders.
    pub arguments: Vec<String>,
    /// The board's device tree, where the folder has it.
    device_tree: Option<String>,
    /// Of the content, so that a machine that has begun keeps what it began with.
    id: String,
}

/// Later ones may say more.
#[derive(Debug, Deserialize)]
struct Description {
    format: u32,
    board: BoardName,
    arch: System,
    #[serde(default)]
    kargs: Vec<String>,
    version: String,
    commit: CommitChecksum,
}

impl Installer {
    /// Below the folder, as for the others.
    pub fn kernel(&self) -> String {
        self.place(KERNEL)
    }

    pub fn initramfs(&self) -> String {
        self.place(INITRAMFS)
    }

    pub fn device_tree(&self) -> Option<String> {
        self.device_tree.as_ref().map(|name| self.place(name))
    }

    /// What is copied, and from where.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let names = [KERNEL, INITRAMFS]
            .into_iter()
            .chain(self.device_tree.as_deref());
        names
            .map(|name| (self.place(name), self.dir.join(name)))
            .collect()
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.system, self.id)
    }
}

/// Reads a folder; its board must be one of ours.
pub fn load(dir: &Path, boards: &Path) -> Result<Installer> {
    let path = dir.join(DESCRIPTION);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => bail!(
            "{} holds no {DESCRIPTION}: give a folder that 'edge-build installer' made",
            dir.display()
        ),
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    let description = parse(&text).with_context(|| path.display().to_string())?;
    let board = board::load(boards, &description.board)
        .with_context(|| format!("{}: key 'board'", path.display()))?;
    let system = super::system_of(&board.arch);
    ensure!(
        system == Some(description.arch),
        "{}: key 'arch' is {}, but board '{}' is {}",
        path.display(),
        description.arch,
        board.name,
        board.arch.debian
    );
    from(dir, description, &board)
}

fn parse(text: &str) -> Result<Description> {
    let description: Description = serde_json::from_str(text)?;
    ensure!(
        description.format == 1,
        "it has format {}, this edge-build knows 1: make the folder with the same edge-build",
        description.format
    );
    for argument in &description.kargs {
        super::orders::argument(argument).map_err(anyhow::Error::msg)?;
    }
    Ok(description)
}

fn from(dir: &Path, description: Description, board: &Board) -> Result<Installer> {
    let name = board
        .fdt
        .as_deref()
        .and_then(|path| path.rsplit('/').next());
    let device_tree = name.filter(|name| dir.join(name).is_file());
    let mut hash = Sha256::new();
    for name in [KERNEL, INITRAMFS].into_iter().chain(device_tree) {
        let path = dir.join(name);
        File::open(&path)
            .and_then(|mut file| io::copy(&mut file, &mut hash))
            .with_context(|| format!("reading {}", path.display()))?;
    }
    let id = hash.finalize();
    let id = id.iter().take(6).map(|byte| format!("{byte:02x}"));
    Ok(Installer {
        dir: dir.to_owned(),
        board: description.board,
        system: description.arch,
        is_uefi: board.boot == Boot::Grub,
        version: description.version,
        commit: description.commit,
        arguments: description.kargs,
        device_tree: device_tree.map(str::to_owned),
        id: id.collect(),
    })
}
