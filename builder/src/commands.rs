//! What each command does with its arguments: the steps are the library's.

pub mod kickstart;
mod provision;
mod pxe;
mod rehearse;
mod trees;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_build::board::{self, Board};
use edge_build::image::{self, SourceOf};
use edge_build::interrupt::{self, WorkDir};
use edge_build::progress::Progress;
use edge_build::release::{self, Terms};
use edge_build::repo::Repo;
use edge_build::{compose, diff, gate, key, rehearsal, rootless, sbom, size, summary, treefile};
use edge_ota::channel;
use edge_ota::output;
use edge_ota::types::BoardName;

use crate::cli::{self, Cli};

pub use provision::installer;
pub use pxe::pxe;
pub use rehearse::rehearse;
pub use trees::{compose, lock, verify};

pub fn generate_keys(out: &Path) -> Result<()> {
    for path in key::generate(out, &mut key::system_random)? {
        output::line(path.display())?;
    }
    Ok(())
}

pub fn list_boards(cli: &Cli) -> Result<()> {
    let dir = boards_dir(cli)?;
    for name in board::list(&dir)? {
        let board = board::read(&dir, &name)?;
        let note = board.refusal().map_or("", |_| "not supported");
        output::line(format_args!(
            "{name:<20} {:<8} {:<6} {note}",
            board.arch.debian,
            board.boot.as_str()
        ))?;
    }
    Ok(())
}

/// A board that is refused is fine as a file: it says why.
pub fn check_boards(cli: &Cli, names: &[BoardName]) -> Result<()> {
    let dir = boards_dir(cli)?;
    let names = match names {
        [] => board::list(&dir)?,
        _ => names.to_vec(),
    };
    let mut bad = 0;
    for name in &names {
        match board::read(&dir, name) {
            Err(error) => {
                bad += 1;
                output::say(format_args!("edge-build: {error:#}"));
            }
            Ok(board) => match board.refusal() {
                Some(reason) => output::line(format_args!("{name}: not supported: {reason}"))?,
                None => output::line(format_args!("{name}: good"))?,
            },
        }
    }
    match bad {
        0 => Ok(()),
        _ => bail!("{bad} of {} board files are not good", names.len()),
    }
}

pub fn print_size(args: &cli::Size) -> Result<()> {
    let report = size::report(&Repo::open(&args.repo)?, &args.commit, args.depth)?;
    match args.json {
        true => output::line(serde_json::to_string_pretty(&report)?)?,
        false => output::print(size::table(&report, args.lines))?,
    }
    Ok(())
}

pub fn print_sbom(args: &cli::Sbom) -> Result<()> {
    let repo = Repo::open(&args.repo)?;
    let document = sbom::document(&sbom::contents(&repo, &args.commit)?, args.format)?;
    if !args.anew {
        sbom::check(&repo, &args.commit, args.format, &document)?;
    }
    Ok(output::print(document)?)
}

pub fn sign(args: &cli::Sign) -> Result<()> {
    let commit_key = key::load_secret(&key::secret_path(&args.keys, "commit"))?;
    compose::sign_commit(&Repo::open(&args.repo)?, &args.commit, &commit_key)
}

pub fn print_diff(args: &cli::Diff) -> Result<()> {
    let diff = diff::between(&Repo::open(&args.repo)?, &args.from, &args.to)?;
    match (&args.html, args.json) {
        (Some(file), _) => edge_ota::durable::write(file, diff::page(&diff).as_bytes())?,
        (None, true) => output::line(serde_json::to_string_pretty(&diff)?)?,
        (None, false) => output::print(diff::text(&diff, args.lines))?,
    }
    Ok(())
}

pub fn check(cli: &Cli, args: &cli::Check) -> Result<()> {
    let board = board(cli, &args.board)?;
    if args.print {
        let flat = treefile::flatten(&args.treefile, &board.arch.rpm)?;
        return Ok(output::line(serde_json::to_string_pretty(&flat)?)?);
    }
    let treefile = treefile::load(&args.treefile, &board.arch.rpm)?;
    output::line(format_args!("ref {}", treefile.reference))?;
    output::line(format_args!(
        "packages {}",
        treefile
            .packages
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    ))?;
    output::line(format_args!("units {}", treefile.units.join(" ")))?;
    Ok(())
}

