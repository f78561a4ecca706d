//! `edge-build rehearse`.

use std::path::Path;

use anyhow::{Result, bail};
use edge_build::progress::Progress;
use edge_build::repo::Repo;
use edge_build::{gate, interrupt, key, machine, rehearsal, release, summary};
use edge_ota::output;

use super::{board, clock, served, take_root, work_dir};
use crate::cli::{self, Cli};

pub fn rehearse(cli: &Cli, args: &cli::Rehearse) -> Result<()> {
    take_root("rehearse", cli)?;
    interrupt::install()?;
    let board = board(cli, &args.board)?;
    let served = served(&args.repo)?;
    let from = match &args.from {
        Some(from) => Some(from.clone()),
        None => release::offered(served, &args.keys, &args.channel, &args.board)?
            .map(|manifest| manifest.commit),
    };
    if from.as_ref() == Some(&args.to) {
        bail!(
            "channel {} offers commit {} already: name the one before it with --from",
            args.channel,
            args.to.short()
        );
    }
    gate::examine(&Repo::open(&args.repo)?, &args.to, &[])?;
    let request = rehearsal::Request {
        memory_mib: args.memory.unwrap_or(machine::qemu_of(&board)?.memory),
        board: &board,
        served,
        keys: &args.keys,
        channel_key: key::load_secret(&key::secret_path(&args.keys, "channel"))?,
        from,
        to: args.to.clone(),
        disk_bytes: args.disk,
        patience: args.timeout,
        firmware: &args.firmware,
        now: clock()?,
        work: &work_dir(cli)?,
    };
    let rehearsed = rehearsal::rehearse(&request, &Progress::new("rehearse"));
    let kept = match &args.console {
        Some(file) => rehearsal::keep_console(&request, file),
        None => Ok(()),
    };
    let (path, record) = rehearsed.inspect_err(|_| say_last_words(&request.console_log()))?;
    kept?;
    match args.json {
        true => {
            let summary = summary::rehearsal(&path, &record)?;
            output::line(serde_json::to_string_pretty(&summary)?)?;
        }
        false => output::line(path.display())?,
    }
    Ok(())
}

/// What the machine's console said last; nothing where it was never powered on.
fn say_last_words(console: &Path) {
    const LINES: usize = 30;
    if interrupt::happened() {
        return;
    }
    if let Ok(tail) = machine::console::tail(console, LINES) {
        output::say(format_args!(
            "--- the machine's console said last:\n{tail}\n---"
        ));
    }
}
