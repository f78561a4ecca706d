//! A published folder and the keys behind it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;
use edge_ota::types::CommitChecksum;

use crate::variant::{self, Changes};

/// Which board the tests run on; the same tests for each.
const BOARD_VARIABLE: &str = "EDGE_TEST_BOARD";
const DEFAULT_BOARD: &str = "x86_64";
pub const CHANNEL: &str = "stable";

/// The board that `EDGE_TEST_BOARD` names, else x86_64.
pub fn board_under_test() -> String {
    std::env::var(BOARD_VARIABLE).unwrap_or_else(|_| DEFAULT_BOARD.to_owned())
}

pub struct Site {
    pub board: String,
    /// `repo/`, `root/` and `channels/`.
    pub dir: PathBuf,
    pub keys: PathBuf,
    /// The `edge-build` program.
    pub builder: PathBuf,
}

impl Site {
    pub fn repo(&self) -> PathBuf {
        self.dir.join("repo")
    }

    /// The channel manifest that devices ask for.
    pub fn manifest(&self) -> PathBuf {
        self.dir.join("channels").join(CHANNEL).join(&self.board)
    }

    /// A copy that shares the objects: libostree replaces files and never changes them.
    pub fn copy_to(&self, dir: &Path) -> Result<Site> {
        fs::create_dir_all(dir)?;
        Cmd::new("cp")
            .args(["-al", "--"])
            .arg(self.dir.join("."))
            .arg(dir)
            .run()?;
        Ok(Site {
            board: self.board.clone(),
            dir: dir.to_owned(),
            keys: self.keys.clone(),
            builder: self.builder.clone(),
        })
    }

    pub fn edge_build(&self, command: &str) -> Cmd {
        Cmd::new(&self.builder)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .arg(command)
            .arg("--repo")
            .arg(self.repo())
            .arg("--keys")
            .arg(&self.keys)
    }

    /// Commits, signs and releases a variant of `base`.
    pub fn publish(
        &self,
        base: &CommitChecksum,
        version: &str,
        change: impl FnOnce(&Changes) -> Result<()>,
    ) -> Result<CommitChecksum> {
        let commit = variant::commit(&self.repo(), base, version, change)?;
        self.sign(&commit)?;
        self.release(&commit)?;
        Ok(commit)
    }

    /// As [`Site::publish`], past the gate that would refuse it.
    pub fn publish_broken(
        &self,
        base: &CommitChecksum,
        version: &str,
        change: impl FnOnce(&Changes) -> Result<()>,
    ) -> Result<CommitChecksum> {
        let commit = variant::commit(&self.repo(), base, version, change)?;
        self.sign(&commit)?;
        self.release_ungated(&commit)?;
        Ok(commit)
    }

    pub fn sign(&self, commit: &CommitChecksum) -> Result<()> {
        self.edge_build("sign")
            .args(["--commit", commit.as_str()])
            .run()
    }

    pub fn release(&self, commit: &CommitChecksum) -> Result<()> {
        self.release_command(&self.board, commit).run()
    }

    pub fn release_ungated(&self, commit: &CommitChecksum) -> Result<()> {
        self.release_command(&self.board, commit)
            .arg("--skip-gate")
            .run()
    }

    pub fn release_command(&self, board: &str, commit: &CommitChecksum) -> Cmd {
        self.edge_build("release").args([
            "--channel",
            CHANNEL,
            "--board",
            board,
            "--commit",
            commit.as_str(),
        ])
    }

    /// Puts bytes where devices look for the manifest. A new file: a copy of the folder may share the old one.
    pub fn replace_manifest(&self, bytes: &[u8]) -> Result<()> {
        edge_ota::durable::write(&self.manifest(), bytes)
    }

    pub fn read_manifest(&self) -> Result<Vec<u8>> {
        fs::read(self.manifest()).with_context(|| format!("reading {}", self.manifest().display()))
    }
}
