//! Turns a stock OSTree installation, such as Anaconda's `ostreesetup` leaves, into slot a of ours. The commit is
//! verified and the disk is looked at before anything is written. Firmware is led to our loader in the last step, when
//! all of ours is in place; until then the old one boots.

mod fstab;
pub mod list;
mod survey;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::birth::{self, EtcFile};
use crate::board::{self, BootFlavour};
use crate::boot::{BootControl, OnDisk};
use crate::cmd::Cmd;
use crate::device::{self, ROOTS_IN_TREE};
use crate::durable;
use crate::esp;
use crate::exit::Stop;
use crate::fetch::Source;
use crate::history::{self, Entry, Event};
use crate::install;
use crate::installer::target::Mounted;
use crate::media::loader;
use crate::pull;
use crate::refusal::Refusal;
use crate::sysroot::{CommitInfo, Deployment, STATEROOT, Sysroot, Theirs};
use crate::trust;
use crate::types::{BoardName, ChannelName, CommitChecksum, Slot};
use survey::Found;
use table::Table;

const STATE_DIR: &str = "lib/edge-ota";
const DETACHED_CAP: u64 = 64 << 10;
/// What another installer keeps on the boot partition, but for `efi`, on which the ESP is mounted.
const THEIR_BOOT: [&str; 7] = [
    "extlinux", "grub", "grub2", "loader", "loader.0", "loader.1", "ostree",
];

pub struct Order<'a> {
    /// Of the system to adopt: `/` in Anaconda's `%post`.
    pub root: &'a Path,
    /// Where the device reads its releases from.
    pub url: String,
    pub channel: ChannelName,
    pub source: Source,
    /// Refuse a tree of another board.
    pub board: Option<BoardName>,
    /// The folder of the root documents to trust, if not the tree's.
    pub keys: Option<PathBuf>,
    /// For mount points; empty.
    pub work: &'a Path,
}

/// What will be done; nothing is written yet.
pub struct Plan<'a> {
    order: &'a Order<'a>,
    found: Found,
    table: Table,
    roles: table::Roles,
    trial: PathBuf,
    boot: Mounted,
    root: Mounted,
    theirs: Theirs,
    info: CommitInfo,
    detached: Vec<u8>,
}

#[derive(Debug, Serialize)]
pub struct Adopted {
    pub device: PathBuf,
    pub board: String,
    pub version: String,
    pub commit: CommitChecksum,
    pub deployment: String,
    pub stateroot: String,
}

/// Verifies the commit and finds the partitions. Call it in a mount namespace of our own.
pub fn plan<'a>(order: &'a Order<'a>) -> Result<Plan<'a>> {
    if device::how_booted(order.root)?.slot.is_some() {
        return Err(Stop::NothingNew)
            .context("this system was booted by our loader: it is ours already");
    }
    let found = survey::look(order.root)?;
    let table = table::parse(&Cmd::new("sfdisk").arg("--json").arg(&found.disk).output()?)?;
    let roles = table::Roles {
        esp: found.esp.start,
        trial: table.find_trial()?,
        boot: found.boot.start,
        root: found.root.start,
    };
    let trial = found.device_at(roles.trial)?;
    let root = Mounted::new(&found.root.device, &order.work.join("root"), "ext4")?;
    let boot = Mounted::new(&found.boot.device, &order.work.join("boot"), "ext4")?;
    let theirs = survey::deployment(order.root, root.at())?;
    let sysroot = Sysroot::open(root.at())?;
    let (info, detached) = verify(order, &sysroot, &theirs)?;
    check_room(boot.at(), &info)?;
    Ok(Plan {
        order,
        found,
        table,
        roles,
        trial,
        boot,
        root,
        theirs,
        info,
        detached,
    })
}

impl Plan<'_> {
    pub fn summary(&self) -> Adopted {
        Adopted {
            device: self.found.disk.clone(),
            board: self.info.board.clone(),
            version: self.info.version.clone(),
            commit: self.theirs.commit.clone(),
            deployment: self.theirs.id.clone(),
            stateroot: self.theirs.stateroot.clone(),
        }
    }
}

/// A commit without its signatures gets them from the server.
fn verify(order: &Order, sysroot: &Sysroot, theirs: &Theirs) -> Result<(CommitInfo, Vec<u8>)> {
    let tree = sysroot.their_dir(theirs);
    let board = board::load(&tree).context("the deployment is not a tree of edge-build")?;
    if board.boot != BootFlavour::Grub {
        bail!(
            "only systems that boot by UEFI and GRUB can be adopted: use an image or our installer"
        );
    }
    if let Some(expected) = order.board.as_ref().filter(|name| **name != board.board) {
        let (expected, found) = (expected.clone(), board.board);
        return Err(Refusal::WrongBoard { expected, found }.into());
    }
    let keys = order
        .keys
        .clone()
        .unwrap_or_else(|| tree.join(ROOTS_IN_TREE));
    let (raw, mut detached) = sysroot.commit_bytes(&theirs.commit)?;
    if detached.is_empty() {
        let path = format!("{}.commitmeta", pull::object_path(&theirs.commit));
        detached = order.source.get(&path, DETACHED_CAP)?;
    }
    let info = pull::verify(&trust::load_highest(&keys)?, &board.board, &raw, &detached)
        .with_context(|| format!("commit {}", theirs.commit.short()))?;
    Ok((info, detached))
}

