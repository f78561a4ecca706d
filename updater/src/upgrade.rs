//! From the channel's manifest to a release that waits in the other slot for its trial.

use anyhow::{Context, Result, bail};

use crate::boot::Trial;
use crate::channel::{self, Candidate, Expected, Manifest};
use crate::decide::{self, Refusal};
use crate::device::{self, Device, ROOTS_IN_TREE};
use crate::etc;
use crate::exit::Stop;
use crate::fetch::Source;
use crate::history::Event;
use crate::install::{self, SlotWrite};
use crate::kargs;
use crate::output;
use crate::pull::{self, Verified};
use crate::refusal::utc;
use crate::state::{Staged, Standing};
use crate::sysroot::{Missing, PullProgress};
use crate::trust::{self, Root};
use crate::types::{CommitChecksum, Slot};

pub const MANIFEST_CAP: u64 = 64 << 10;
/// Kept free beside what the commit needs: the merged `/etc`, folders, the journal.
const MARGIN: u64 = 64 << 20;

/// What the channel offers this device.
pub struct Offer {
    pub candidate: Candidate,
    pub source: Source,
    pub root: Root,
}

/// Reads and verifies the channel's manifest. Nothing is written but newer root documents.
pub fn check(device: &Device) -> Result<Offer> {
    let settings = &device.settings;
    let source = Source::new(settings.source.url()?.clone(), settings.network.clone())?;
    let root = trusted_root(device, &source)?;
    let path = channel::path(&settings.source.channel, &device.board.board);
    let built = match device.sysroot.booted()? {
        Some(booted) => device.sysroot.commit_info(&booted.commit)?.timestamp,
        None => 0,
    };
    let expected = Expected {
        board: device.board.board.clone(),
        channel: settings.source.channel.clone(),
        floor: device.state.sequence,
        now: channel::clock(device::now()?, built, device.state.issued),
    };
    let candidate = offer(&source, &root, &path, &expected)?;
    Ok(Offer {
        candidate,
        source,
        root,
    })
}

/// Reads a channel's manifest, verifies it, and says whether it may be installed.
pub fn offer(source: &Source, root: &Root, path: &str, expected: &Expected) -> Result<Candidate> {
    let document = source.get(path, MANIFEST_CAP)?;
    let manifest = Manifest::parse_verified(&document, root.channel())?;
    Ok(manifest.accept(expected)?)
}

/// The tree's root, walked on through the documents stored by earlier runs and those on the server.
fn trusted_root(device: &Device, source: &Source) -> Result<Root> {
    let root = trust::load_highest(&device.root.join(ROOTS_IN_TREE))?;
    let walked = trust::walk_stored(root, &device.stored_roots());
    if let Some(damaged) = walked.damaged {
        output::say(format_args!("edge-ota: {damaged:#}"));
    }
    let root = trust::advance(walked.root, &device.stored_roots(), |path| {
        Ok(source.get_if_there(path, MANIFEST_CAP)?)
    })?;
    root.not_behind(device.state.root_version)?;
    Ok(root)
}

/// Installs the channel's release into the other slot, where it waits. `retry` takes a release that
/// failed here before.
pub fn upgrade(
    device: &mut Device,
    retry: bool,
    each: impl Fn(Step) + Clone + 'static,
) -> Result<Staged> {
    let seen = device.observe()?;
    let slot = decide::writable_slot(&seen).map_err(stop_of)?;
    each(Step::Checking);
    let offer = check(device)?;
    let manifest = offer.candidate.manifest();
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    remember(device, &offer)?;
    if manifest.commit == booted.commit {
        unstage(device, slot)?;
        return Err(Stop::NothingNew.into());
    }
    if let Some(staged) = already_staged(device, slot, &manifest.commit) {
        return Ok(staged);
    }
    if !retry {
        refuse_rejected(device, &manifest.commit)?;
    }
    // Better now than with the other slot retired already.
    kargs::load(&device.root)?;
    let verified = pull::fetch_commit(
        &offer.source,
        &offer.root,
        &device.board.board,
        &manifest.commit,
    )?;
    make_room(device, slot, &booted.id, &verified)?;
    let progress = each.clone();
    pull::pull(&device.sysroot, &offer.source, &verified, move |p| {
        progress(Step::Pulling(p))
    })?;
    each(Step::Deploying);
    let staged = Staged {
        slot,
        commit: manifest.commit.clone(),
        version: manifest.version.clone(),
        sequence: manifest.sequence,
        deployment: String::new(),
        etc: String::new(),
    };
    if retry {
        device.state.forgive(&manifest.commit);
    }
    let staged = deploy(device, staged, &booted.id)?;
    device.sysroot.release_pulled()?;
    device.record(
        Event::Staged,
        Some(slot),
        Some(&staged.commit),
        &staged.version,
        "waits for a reboot",
    )?;
    Ok(staged)
}

