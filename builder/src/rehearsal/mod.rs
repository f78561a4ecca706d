//! A release's way through a fleet, gone by one machine: from what the channel offers to the release, back, and forward
//! again with a power cut in the middle; from the very repository that will be published.

mod driver;
mod guest;
pub mod record;
pub mod report;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use edge_ota::channel;
use edge_ota::cmd::Cmd;
use edge_ota::types::{ChannelName, CommitChecksum};

use crate::board::Board;
use crate::image::{self, Format, SourceOf};
use crate::interrupt::WorkDir;
use crate::machine::{Config, Firmware, HOST, Network, qemu_of};
use crate::progress::Progress;
use crate::release::{self, Terms};
use crate::repo::Repo;
use crate::serve::Serving;
use guest::{Caught, Guest};
use record::{Record, Step};
use report::Report;

/// A manifest holds for one channel by name, so that one signed for this channel makes no other device install anything.
pub const CHANNEL: &str = "rehearsal";
/// The image is as small as those of `image` and grows to the disk, as on a device.
const IMAGE_BYTES: u64 = 4 << 30;
const CPUS: u32 = 2;
/// Longer than any rehearsal.
const MANIFEST_HOLDS: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct Request<'a> {
    pub board: &'a Board,
    /// The folder that holds `repo/`.
    pub served: &'a Path,
    pub keys: &'a Path,
    pub channel_key: SigningKey,
    /// What devices run now; `None` where the release is their first.
    pub from: Option<CommitChecksum>,
    pub to: CommitChecksum,
    pub memory_mib: u32,
    pub disk_bytes: u64,
    /// For one boot to its verdict, or for one upgrade.
    pub patience: Duration,
    /// The root of the paths that the board's file has for the firmware of its machine.
    pub firmware: &'a Path,
    /// Unix seconds of the real clock, which the machine has, too.
    pub now: u64,
    pub work: &'a WorkDir,
}

impl Request<'_> {
    /// What the console of the machine said, while the work folder is there.
    pub fn console_log(&self) -> PathBuf {
        self.machine_dir().join("console.log")
    }

    fn machine_dir(&self) -> PathBuf {
        self.work.path().join("machine")
    }
}

/// Rehearses, and writes the record of it where `release` looks for it.
pub fn rehearse(request: &Request, progress: &Progress) -> Result<(PathBuf, Record)> {
    let qemu = qemu_version(request.board)?;
    let site = request.work.sub("site")?;
    publish(request, &site)?;
    let repo = request.served.join("repo");
    let serving = Serving::bind_with(&site, "repo", &repo, 0)?;
    let steps = thread::scope(|scope| {
        let _stop = StopAtEnd(&serving);
        scope.spawn(|| serving.run());
        let disk = make_disk(request, serving.port(), progress)?;
        drive(request, disk, progress)
    })?;
    let record = Record {
        format: record::FORMAT,
        board: request.board.name.clone(),
        from: request.from.clone(),
        to: request.to.clone(),
        at: request.now,
        memory_mib: request.memory_mib,
        disk_bytes: request.disk_bytes,
        steps,
        builder: env!("CARGO_PKG_VERSION").to_owned(),
        qemu,
    };
    Ok((record.save(request.served)?, record))
}

struct StopAtEnd<'a>(&'a Serving);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn qemu_version(board: &Board) -> Result<String> {
    let program = format!("qemu-system-{}", qemu_of(board)?.system);
    let text = Cmd::new(program).arg("--version").text()?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The release, offered by the code that will offer it to the fleet, on a channel of the machine's own.
fn publish(request: &Request, site: &Path) -> Result<()> {
    let repo = Repo::open(&request.served.join("repo"))?;
    let description = repo.describe(&request.to)?;
    if description.board != request.board.name {
        bail!(
            "commit {} is for board {}, not {}",
            request.to.short(),
            description.board,
            request.board.name
        );
    }
    let offered = channel::Release {
        board: description.board,
        channel: own_channel()?,
        version: description.version,
        commit: request.to.clone(),
        r#ref: repo.ref_of(&request.to)?,
    };
    let terms = Terms {
        expires_in: MANIFEST_HOLDS,
        ..Terms::default()
    };
    // A device's clock never runs below the time of its release.
    let now = request.now.max(description.timestamp);
    let signers = [request.channel_key.clone()];
    release::publish(site, request.keys, &signers, offered, &terms, now).map(drop)
}

fn own_channel() -> Result<ChannelName> {
    Ok(CHANNEL.parse()?)
}

/// The disk of a device that runs what the fleet runs, or of a new one where there is no fleet yet.
fn make_disk(request: &Request, port: u16, progress: &Progress) -> Result<PathBuf> {
    let [image, disk] = ["image.raw", "disk.qcow2"].map(|name| request.work.path().join(name));
    let source = SourceOf {
        url: format!("http://{HOST}:{port}"),
        channel: own_channel()?,
    };
    let made = image::Request {
        board: &request.board.name,
        served: request.served,
        keys: request.keys,
        commit: request.from.as_ref().unwrap_or(&request.to),
        source: Some(&source),
        etc: &driver::files(),
        format: Format::Raw,
        size: request.disk_bytes.min(IMAGE_BYTES),
        var: None,
        out: &image,
        work: request.work,
    };
    image::make(&made, progress)?;
    Cmd::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&image)
        .arg(&disk)
        .arg(request.disk_bytes.to_string())
        .run()?;
    Ok(disk)
}

