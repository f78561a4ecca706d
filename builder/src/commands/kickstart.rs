//! What `edge-build kickstart` does with its arguments.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_build::board::Boot;
use edge_build::provision::kickstart::{self, Reader, Request};
use edge_build::{release, summary};
use edge_ota::kickstart::{Kickstart, parse};
use edge_ota::types::RefName;
use edge_ota::{durable, output};
use serde::Serialize;

use super::{board, served};
use crate::cli::{self, Cli};

pub fn generate(cli: &Cli, args: &cli::kickstart::Generate) -> Result<()> {
    let board = board(cli, &args.board)?;
    if args.reader != Reader::Edge && board.boot != Boot::Grub {
        bail!(
            "board {} boots by U-Boot, which Anaconda does not know: use an image or --for edge",
            board.name
        );
    }
    let reference = reference(args)?;
    let keys = ssh_keys(&args.ssh_keys)?;
    let post = args.post.as_deref().map(read).transpose()?;
    let request = Request {
        reader: args.reader,
        url: &args.url,
        channel: &args.channel,
        board: &args.board,
        reference: reference.as_ref(),
        disk: args.disk.as_deref(),
        hostname: args.hostname.as_deref(),
        ssh_keys: &keys,
        post: post.as_deref(),
    };
    let text = kickstart::generate(&request)?;
    let Some(out) = &args.out else {
        return Ok(output::print(text)?);
    };
    durable::write(out, text.as_bytes())?;
    match args.json {
        true => {
            let summary = summary::kickstart(out, &request)?;
            output::line(serde_json::to_string_pretty(&summary)?)?;
        }
        false => output::line(out.display())?,
    }
    Ok(())
}

/// What Anaconda is to pull.
fn reference(args: &cli::kickstart::Generate) -> Result<Option<RefName>> {
    if args.reader == Reader::Edge {
        if args.reference.is_some() || args.repo.is_some() {
            bail!("--ref and --repo are for Anaconda: our installer asks the channel");
        }
        return Ok(None);
    }
    let (Some(repo), Some(keys)) = (&args.repo, &args.keys) else {
        return Ok(args.reference.clone());
    };
    let offered = release::offered(served(repo)?, keys, &args.channel, &args.board)?;
    let manifest = offered
        .with_context(|| format!("channel {} offers nothing for {}", args.channel, args.board))?;
    Ok(Some(manifest.r#ref))
}

fn ssh_keys(files: &[PathBuf]) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for file in files {
        let text = read(file)?;
        let lines = text.lines().map(str::trim);
        keys.extend(
            lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    Ok(keys)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[derive(Serialize)]
struct Checked {
    file: String,
    kickstart: Kickstart,
    /// What is included and could not be read here.
    left_out: Vec<String>,
}

pub fn check(args: &cli::kickstart::Check) -> Result<()> {
    let mut good = Vec::new();
    for file in &args.files {
        match read_one(file) {
            Ok(checked) => good.push(checked),
            Err(error) => output::say(format_args!("{error:#}")),
        }
    }
    match args.json {
        true => output::line(serde_json::to_string_pretty(&good)?)?,
        false => good.iter().try_for_each(tell)?,
    }
    match args.files.len() - good.len() {
        0 => Ok(()),
        bad => bail!("{bad} of {} kickstart files are not good", args.files.len()),
    }
}

fn read_one(path: &Path) -> Result<Checked> {
    let file = path.display().to_string();
    let mut left_out = Vec::new();
    let kickstart = parse(&file, &read(path)?, &mut |target| {
        Ok(included(target, &mut left_out))
    })?;
    Ok(Checked {
        file,
        kickstart,
        left_out,
    })
}

fn tell(checked: &Checked) -> std::io::Result<()> {
    output::line(format_args!("{}: good", checked.file))?;
    for (what, text) in kickstart::describe(&checked.kickstart) {
        output::line(format_args!("  {what:<17} {text}"))?;
    }
    for target in &checked.left_out {
        output::line(format_args!(
            "  {:<17} {target}: it is not here",
            "left out"
        ))?;
    }
    Ok(())
}

/// The installer reads URLs, and files that a `%pre` writes; neither is here.
fn included(target: &str, left_out: &mut Vec<String>) -> String {
    match fs::read_to_string(target) {
        Ok(text) => text,
        Err(_) => {
            left_out.push(target.to_owned());
            String::new()
        }
    }
}
