//! What `edge-build installer` left in a folder: a kernel, an initramfs and what they are for.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use edge_ota::types::{BoardName, CommitChecksum};
use sha2::{Digest, Sha256};

use crate::board::{self, Arch, Board, Boot};
use crate::provision::installer::{self, FILE};
use crate::summary::{self, Artefact};

/// Names a kickstart among the kernel's arguments.
const KICKSTART: &str = "inst.ks=";

/// The kind of machine, as a loader can tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    fn of(arch: &Arch) -> Option<Self> {
        match arch.debian.as_str() {
            "amd64" => Some(Self::X86_64),
            "arm64" => Some(Self::Aarch64),
            "armhf" => Some(Self::Armhf),
            _ => None,
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
    pub arguments: String,
    /// The orders that it carries itself.
    pub carried: Option<String>,
    kernel: String,
    initramfs: String,
    device_tree: Option<String>,
    /// Of the content, so that a machine that has begun keeps what it began with.
    id: String,
}

impl Installer {
    /// Below the folder, as for the others.
    pub fn kernel(&self) -> String {
        self.place(&self.kernel)
    }

    pub fn initramfs(&self) -> String {
        self.place(&self.initramfs)
    }

    pub fn device_tree(&self) -> Option<String> {
        self.device_tree.as_ref().map(|name| self.place(name))
    }

    /// What is copied, and from where.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let names = [&self.kernel, &self.initramfs].into_iter();
        names
            .chain(&self.device_tree)
            .map(|name| (self.place(name), self.dir.join(name)))
            .collect()
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.system, self.id)
    }
}

/// Reads a folder; its board must be one of ours.
pub fn load(dir: &Path, boards: &Path) -> Result<Installer> {
    let path = dir.join(FILE);
    if !path.exists() {
        bail!(
            "{} holds no {FILE}: give a folder that 'edge-build installer' made",
            dir.display()
        );
    }
    let document = installer::load(dir)?;
    let board = board::load(boards, &document.board)
        .with_context(|| format!("{}: key 'board'", path.display()))?;
    let system = System::of(&board.arch).filter(|_| document.arch == board.arch.rpm);
    let system = system.with_context(|| {
        format!(
            "{}: key 'arch' is {}, but board '{}' is {}",
            path.display(),
            document.arch,
            board.name,
            board.arch.rpm
        )
    })?;
    check(dir, &document)?;
    from(dir, document, &board, system).with_context(|| path.display().to_string())
}

/// A folder that was written half-way would give machines a kernel and another's initramfs.
fn check(dir: &Path, document: &installer::Installer) -> Result<()> {
    for said in artefacts(document) {
        let found = summary::artefact(&dir.join(&said.path))?;
        ensure!(
            found.sha256 == said.sha256,
            "{}/{} is not what {FILE} beside it says: make the folder again",
            dir.display(),
            said.path
        );
    }
    Ok(())
}

fn artefacts(document: &installer::Installer) -> impl Iterator<Item = &Artefact> {
    let both = [&document.kernel, &document.initramfs].into_iter();
    both.chain(&document.fdt)
}

fn from(
    dir: &Path,
    document: installer::Installer,
    board: &Board,
    system: System,
) -> Result<Installer> {
    for argument in &document.kernel_arguments {
        super::orders::argument(argument).map_err(anyhow::Error::msg)?;
    }
    let (carried, arguments): (Vec<String>, Vec<String>) = document
        .kernel_arguments
        .iter()
        .cloned()
        .partition(|argument| argument.starts_with(KICKSTART));
    let id = id(&document);
    Ok(Installer {
        dir: dir.to_owned(),
        board: document.board,
        system,
        is_uefi: board.boot == Boot::Grub,
        version: document.version,
        commit: document.commit,
        arguments: arguments.join(" "),
        carried: carried.into_iter().next_back(),
        kernel: document.kernel.path,
        initramfs: document.initramfs.path,
        device_tree: document.fdt.map(|fdt| fdt.path),
        id,
    })
}

fn id(document: &installer::Installer) -> String {
    let mut hash = Sha256::new();
    for artefact in artefacts(document) {
        hash.update(artefact.sha256.as_bytes());
    }
    let hash = hash.finalize();
    let bytes = hash.iter().take(6);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
