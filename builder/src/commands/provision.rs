//! What the commands of provisioning do with their arguments.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_build::interrupt;
use edge_build::progress::Progress;
use edge_build::provision::installer;
use edge_build::release;
use edge_ota::output;
use edge_ota::types::CommitChecksum;

use super::{board, served, work_dir};
use crate::cli::{self, Cli};

pub fn installer(cli: &Cli, args: &cli::Installer) -> Result<()> {
    interrupt::install()?;
    let text = args.kickstart.as_deref().map(read).transpose()?;
    let request = installer::Request {
        board: &board(cli, &args.board)?,
        served: served(&args.repo)?,
        keys: &args.keys,
        commit: &commit(args)?,
        kickstart: text.as_deref(),
        kernel_arguments: &args.kernel_arguments,
        out: &args.out,
        work: &work_dir(cli)?,
    };
    let made = installer::make(&request, &Progress::new("installer"))?;
    match args.json {
        true => output::line(serde_json::to_string_pretty(&made)?)?,
        false => output::line(args.out.display())?,
    }
    Ok(())
}

fn commit(args: &cli::Installer) -> Result<CommitChecksum> {
    if let Some(commit) = &args.commit {
        return Ok(commit.clone());
    }
    let served = served(&args.repo)?;
    let offered = release::offered(served, &args.keys, &args.channel, &args.board)?;
    let offered = offered.with_context(|| {
        let (channel, board) = (&args.channel, &args.board);
        format!("channel {channel} offers board {board} nothing: name a --commit")
    })?;
    Ok(offered.commit)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