fn drive(request: &Request, disk: PathBuf, progress: &Progress) -> Result<Vec<Step>> {
    let qemu = qemu_of(request.board)?;
    let config = Config {
        dir: request.machine_dir(),
        disks: vec![disk],
        qemu: qemu.clone(),
        firmware: Firmware::installed(qemu, request.firmware)?,
        cpus: CPUS,
        memory_mib: request.memory_mib,
        network: Network::Own {
            forwards: Vec::new(),
        },
        more: Vec::new(),
    };
    let mut steps = Steps {
        progress,
        done: Vec::new(),
    };
    match &request.from {
        Some(from) => there_and_back(request, from, config, &mut steps)?,
        None => first(request, config, &mut steps)?,
    }
    Ok(steps.done)
}

/// The steps of a release that follows another.
fn there_and_back(
    request: &Request,
    from: &CommitChecksum,
    config: Config,
    steps: &mut Steps,
) -> Result<()> {
    let (to, patience) = (&request.to, request.patience);
    let (old, new) = (from.short(), to.short());
    let (mut guest, before) = steps.step(&format!("booting {old}"), || {
        let mut guest = Guest::power_on(config, patience)?;
        let before = guest.verdict()?;
        before.runs(from)?;
        Ok((guest, before))
    })?;
    steps.step(&format!("upgrading to {new}"), || guest.upgrade())?;
    steps.step(&format!("trying {new}"), || {
        good(&guest.reboot()?, to, &before.failed)
    })?;
    steps.step(&format!("going back to {old}"), || {
        guest.rollback()?;
        guest.reboot()?.runs(from)
    })?;
    let caught = steps.step("cutting the power of an upgrade", || guest.cut_upgrade())?;
    if caught == Caught::AtItsEnd {
        steps.progress.say("the upgrade was over before the cut");
    }
    steps.step(&format!("booting {old} after the cut"), || {
        guest.power_on_again()?.runs(from)
    })?;
    steps.step(&format!("upgrading to {new} again"), || guest.upgrade())?;
    steps.step(&format!("trying {new} again"), || {
        good(&guest.reboot()?, to, &before.failed)
    })
}

/// The steps of a release that nothing was before: there is no other to upgrade from or to go back to.
fn first(request: &Request, config: Config, steps: &mut Steps) -> Result<()> {
    let (to, patience) = (&request.to, request.patience);
    let none = BTreeSet::new();
    let mut guest = steps.step(&format!("booting {}", to.short()), || {
        let mut guest = Guest::power_on(config, patience)?;
        good(&guest.verdict()?, to, &none)?;
        Ok(guest)
    })?;
    steps.step("booting it again", || good(&guest.reboot()?, to, &none))
}

fn good(report: &Report, commit: &CommitChecksum, failed_before: &BTreeSet<String>) -> Result<()> {
    report.runs(commit)?;
    report.newly_failed(failed_before)
}

struct Steps<'a> {
    progress: &'a Progress,
    done: Vec<Step>,
}

impl Steps<'_> {
    fn step<T>(&mut self, title: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let step = self.progress.step(title);
        let made = act().with_context(|| title.to_owned())?;
        self.done.push(Step {
            step: title.to_owned(),
            seconds: (step.done().as_secs_f64() * 10.0).round() / 10.0,
        });
        Ok(made)
    }
}

/// Keeps what the machine's console said.
pub fn keep_console(request: &Request, file: &Path) -> Result<()> {
    let log = request.console_log();
    if log.exists() {
        fs::copy(&log, file).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
