//! An installation that nobody watches: what the installer's init runs. It is told what to do by the kernel's arguments
//! and a kickstart file, tells what happens, and says how the machine is to go on.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::recipe::{Files, Recipe};
use super::report::{Machine, Report};
use super::target::Mounted;
use super::terms::{self, Said};
use super::words::{Action, Finish, OnError, Place, Words};
use super::{Installed, Order, Plan, Step, drives, medium, scripts};
use crate::board;
use crate::device::ROOTS_IN_TREE;
use crate::exit::{self, Exit, Stop};
use crate::fetch::{Limits, Location, Source};
use crate::kickstart::{self, Kickstart};
use crate::repair::{self, Supply};
use crate::types::CommitChecksum;

/// In the installer: which release it was made from.
pub const ABOUT: &str = "usr/lib/edge-ota/installer.json";
const WORK: &str = "run/edge-ota";

/// Between two tries of what time may heal.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct About {
    pub format: u64,
    pub version: String,
    pub commit: CommitChecksum,
    /// Unix seconds.
    pub built: u64,
}

/// How the machine goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Finish(Finish),
    Failed(OnError),
}

impl Next {
    /// The word for the installer's init.
    pub fn as_str(self) -> &'static str {
        match self {
            Next::Finish(Finish::Reboot) | Next::Failed(OnError::Reboot) => "reboot",
            Next::Finish(Finish::PowerOff) | Next::Failed(OnError::PowerOff) => "poweroff",
            Next::Finish(Finish::Halt) => "halt",
            Next::Failed(OnError::Shell) => "shell",
        }
    }
}

/// Does what the kernel's arguments say, again and again while only the network is in the way.
pub fn run(root: &Path, each: impl Fn(Step) + Clone + 'static) -> Result<Next> {
    let cmdline = root.join("proc/cmdline");
    let cmdline =
        fs::read_to_string(&cmdline).with_context(|| format!("reading {}", cmdline.display()))?;
    let machine = Machine::read(root);
    let words = match Words::parse(&cmdline) {
        Ok(words) => words,
        Err(error) => {
            Report::new(None, machine)?.tell("failed", &format!("{error:#}"));
            return Ok(Next::Failed(OnError::default()));
        }
    };
    let report = Report::new(words.report.as_deref(), machine)?;
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt(root, &words, &report, each.clone()) {
            Ok(finish) => return Ok(Next::Finish(finish)),
            Err(error) if exit::of(&error) == Exit::Network => {
                report.tell(
                    "waiting",
                    &format!("{error:#}; trying again in {} s", pause.as_secs()),
                );
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => {
                report.tell("failed", &format!("{error:#}"));
                return Ok(Next::Failed(words.on_error));
            }
        }
    }
}

fn attempt(
    root: &Path,
    words: &Words,
    report: &Report,
    each: impl Fn(Step) + Clone + 'static,
) -> Result<Finish> {
    match words.action {
        Action::Install => install(root, words, report, each),
        Action::Repair => repair_disk(root, words, report),
    }
}

fn install(
    root: &Path,
    words: &Words,
    report: &Report,
    each: impl Fn(Step) + Clone + 'static,
) -> Result<Finish> {
    let work = tempfile::tempdir_in(work_dir(root)?).context("making a work folder")?;
    let files = words.kickstart.clone();
    let files = files.map(|place| Files::new(place, root, work.path()));
    let kickstart = files.as_ref().map(|files| files.read(report)).transpose()?;
    let kickstart = kickstart.as_ref();
    let done = install_by(root, words, kickstart, work.path(), report, each);
    if let (Err(_), Some(kickstart)) = (&done, kickstart) {
        scripts::run(&kickstart.scripts.on_error, root, None, report)?;
    }
    done
}