pub fn publish(args: &cli::Release) -> Result<()> {
    if args.channel.as_str() == rehearsal::CHANNEL {
        bail!("channel '{}' is that of rehearsals", args.channel);
    }
    let repo = Repo::open(&args.repo)?;
    let description = repo.describe(&args.commit)?;
    if description.board != args.board && !args.skip_gate {
        bail!(
            "commit {} is for board {}, not {}",
            args.commit.short(),
            description.board,
            args.board
        );
    }
    match args.skip_gate {
        true => output::say(
            "edge-build: the gate is skipped: a device may be unable to confirm this release",
        ),
        false => gate::examine(&repo, &args.commit, &[])?,
    }
    let offered = channel::Release {
        board: args.board.clone(),
        channel: args.channel.clone(),
        version: description.version,
        commit: args.commit.clone(),
        r#ref: repo.ref_of(&args.commit)?,
    };
    let terms = Terms {
        expires_in: args.expires_in,
        min_sequence: args.min_sequence,
        sequence: args.sequence,
        require_rehearsal: args.require_rehearsal,
    };
    let signer = key::load_secret(&key::secret_path(&args.keys, "channel"))?;
    let (path, manifest) = release::publish(
        served(&args.repo)?,
        &args.keys,
        &[signer],
        offered,
        &terms,
        now()?,
    )?;
    if args.json {
        let summary = summary::release(&path, &manifest)?;
        return Ok(output::line(serde_json::to_string_pretty(&summary)?)?);
    }
    output::line(format_args!(
        "{}: {} is sequence {}",
        path.display(),
        manifest.version,
        manifest.sequence
    ))?;
    Ok(())
}

pub fn image(cli: &Cli, args: &cli::Image) -> Result<()> {
    take_root("image", cli)?;
    interrupt::install()?;
    let source = args.url.clone().map(|url| SourceOf {
        url,
        channel: args.channel.clone(),
    });
    let request = image::Request {
        board: &args.board,
        served: served(&args.repo)?,
        keys: &args.keys,
        commit: &args.commit,
        source: source.as_ref(),
        etc: &[],
        format: args.format,
        size: args.size,
        var: args.var,
        out: &args.out,
        work: &work_dir(cli)?,
    };
    image::make(&request, &Progress::new("image"))?;
    if args.json {
        let summary = summary::image(&request)?;
        return Ok(output::line(serde_json::to_string_pretty(&summary)?)?);
    }
    output::line(args.out.display())?;
    Ok(())
}

/// `channels/` and `root/` lie beside `repo/`.
fn served(repo: &Path) -> Result<&Path> {
    if repo.file_name().is_none_or(|name| name != "repo") {
        bail!(
            "--repo {}: the folder must be named 'repo', for devices look for it by that name",
            repo.display()
        );
    }
    match repo.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Ok(parent),
        _ => Ok(Path::new(".")),
    }
}

fn boards_dir(cli: &Cli) -> Result<PathBuf> {
    match &cli.boards {
        Some(dir) => Ok(dir.clone()),
        None => board::default_dir(
            &std::env::current_dir().context("asking for the current folder")?,
            Path::new("/"),
        ),
    }
}

pub fn board(cli: &Cli, name: &BoardName) -> Result<Board> {
    board::load(&boards_dir(cli)?, name)
}

pub fn work_dir(cli: &Cli) -> Result<WorkDir> {
    WorkDir::new_in(
        &cli.workdir
            .clone()
            .unwrap_or_else(|| cli.cache.join("work")),
    )
}

fn take_root(act: &str, cli: &Cli) -> Result<()> {
    rootless::take_root(Path::new("/"), act, &cli.cache)
}

/// SOURCE_DATE_EPOCH where it is set, so that a build can be repeated.
fn now() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH={text} is no number of seconds")),
        Err(_) => clock(),
    }
}

fn clock() -> Result<u64> {
    Ok(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_secs())
}