fn check_room(boot: &Path, info: &CommitInfo) -> Result<()> {
    let needed = info.kernel_size + info.initramfs_size + (1 << 20);
    let stat = rustix::fs::statvfs(boot).context("asking /boot for room")?;
    let available = stat.f_bavail * stat.f_frsize;
    match available < needed {
        true => Err(Stop::NoSpace {
            place: "/boot".to_owned(),
            needed,
            available,
        }
        .into()),
        false => Ok(()),
    }
}

pub fn carry_out(plan: Plan) -> Result<Adopted> {
    list::copy(plan.boot.at(), plan.root.at())?;
    let sysroot = Sysroot::open(plan.root.at())?;
    sysroot.claim()?;
    sysroot.write_signatures(&plan.theirs.commit, &plan.detached)?;
    let deployment = deploy(&plan, &sysroot)?;
    let tree = sysroot.deployment_dir(&deployment.id);
    durable::overwrite(&plan.trial, 0, &loader::trial(&tree)?)?;
    let mut boot = OnDisk::in_folder(BootFlavour::Grub, plan.boot.at(), &plan.trial);
    install::restore_bootable(&sysroot, &mut boot, Slot::A, &deployment)?;
    boot.set_default(Slot::A)?;
    install::verified_slot(&sysroot, &boot, Slot::A)?;
    note(&plan, &sysroot, &deployment)?;
    sync(plan.root.at())?;
    sync(plan.boot.at())?;
    write_table(&plan)?;
    switch(&plan, &tree)?;
    // It keeps the file system busy.
    drop(sysroot);
    let adopted = Adopted {
        deployment: deployment.id,
        ..plan.summary()
    };
    let Plan { boot, root, .. } = plan;
    boot.unmount()?;
    root.unmount()?;
    Ok(adopted)
}

/// Into our stateroot, with the `/etc` and `/var` that are there. What an earlier run deployed is used again.
fn deploy(plan: &Plan, sysroot: &Sysroot) -> Result<Deployment> {
    let there = sysroot.slot_deployment(Slot::A)?;
    if let Some(there) = there.filter(|d| d.commit == plan.theirs.commit) {
        return Ok(there);
    }
    let new = sysroot.deploy_theirs(&plan.theirs)?;
    let tree = sysroot.deployment_dir(&new.id);
    birth::write(
        &tree,
        &[EtcFile::source(&plan.order.url, &plan.order.channel)],
    )?;
    let path = tree.join("etc/fstab");
    if path.exists() {
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        durable::write(&path, fstab::without_ours(&text).as_bytes())?;
    }
    if plan.theirs.stateroot != STATEROOT {
        let from = sysroot.var_of(&plan.theirs.stateroot).join(".");
        Cmd::new("cp")
            .arg("-a")
            .arg(from)
            .arg(sysroot.var_dir())
            .run()?;
    }
    sync(plan.root.at())?;
    sysroot.link_slot(Slot::A, &new.id)?;
    Ok(new)
}

fn note(plan: &Plan, sysroot: &Sysroot, deployment: &Deployment) -> Result<()> {
    let dir = sysroot.var_dir().join(STATE_DIR);
    let entry = Entry {
        at: device::now()?,
        event: Event::Installed,
        slot: Some(Slot::A),
        commit: Some(deployment.commit.clone()),
        version: Some(plan.info.version.clone()),
        detail: format!("adopted from stateroot {}", plan.theirs.stateroot),
    };
    history::append(&dir, &entry)
}

/// The kernel keeps the numbers that it knows until the next boot.
fn write_table(plan: &Plan) -> Result<()> {
    if plan.table.is_ours(&plan.roles) {
        return Ok(());
    }
    Cmd::new("sfdisk")
        .args([
            "--quiet",
            "--force",
            "--no-reread",
            "--no-tell-kernel",
            "--wipe",
            "never",
        ])
        .args(["--wipe-partitions", "never"])
        .arg(&plan.found.disk)
        .output_with_input(plan.table.ours(&plan.roles)?.into_bytes())
        .context("naming the partitions")?;
    sync_device(&plan.found.disk)
}

/// From here on firmware finds our loader, and theirs is not needed any more.
fn switch(plan: &Plan, tree: &Path) -> Result<()> {
    let esp = Mounted::new(&plan.found.esp.device, &plan.order.work.join("esp"), "vfat")?;
    esp::take_over(esp.at(), tree)?;
    esp.unmount()?;
    for name in THEIR_BOOT {
        let path = plan.boot.at().join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(_) => continue,
        }
        .with_context(|| format!("removing {}", path.display()))?;
    }
    sync(plan.boot.at())
}

fn sync(path: &Path) -> Result<()> {
    let dir = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    rustix::fs::syncfs(&dir).with_context(|| format!("syncing {}", path.display()))
}

fn sync_device(device: &Path) -> Result<()> {
    let file = fs::File::open(device).with_context(|| format!("opening {}", device.display()))?;
    file.sync_all()
        .with_context(|| format!("syncing {}", device.display()))
}