/// What an upgrade is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Checking,
    Pulling(PullProgress),
    Deploying,
}

/// Arms the trial of what is staged. If `/etc` changed since it was deployed, it is deployed again, so
/// that no edit is lost. `false` when nothing is staged.
pub fn arm(device: &mut Device) -> Result<bool> {
    let Some(mut staged) = device.state.ready().cloned() else {
        return Ok(false);
    };
    let slot = decide::writable_slot(&device.observe()?).map_err(stop_of)?;
    if slot != staged.slot {
        bail!(
            "version {} is staged in slot {}, which is the default now",
            staged.version,
            staged.slot
        );
    }
    if etc::fingerprint(&device.root)? != staged.etc {
        let booted = device
            .sysroot
            .booted()?
            .context("not booted from a deployment")?;
        staged = deploy(device, staged, &booted.id)?;
    }
    let trial = Trial::new(
        slot,
        staged.commit.clone(),
        device.settings.trial.tries.get(),
    );
    if install::arm(&device.sysroot, device.boot.as_mut(), &trial)? {
        let detail = format!("{} tries", trial.left);
        device.record(
            Event::Armed,
            Some(slot),
            Some(&staged.commit),
            &staged.version,
            &detail,
        )?;
    }
    Ok(true)
}

/// Writes the slot and remembers what waits there, with the `/etc` it was merged from. It is known as
/// staged before the slot is written: else, after a power cut, it would pass for a proven release that
/// one may roll back to.
fn deploy(device: &mut Device, staged: Staged, booted: &str) -> Result<Staged> {
    let etc = etc::fingerprint(&device.root)?;
    device.state.staged = Some(staged.clone());
    device.save_state()?;
    let write = SlotWrite {
        slot: staged.slot,
        commit: &staged.commit,
        merge: Some(booted),
        keep: &[booted.to_owned()],
    };
    let deployment = install::write_slot(&device.sysroot, device.boot.as_mut(), &write)?.deployment;
    let staged = Staged {
        etc,
        deployment,
        ..staged
    };
    device.state.staged = Some(staged.clone());
    device.save_state()?;
    Ok(staged)
}

/// Forgets what is staged in the slot: the loader first, then ourselves.
fn unstage(device: &mut Device, slot: Slot) -> Result<()> {
    if device
        .state
        .staged
        .as_ref()
        .is_none_or(|staged| staged.slot != slot)
    {
        return device.boot.clear_trial();
    }
    install::retire(device.boot.as_mut(), slot)?;
    device.state.staged = None;
    device.save_state()
}

fn already_staged(device: &Device, slot: Slot, commit: &CommitChecksum) -> Option<Staged> {
    let staged = device
        .state
        .ready()
        .filter(|s| s.commit == *commit && s.slot == slot)?
        .clone();
    let in_slot = install::verified_slot(&device.sysroot, device.boot.as_ref(), slot);
    in_slot
        .is_ok_and(|file| file.commit == *commit)
        .then_some(staged)
}

fn refuse_rejected(device: &Device, commit: &CommitChecksum) -> Result<()> {
    let reason = match device
        .state
        .standing(commit, device.settings.trial.retry_delay)
    {
        Standing::RestsUntil(time) if time > device::now()? => {
            format!("it is tried once more after {}", utc(time))
        }
        Standing::Rejected => device
            .state
            .failures
            .get(commit)
            .map_or_else(String::new, |f| f.reason.clone()),
        _ => return Ok(()),
    };
    Err(Stop::Rejected {
        commit: commit.clone(),
        reason,
    }
    .into())
}

