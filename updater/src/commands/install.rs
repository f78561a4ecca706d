//! What `edge-ota install` does with its arguments, and the installer's agent.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::birth::EtcFile;
use edge_ota::board::{self, BootFlavour};
use edge_ota::device::ROOTS_IN_TREE;
use edge_ota::fetch::{Limits, Location, Source};
use edge_ota::installer::recipe::{Files, Recipe};
use edge_ota::installer::report::{Machine, Report};
use edge_ota::installer::terms::{self, Said};
use edge_ota::installer::words::Place;
use edge_ota::installer::{self, Installed, Order, Plan, unattended};
use edge_ota::kickstart::HostName;
use edge_ota::output;
use edge_ota::types::BoardName;

use crate::cli::Install;
use crate::progress;

const WORK: &str = "run/edge-ota";

pub fn run(root: &Path, args: &Install) -> Result<()> {
    let dir = root.join(WORK);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let work = tempfile::tempdir_in(&dir).context("making a work folder")?;
    let report = Report::new(None, Machine::read(root))?;
    let file = args.kickstart.as_deref().map(absolute).transpose()?;
    let files = file.map(|file| Files::new(Place::File(file), root, work.path()));
    let kickstart = files.map(|files| files.read(&report)).transpose()?;
    let recipe = Recipe {
        kickstart: kickstart.as_ref(),
        root,
        boot_card: None,
        report: &report,
    };
    let keys = args.keys.clone();
    let keys = keys.unwrap_or_else(|| root.join(ROOTS_IN_TREE));
    let (board, flavour) = board_of(root, args)?;
    let terms = terms::agree(&said(args)?, kickstart.as_ref())?;
    let order = Order {
        root,
        board,
        flavour,
        keys: &keys,
        source: Source::new(location(&terms.from)?, Limits::default())?,
        terms,
        etc: hostname(args)?.into_iter().collect(),
        built: 0,
        work: work.path(),
    };
    let plan = installer::plan(&order)?;
    output::say(&plan);
    if args.dry_run {
        return Ok(());
    }
    if !args.yes {
        ask(&plan)?;
    }
    let installed = installer::carry_out(
        &plan,
        progress::installing(),
        || recipe.partitioned(),
        |tree, var| recipe.deployed(tree, var),
    )?;
    tell(&installed, args.json)
}

fn said(args: &Install) -> Result<Said> {
    let bundle = args.bundle.as_deref().map(absolute).transpose()?;
    Ok(Said {
        url: args.url.clone(),
        bundle: bundle.map(Place::File),
        channel: args.channel.clone(),
        wish: args.disk.clone(),
        kernel_arguments: args.kernel_arguments.clone(),
    })
}

fn absolute(path: &Path) -> Result<String> {
    let found = path.canonicalize();
    let found = found.with_context(|| format!("looking for {}", path.display()))?;
    let text = found.to_str().map(str::to_owned);
    text.with_context(|| format!("{} is not UTF-8", found.display()))
}

/// Boards that have another loader than GRUB need an installer of their own.
fn board_of(root: &Path, args: &Install) -> Result<(BoardName, BootFlavour)> {
    match (&args.board, board::load(root)) {
        (Some(named), Ok(own)) if *named == own.board => Ok((own.board, own.boot)),
        (Some(named), _) => Ok((named.clone(), BootFlavour::Grub)),
        (None, own) => {
            let own = own.context("the running system is none of ours: name the --board")?;
            Ok((own.board, own.boot))
        }
    }
}

fn location(from: &Place) -> Result<Location> {
    match from {
        Place::Web(url) => url.parse().map_err(anyhow::Error::msg),
        Place::File(path) => Ok(Location::Folder(path.into())),
        Place::Medium { partition, .. } => {
            bail!("mount {partition} and name the folder with --bundle")
        }
    }
}

fn hostname(args: &Install) -> Result<Option<EtcFile>> {
    let Some(name) = &args.hostname else {
        return Ok(None);
    };
    let name: HostName = name.parse()?;
    Ok(Some(EtcFile::text("hostname", format!("{name}\n"))))
}

/// Typing a name is no accident.
fn ask(plan: &Plan) -> Result<()> {
    if !io::stdin().is_terminal() {
        bail!(
            "nobody can be asked whether to erase {}: use --yes",
            plan.drive
        );
    }
    let device = plan.drive.device.display().to_string();
    output::say(format_args!("type {device} to go on"));
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context("reading the answer")?;
    match line.trim() == device {
        true => Ok(()),
        false => bail!("nothing was changed"),
    }
}

fn tell(installed: &Installed, json: bool) -> Result<()> {
    match json {
        true => output::line(serde_json::to_string_pretty(installed)?)?,
        false => output::line(format_args!(
            "{} is installed on {}",
            installed.version,
            installed.device.display()
        ))?,
    }
    Ok(())
}

/// Prints one word for the installer's init.
pub fn unattended(root: &Path) -> Result<()> {
    let next = unattended::run(root, progress::installing_unattended())?;
    Ok(output::line(next.as_str())?)
}
