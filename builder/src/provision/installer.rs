//! The installer of a release: a kernel and an initramfs, for any way to boot a machine that has no system yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use edge_ota::fetch::{Limits, Location, Source};
use edge_ota::installer::unattended::About;
use edge_ota::types::{BoardName, CommitChecksum};
use edge_ota::{pull, trust};
use serde::{Deserialize, Serialize};

use super::ramdisk::{self, Content};
use crate::board::Board;
use crate::interrupt::{self, WorkDir};
use crate::progress::Progress;
use crate::repo::Repo;
use crate::summary::{self, Artefact};
use crate::tree::kernel;

/// What `installer.json` beside the files says.
pub const FILE: &str = "installer.json";
const FORMAT: u64 = 1;
/// A machine that panics starts over. A tmpfs takes half of the memory at most: too little of 256 MB.
const KERNEL_ARGUMENTS: &[&str] = &["panic=30", "rootfstype=ramfs"];

pub struct Request<'a> {
    pub board: &'a Board,
    /// The folder that holds `repo/`.
    pub served: &'a Path,
    /// The folder of the root documents to trust.
    pub keys: &'a Path,
    pub commit: &'a CommitChecksum,
    /// The text of a kickstart file to carry.
    pub kickstart: Option<&'a str>,
    pub kernel_arguments: &'a [String],
    pub out: &'a Path,
    pub work: &'a WorkDir,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installer {
    pub format: u64,
    pub board: BoardName,
    /// As the kernel names it: `x86_64`, `aarch64`, `armv7l`.
    pub arch: String,
    pub version: String,
    pub commit: CommitChecksum,
    /// File names in the folder of this file.
    pub kernel: Artefact,
    pub initramfs: Artefact,
    /// The board's device tree, where the firmware is not left to bring its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fdt: Option<Artefact>,
    /// Kernel arguments that the installer needs on this board.
    pub kernel_arguments: Vec<String>,
}

/// Makes the files in `out`; `installer.json` comes last.
pub fn make(request: &Request, progress: &Progress) -> Result<Installer> {
    verify(request)?;
    let repo = Repo::open(&request.served.join("repo"))?;
    let step = progress.step("checking the release out");
    repo.check_out(request.commit, request.work.path(), "tree")?;
    let tree = request.work.path().join("tree");
    step.done();
    interrupt::check()?;

    let description = repo.describe(request.commit)?;
    let about = About {
        format: FORMAT,
        version: description.version,
        commit: request.commit.clone(),
        built: description.timestamp,
    };
    let kernel = kernel::find(&tree)?;
    let step = progress.step("making the initramfs");
    let initramfs = ramdisk::build(&Content {
        tree: &tree,
        kernel: &kernel,
        about: &about,
        drivers: &request.board.initramfs.modules,
        roots: &roots(request.keys)?,
        kickstart: request.kickstart,
    })?;
    step.done_with(&format!("{:.1} MB", initramfs.len() as f64 / 1e6));
    interrupt::check()?;

    let from = tree.join(&kernel.dir);
    let mut files = BTreeMap::from([
        ("initramfs.img".to_owned(), initramfs),
        ("vmlinuz".to_owned(), read(&from.join("vmlinuz"))?),
    ]);
    let fdt = request.board.fdt.clone();
    if let Some(name) = &fdt {
        files.insert(name.clone(), read(&from.join("dtb").join(name))?);
    }
    write(request, about, files, fdt)
}

/// As a device does before it installs: an installer of what no device takes is of no use.
fn verify(request: &Request) -> Result<()> {
    let served = request.served.canonicalize();
    let served = served.with_context(|| format!("looking for {}", request.served.display()))?;
    let source = Source::new(Location::Folder(served), Limits::default())?;
    let root = trust::load_highest(request.keys)?;
    pull::fetch_commit(&source, &root, &request.board.name, request.commit).map(drop)
}

fn roots(keys: &Path) -> Result<Vec<PathBuf>> {
    let versions = trust::versions(keys)?;
    Ok(versions
        .into_iter()
        .map(|version| keys.join(trust::file_name(version)))
        .collect())
}

fn write(
    request: &Request,
    about: About,
    files: BTreeMap<String, Vec<u8>>,
    fdt: Option<String>,
) -> Result<Installer> {
    let out = request.out;
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    for (name, bytes) in &files {
        durable::write(&out.join(name), bytes)?;
    }
    let artefact = |name: &str| -> Result<Artefact> {
        let made = summary::artefact(&out.join(name))?;
        Ok(Artefact {
            path: name.to_owned(),
            ..made
        })
    };
    let mut kernel_arguments = request.board.kargs();
    kernel_arguments.extend(KERNEL_ARGUMENTS.iter().map(|&argument| argument.to_owned()));
    if request.kickstart.is_some() {
        kernel_arguments.push(format!("inst.ks=file:/{}", ramdisk::KICKSTART));
    }
    kernel_arguments.extend(request.kernel_arguments.iter().cloned());
    let installer = Installer {
        format: FORMAT,
        board: request.board.name.clone(),
        arch: request.board.arch.rpm.clone(),
        version: about.version,
        commit: about.commit,
        kernel: artefact("vmlinuz")?,
        initramfs: artefact("initramfs.img")?,
        fdt: fdt.as_deref().map(artefact).transpose()?,
        kernel_arguments,
    };
    let text = serde_json::to_vec_pretty(&installer).context("writing installer.json")?;
    durable::write(&out.join(FILE), &text)?;
    Ok(installer)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Reads what [`make`] wrote.
pub fn load(dir: &Path) -> Result<Installer> {
    let path = dir.join(FILE);
    let installer: Installer = serde_json::from_slice(&read(&path)?)
        .with_context(|| format!("parsing {}", path.display()))?;
    if installer.format != FORMAT {
        bail!("{} is of a newer edge-build", path.display());
    }
    Ok(installer)
}