/// The sequence never goes back: stored once everything about the manifest is validated.
fn remember(device: &mut Device, offer: &Offer) -> Result<()> {
    let manifest = offer.candidate.manifest();
    let before = device.state.clone();
    device.state.saw(manifest);
    device.state.root_version = offer.root.version();
    if device.state == before {
        return Ok(());
    }
    device.save_state()
}

/// Refuses before any content is fetched when it would not fit. Where three trees do not fit, the
/// inactive slot goes first; then there is nothing to roll back to until the upgrade is done.
fn make_room(device: &mut Device, slot: Slot, booted: &str, verified: &Verified) -> Result<()> {
    let info = verified.info();
    let boot_needed = info.kernel_size + info.initramfs_size + (1 << 20);
    if let Some(room) = device
        .boot
        .room(&[booted.to_owned()])?
        .filter(|room| *room < boot_needed)
    {
        return Err(no_space("the boot partition", boot_needed, room).into());
    }
    let missing = device.sysroot.missing(info)?;
    if fits(device, &missing)?.is_ok() {
        return Ok(());
    }
    output::say(format_args!(
        "edge-ota: not enough space for a third tree: slot {slot} goes first"
    ));
    unstage(device, slot)?;
    install::retire(device.boot.as_mut(), slot)?;
    device
        .sysroot
        .release_pulled_other_than(verified.commit())?;
    device.sysroot.prune(&[booted.to_owned()])?;
    Ok(fits(device, &missing)??)
}

fn fits(device: &Device, missing: &Missing) -> Result<Result<(), Stop>> {
    let (bytes, inodes) = device.sysroot.free()?;
    let needed = missing.disk_bytes.saturating_add(MARGIN);
    if bytes < needed {
        return Ok(Err(no_space("the sysroot", needed, bytes)));
    }
    // Each object, and each entry of the checkout that is not a hard link, takes an inode.
    let needed = missing.objects.saturating_mul(2).saturating_add(10_000);
    if inodes < needed && inodes > 0 {
        let place = "the sysroot (counted in inodes)".to_owned();
        return Ok(Err(Stop::NoSpace {
            place,
            needed,
            available: inodes,
        }));
    }
    Ok(Ok(()))
}

fn no_space(place: &str, needed: u64, available: u64) -> Stop {
    Stop::NoSpace {
        place: place.to_owned(),
        needed,
        available,
    }
}

/// Makes the other slot's release the default again and rejects the running one.
pub fn rollback(device: &mut Device) -> Result<Slot> {
    let seen = device.observe()?;
    let target = decide::writable_slot(&seen).map_err(stop_of)?;
    if let Some(staged) = device
        .state
        .staged
        .as_ref()
        .filter(|staged| staged.slot == target)
    {
        bail!(
            "slot {target} holds version {}, staged and never proven: there is nothing to roll back to",
            staged.version
        );
    }
    let file = install::verified_slot(&device.sysroot, device.boot.as_ref(), target)
        .context("nothing to roll back to")?;
    if device
        .state
        .standing(&file.commit, device.settings.trial.retry_delay)
        != Standing::Clear
    {
        bail!(
            "version {} in slot {target} failed here before: there is nothing to roll back to",
            file.version
        );
    }
    let booted = device
        .sysroot
        .booted()?
        .context("not booted from a deployment")?;
    device.state.reject(
        booted.commit,
        "rolled back by an operator".to_owned(),
        device::now()?,
    );
    device.save_state()?;
    install::go_back(device.boot.as_mut(), target)?;
    device.record(
        Event::RolledBack,
        Some(target),
        Some(&file.commit),
        &file.version,
        "by an operator; takes effect at the next boot",
    )?;
    Ok(target)
}

fn stop_of(refusal: Refusal) -> anyhow::Error {
    let stop = match refusal {
        Refusal::OnTrial => Stop::OnTrial,
        Refusal::Switched => Stop::Switched,
        Refusal::Fallback | Refusal::Foreign => return refusal.into(),
    };
    stop.into()
}
