//! What stands for an installer where the way to it is under test: a kernel, and an initramfs that says what it was
//! told.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_build::board::Board;
use edge_build::provision::installer::Installer;
use edge_build::summary::{self, Artefact};
use edge_build::tree::cpio::{self, Entries, Entry};
use edge_ota::cmd::Cmd;
use edge_ota::types::CommitChecksum;

use crate::hardware;
use crate::lab::{self, Lab};
use crate::site::Site;
use crate::variant;

/// Begins the line in which the stand-in repeats its kernel's arguments.
pub const SAYS: &str = "edge-stand-in:";

/// Makes the folder of a board's stand-in, as `edge-build installer` makes one.
pub fn stand_in(lab: &Lab, board: &str, dir: &Path) -> Result<()> {
    let (site, commit) = commit_of(lab, board, dir)?;
    let board = hardware::board(board)?;
    let release = kernel_of(&site, &commit)?;
    let read = |name: &str| {
        let path = format!("usr/lib/modules/{release}/{name}");
        variant::read_file(&site.repo(), &commit, &path)
    };
    let out = installer_dir(dir, board.name.as_str());
    fs::create_dir_all(&out)?;
    fs::write(out.join("vmlinuz"), read("vmlinuz")?)?;
    fs::write(out.join("initramfs.img"), talking(read("initramfs.img")?))?;
    fs::write(
        out.join("installer.json"),
        description(&out, &board, &commit)?,
    )?;
    Ok(())
}

/// Where it lies in the folder of a case.
pub fn installer_dir(dir: &Path, board: &str) -> PathBuf {
    dir.join(format!("installer-{board}"))
}

/// `edge-build pxe` over these installers, in `dir`; `more` are its further arguments.
pub fn folder(dir: &Path, url: &str, installers: &[PathBuf], more: &[&str]) -> Result<PathBuf> {
    let installers: Vec<_> = installers
        .iter()
        .map(|dir| dir.display().to_string())
        .collect();
    let (out, workspace) = (dir.join("pxe"), lab::workspace()?);
    Cmd::new(lab::builder(&workspace))
        .current_dir(&workspace)
        .args(["pxe", "--installer", &installers.join(","), "--url", url])
        .args(more)
        .arg("--out")
        .arg(&out)
        .run()?;
    Ok(out)
}

/// The lab's own commit, or one composed for another board.
fn commit_of(lab: &Lab, board: &str, dir: &Path) -> Result<(Site, CommitChecksum)> {
    let site = lab.site.copy_to(&dir.join("site"))?;
    if site.board == board {
        return Ok((site, lab.base.clone()));
    }
    let site = Site {
        board: board.to_owned(),
        ..site
    };
    let treefiles = lab::workspace()?.join("treefiles");
    let treefile = lab::write_treefile(&treefiles, &dir.join("tree"), &lab.ssh_key)?;
    let commit = lab::compose(&site, &treefile)?;
    Ok((site, commit))
}

fn kernel_of(site: &Site, commit: &CommitChecksum) -> Result<String> {
    let repo = edge_build::repo::Repo::open(&site.repo())?;
    Ok(repo.describe(commit)?.kernel)
}

/// The kernel unpacks archives one after the other: the later `init` counts.
fn talking(mut initramfs: Vec<u8>) -> Vec<u8> {
    let script = format!(
        "#!/bin/sh\nexport PATH=/usr/bin:/usr/sbin\nmount -t proc proc /proc\n\
         read -r line </proc/cmdline\necho \"{SAYS} $line\"\nwhile :; do sleep 1000; done\n"
    );
    let entries = Entries::from([(
        "init".to_owned(),
        Entry::File {
            mode: 0o755,
            data: script.into_bytes(),
        },
    )]);
    initramfs.resize(initramfs.len().next_multiple_of(4), 0);
    initramfs.extend(cpio::write(&entries));
    initramfs
}

fn description(dir: &Path, board: &Board, commit: &CommitChecksum) -> Result<Vec<u8>> {
    let artefact = |name: &str| -> Result<Artefact> {
        let made = summary::artefact(&dir.join(name))?;
        Ok(Artefact {
            path: name.to_owned(),
            ..made
        })
    };
    let installer = Installer {
        format: 1,
        board: board.name.clone(),
        arch: board.arch.rpm.clone(),
        version: "1".to_owned(),
        commit: commit.clone(),
        kernel: artefact("vmlinuz")?,
        initramfs: artefact("initramfs.img")?,
        fdt: None,
        kernel_arguments: board.kargs(),
    };
    Ok(serde_json::to_vec(&installer)?)
}

/// An empty disk.
pub fn empty_disk(dir: &Path) -> Result<PathBuf> {
    let disk = dir.join("disk.qcow2");
    Cmd::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&disk)
        .arg("4G")
        .run()
        .context("making an empty disk")?;
    Ok(disk)
}
