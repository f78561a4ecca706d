//! `edge-ota adopt`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::adopt::{self, Adopted, Order};
use edge_ota::device;
use edge_ota::fetch::{Limits, Location, Source};
use edge_ota::output;

use crate::cli::Adopt;

const WORK: &str = "run/edge-ota";

pub fn run(root: &Path, args: &Adopt) -> Result<()> {
    device::enter_mount_namespace()?;
    let dir = root.join(WORK);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let work = tempfile::tempdir_in(&dir).context("making a work folder")?;
    let location: Location = args.url.parse().map_err(anyhow::Error::msg)?;
    let order = Order {
        root,
        url: args.url.clone(),
        channel: args.channel.clone(),
        source: Source::new(location, Limits::default())?,
        board: args.board.clone(),
        keys: args.keys.clone(),
        work: work.path(),
    };
    let plan = adopt::plan(&order)?;
    match args.dry_run {
        true => tell(&plan.summary(), "can be adopted", args.json),
        false => tell(&adopt::carry_out(plan)?, "is slot a now: reboot", args.json),
    }
}

fn tell(adopted: &Adopted, what: &str, json: bool) -> Result<()> {
    match json {
        true => output::line(serde_json::to_string_pretty(adopted)?)?,
        false => output::line(format_args!(
            "{} (commit {}) on {} {what}",
            adopted.version,
            adopted.commit.short(),
            adopted.device.display()
        ))?,
    }
    Ok(())
}
