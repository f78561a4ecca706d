//! What each command does with its arguments: the steps are the library's.

mod rehearse;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use edge_build::board::{self, Board};
use edge_build::image::{self, SourceOf};
use edge_build::interrupt::{self, WorkDir};
use edge_build::lock::Lock;
use edge_build::packages::{self, mirrors::MirrorOptions};
use edge_build::progress::Progress;
use edge_build::release::{self, Terms};
use edge_build::repo::Repo;
use edge_build::treefile::Treefile;
use edge_build::{
    compose, diff, gate, key, rehearsal, rootless, sbom, size, succession, summary, treefile,
    verify,
};
use edge_ota::channel;
use edge_ota::output;
use edge_ota::types::BoardName;

use crate::cli::{self, Cli};

pub use rehearse::rehearse;

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
