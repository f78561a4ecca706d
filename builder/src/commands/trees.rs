//! `edge-build compose`, `verify` and `lock`: what takes packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_build::board::Board;
use edge_build::interrupt;
use edge_build::lock::Lock;
use edge_build::packages::{self, mirrors::MirrorOptions};
use edge_build::progress::Progress;
use edge_build::repo::Repo;
use edge_build::treefile::Treefile;
use edge_build::{compose, diff, key, succession, treefile, verify};
use edge_ota::output;

use super::{board, now, take_root, work_dir};
use crate::cli::{self, Cli};

pub fn compose(cli: &Cli, args: &cli::Compose) -> Result<()> {
    take_root("compose", cli)?;
    interrupt::install()?;
    let board = board(cli, &args.board)?;
    let treefile = treefile::load(&args.treefile, &board.arch.rpm)?;
    let commit_key = key::load_secret(&key::secret_path(&args.keys, "commit"))?;
    let lock = lock_of(args.locked.as_deref(), &board)?;
    let request = compose::Request {
        treefile: &treefile,
        board: &board,
        repo: &args.repo,
        keys: &args.keys,
        debs: &local_packages(&args.origins, &board, &treefile)?,
        mirrors: &mirrors(&args.origins),
        lock: lock.as_ref(),
        cache: &cli.cache,
        use_cache: !args.no_cache,
        work: &work_dir(cli)?,
        now: now()?,
    };
    let progress = Progress::new("compose");
    let composed = compose::compose(&request, &commit_key, &progress)?;
    if let Some(path) = &args.timings {
        let text = serde_json::to_string_pretty(&progress.timings())?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    match args.json {
        true => output::line(serde_json::to_string_pretty(&composed)?)?,
        false => output::line(&composed.commit)?,
    }
    Ok(())
}

/// A commit says itself for which board, when and under which version it was made.
pub fn verify(cli: &Cli, args: &cli::Verify) -> Result<()> {
    take_root("verify", cli)?;
    interrupt::install()?;
    let repo = Repo::open(&args.repo)?;
    let description = repo.describe(&args.commit)?;
    let board = board(cli, &description.board)?;
    let treefile = treefile::load(&args.treefile, &board.arch.rpm)?;
    let lock = lock_of(args.locked.as_deref(), &board)?;
    let succession = succession::of(&repo, &args.commit)?;
    if succession.accounts.as_ref() == Some(&args.commit) {
        output::say(
            "edge-build: the commit before is gone: users and groups are given the numbers of this one",
        );
    }
    let work = work_dir(cli)?;
    let request = compose::Request {
        treefile: &treefile,
        board: &board,
        repo: &work.sub("repo")?,
        keys: &args.keys,
        debs: &local_packages(&args.origins, &board, &treefile)?,
        mirrors: &mirrors(&args.origins),
        lock: lock.as_ref(),
        cache: &cli.cache,
        use_cache: false,
        work: &work,
        now: description.timestamp,
    };
    let progress = Progress::new("verify");
    let verdict = verify::verify(&request, &args.commit, &succession, &progress)?;
    match args.json {
        true => output::line(serde_json::to_string_pretty(&verdict)?)?,
        false => output::print(verify::text(&verdict))?,
    }
    verdict.complaint().map_or(Ok(()), |text| bail!(text))
}

fn mirrors(args: &cli::Origins) -> MirrorOptions {
    let options = MirrorOptions {
        mirror: args.mirror.clone(),
        security_mirror: args.security_mirror.clone(),
        keyring: args.mirror_keyring.clone(),
    };
    options.or_environment()
}

fn lock_of(path: Option<&Path>, board: &Board) -> Result<Option<Lock>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let lock = Lock::load(path)?.with_context(|| {
        format!(
            "there is no lock {}: make it with 'edge-build lock'",
            path.display()
        )
    })?;
    if lock.board != board.name {
        bail!(
            "lock {} is for board {}, not {}",
            path.display(),
            lock.board,
            board.name
        );
    }
    Ok(Some(lock))
}

/// Says what the packages of a treefile come to now beside what the lock says, and writes that down.
pub fn lock(cli: &Cli, args: &cli::Lock) -> Result<()> {
    interrupt::install()?;
    let board = board(cli, &args.board)?;
    let treefile = treefile::load(&args.treefile, &board.arch.rpm)?;
    let request = packages::Request {
        treefile: &treefile,
        board: &board,
        local_debs: &local_packages(&args.origins, &board, &treefile)?,
        mirrors: &mirrors(&args.origins),
        lock: None,
        cache: &cli.cache,
        work: &work_dir(cli)?,
    };
    let progress = Progress::new("lock");
    let new = packages::resolve(&request, &progress)?;
    let old = match args.check {
        true => Lock::load(&args.out)?,
        false => Lock::load_current(&args.out)?,
    };
    let changes = old.map(|old| new.changes_from(&old));
    match &changes {
        Some(changes) => diff::lines(changes).iter().try_for_each(output::line)?,
        None => output::line(format_args!("{} packages", new.packages.len()))?,
    }
    let count = changes.map_or(new.packages.len(), |changes| changes.len());
    match args.check {
        true if count > 0 => bail!(
            "{} is behind by {count} packages: run 'edge-build lock' without --check",
            args.out.display()
        ),
        true => return Ok(()),
        false => new.save(&args.out)?,
    }
    match args.download {
        true => packages::download(&request, &new, &progress),
        false => Ok(()),
    }
}

/// The updater's package is part of every tree.
fn local_packages(args: &cli::Origins, board: &Board, treefile: &Treefile) -> Result<Vec<PathBuf>> {
    if !args.debs.is_empty() {
        return Ok(args.debs.clone());
    }
    let (kind, begin, end) = match &treefile.rpms {
        None => ("deb", "edge-ota_", format!("_{}.deb", board.arch.debian)),
        Some(_) => ("rpm", "edge-ota-", format!(".{}.rpm", board.arch.rpm)),
    };
    let dir = Path::new("target").join(kind);
    let is_updater = |name: &str| name.starts_with(begin) && name.ends_with(&end);
    let mut found = Vec::new();
    if dir.is_dir() {
        for entry in dir
            .read_dir()
            .with_context(|| format!("listing {}", dir.display()))?
        {
            let entry = entry?;
            if is_updater(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
    }
    match found.len() {
        1 => Ok(found),
        0 => bail!(
            "no {begin}*{end} in {}: run 'make {kind}', or name the package with --{kind}",
            dir.display()
        ),
        _ => bail!(
            "more than one {begin}*{end} in {}: name one with --{kind}",
            dir.display()
        ),
    }
}