fn install_by(
    root: &Path,
    words: &Words,
    kickstart: Option<&Kickstart>,
    work: &Path,
    report: &Report,
    each: impl Fn(Step) + Clone + 'static,
) -> Result<Finish> {
    let terms = terms::agree(&Said::of_words(words), kickstart)?;
    let (source, _medium) = source(&terms.from, work)?;
    let board = board::load(root)?;
    let order = Order {
        root,
        board: board.board,
        flavour: board.boot,
        keys: &root.join(ROOTS_IN_TREE),
        source,
        terms,
        etc: Vec::new(),
        built: about(root)?.built,
        work: &work.join("target"),
    };
    fs::create_dir_all(order.work).with_context(|| format!("making {}", order.work.display()))?;
    report.tell("checking", "the release and the disks");
    let plan = super::plan(&order)?;
    for line in plan.to_string().lines() {
        report.tell("plan", line);
    }
    if kickstart.is_none() && words.disk.is_none() && !plan.drive.partitions.is_empty() {
        ask(&plan, report)?;
    }
    let recipe = Recipe {
        kickstart,
        root,
        boot_card: words.boot_card.as_ref(),
        report,
    };
    let installed = super::carry_out(
        &plan,
        each,
        || recipe.partitioned(),
        |tree, var| recipe.deployed(tree, var),
    )?;
    report.tell("installed", &summary(&installed));
    Ok(finish(words, kickstart))
}

/// Nobody has named the disk or said that it may be erased: it takes a person to say so.
fn ask(plan: &Plan, report: &Report) -> Result<()> {
    let device = plan.drive.device.display().to_string();
    report.tell("asking", &format!("type {device} to erase it and to go on"));
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.context("reading the answer")?;
    match line.trim() == device {
        true => Ok(()),
        false => bail!(
            "nothing was changed: edge.disk= on the kernel's command line or a kickstart file lets {device} be erased"
        ),
    }
}

/// The system on the disk that is meant, by the rules for an installation; fetched from where this is told to, else from
/// where the device reads its releases.
fn repair_disk(root: &Path, words: &Words, report: &Report) -> Result<Finish> {
    let work = tempfile::tempdir_in(work_dir(root)?).context("making a work folder")?;
    let drives = drives::list_all(root)?;
    let wish = words.disk.clone().unwrap_or_default();
    let drive = wish.choose(&drives, root)?;
    report.tell("checking", &format!("the system on {drive}"));
    let mut offline = repair::offline::open(root, &drive.device)?;
    let from = words.bundle.clone().or(words.url.clone().map(Place::Web));
    let told = from.map(|place| source(&place, work.path())).transpose()?;
    let (supply, _medium) = match told {
        Some((source, medium)) => (Supply::of(source), medium),
        None => (Supply::of_settings(&offline.settings()?), None),
    };
    let found = repair::repair(&mut offline.system(), &supply, &|_| {})?;
    for line in found.to_text().lines() {
        report.tell("repair", line);
    }
    if found.waits_for_server() {
        return Err(Stop::Unreachable.into());
    }
    found.verdict()?;
    report.tell("repaired", &drive.to_string());
    Ok(finish(words, None))
}

fn finish(words: &Words, kickstart: Option<&Kickstart>) -> Finish {
    let of_file = kickstart.and_then(|kickstart| kickstart.finish);
    let of_file = of_file.map(|finish| match finish {
        kickstart::Finish::Reboot => Finish::Reboot,
        kickstart::Finish::PowerOff => Finish::PowerOff,
        kickstart::Finish::Halt => Finish::Halt,
    });
    words.finish.or(of_file).unwrap_or(Finish::Reboot)
}

fn summary(installed: &Installed) -> String {
    format!("{} onto {}", installed.version, installed.device.display())
}

fn work_dir(root: &Path) -> Result<PathBuf> {
    let dir = root.join(WORK);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

fn about(root: &Path) -> Result<About> {
    let path = root.join(ABOUT);
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("parsing {}", path.display()))
}

/// What holds the release, and what must stay mounted for it.
fn source(from: &Place, work: &Path) -> Result<(Source, Option<Mounted>)> {
    let (location, mounted) = location(from, work)?;
    Ok((Source::new(location, Limits::default())?, mounted))
}

fn location(from: &Place, work: &Path) -> Result<(Location, Option<Mounted>)> {
    Ok(match from {
        Place::Medium { partition, path } => {
            let mounted = medium::mount(partition, &work.join("medium"))?;
            let folder = mounted.at().join(path.trim_start_matches('/'));
            (Location::Folder(folder), Some(mounted))
        }
        Place::Web(url) => (url.parse().map_err(anyhow::Error::msg)?, None),
        Place::File(path) => (Location::Folder(PathBuf::from(path)), None),
    })
}
