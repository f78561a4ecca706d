//! The installation of a device's first system onto an empty disk. The release is verified before the disk is touched,
//! and the boot loader comes last: firmware passes over a disk on which an installation was interrupted.

pub mod choice;
pub mod drives;
pub mod medium;
pub mod recipe;
pub mod report;
pub mod scripts;
pub(crate) mod target;
pub mod terms;
pub mod unattended;
pub mod words;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::birth::{self, EtcFile};
use crate::board::{self, BootFlavour};
use crate::boot::OnDisk;
use crate::channel::{self, Candidate, Expected};
use crate::device;
use crate::disk;
use crate::exit::Stop;
use crate::fetch::Source;
use crate::history::{self, Entry, Event};
use crate::install;
use crate::kargs;
use crate::media::firmware;
use crate::media::layout::{self, Layout};
use crate::pull::{self, Verified};
use crate::state::{self, State};
use crate::sysroot::{PullProgress, Sysroot};
use crate::trust::{self, Root};
use crate::types::{BoardName, ChannelName, CommitChecksum, Sequence, Slot};
use crate::upgrade;

use drives::Drive;
use target::Target;
use terms::Terms;

/// For `/etc`, `/var` and what an upgrade needs beside the tree.
const MARGIN: u64 = 256 << 20;
/// Below `/var`; the device's own state.
const STATE_DIR: &str = "lib/edge-ota";

/// What is to be installed, and where.
pub struct Order<'a> {
    /// Of the running system: `sys`, `proc`, `dev`, and what an installer brings of its board.
    pub root: &'a Path,
    pub board: BoardName,
    pub flavour: BootFlavour,
    /// The folder of the root documents to trust.
    pub keys: &'a Path,
    pub source: Source,
    pub terms: Terms,
    pub etc: Vec<EtcFile>,
    /// A time that is known to be past, in Unix seconds: the clock may be wrong.
    pub built: u64,
    /// For mount points and root documents; empty.
    pub work: &'a Path,
}

/// What will be done: the release is verified, the disk is chosen, nothing is written.
pub struct Plan<'a> {
    order: &'a Order<'a>,
    root: Root,
    candidate: Candidate,
    verified: Verified,
    pub drive: Drive,
    layout: Layout,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    pub device: PathBuf,
    pub board: BoardName,
    pub channel: ChannelName,
    pub sequence: Sequence,
    pub version: String,
    pub commit: CommitChecksum,
    pub deployment: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Partitioning,
    Pulling(PullProgress),
    Deploying,
    /// What the caller does with the new system.
    Customizing,
    MakingBootable,
}

/// Verifies the release and chooses the disk.
pub fn plan<'a>(order: &'a Order<'a>) -> Result<Plan<'a>> {
    kargs::to_text(&order.terms.kernel_arguments)?;
    let root = trusted_root(order)?;
    let path = channel::path(&order.terms.channel, &order.board);
    let expected = Expected {
        board: order.board.clone(),
        channel: order.terms.channel.clone(),
        floor: Sequence(0),
        now: channel::clock(device::now()?, order.built, 0),
    };
    let candidate = upgrade::offer(&order.source, &root, &path, &expected)?;
    if let Some(wanted) = &order.terms.reference {
        let offered = &candidate.manifest().r#ref;
        if offered != wanted {
            bail!(
                "channel {} offers {offered}, not {wanted}",
                order.terms.channel
            );
        }
    }
    let commit = &candidate.manifest().commit;
    let verified = pull::fetch_commit(&order.source, &root, &order.board, commit)?;
    let drives = drives::list_all(order.root)?;
    let drive = order.terms.choice.choose(&drives, order.root)?;
    let layout = layout_for(order, &drive, &verified)?;
    Ok(Plan {
        order,
        root,
        candidate,
        verified,
        drive,
        layout,
    })
}

/// Newer root documents are kept for the device.
fn trusted_root(order: &Order) -> Result<Root> {
    let root = trust::load_highest(order.keys)?;
    let stored = order.work.join("root");
    fs::create_dir_all(&stored).with_context(|| format!("making {}", stored.display()))?;
    trust::advance(root, &stored, |path| {
        Ok(order.source.get_if_there(path, upgrade::MANIFEST_CAP)?)
    })
}

/// With ids of its own. What firmware there will be is known from the installer's own.
fn layout_for(order: &Order, drive: &Drive, verified: &Verified) -> Result<Layout> {
    let too_small = |needed| Stop::NoSpace {
        place: drive.to_string(),
        needed,
        available: drive.size,
    };
    if drive.size < layout::LEAST {
        return Err(too_small(layout::LEAST).into());
    }
    let blobs = firmware::of_tree(order.root)?;
    let layout = layout::layout(drive.size, &disk::random_uuid()?, &blobs)?;
    let layout = match order.flavour {
        BootFlavour::Grub => layout,
        BootFlavour::Uboot => layout.for_uboot(),
    };
    let tree = verified.info().disk_bytes();
    let needed = tree + tree / 20 + MARGIN;
    match layout.root.size < needed {
        true => Err(too_small(drive.size - layout.root.size + needed).into()),
        false => Ok(layout),
    }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = self.candidate.manifest();
        writeln!(
            f,
            "installs {} (commit {}, channel {}, board {})",
            manifest.version,
            manifest.commit.short(),
            manifest.channel,
            manifest.board
        )?;
        writeln!(f, "onto    {}", self.drive)?;
        match self.drive.partitions.as_slice() {
            [] => write!(f, "which has no partitions"),
            partitions => write!(f, "erasing {}", partitions.join(", ")),
        }
    }
}

/// Erases the disk and installs. `partitioned` is called before anything comes in, `deployed` with the deployment's folder
/// and that of `/var` before anything of the system can be booted.
pub fn carry_out(
    plan: &Plan,
    each: impl Fn(Step) + Clone + 'static,
    partitioned: impl FnOnce() -> Result<()>,
    deployed: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<Installed> {
    let order = plan.order;
    each(Step::Partitioning);
    let target = Target::make(
        order.root,
        &plan.drive.device,
        plan.layout.clone(),
        order.work,
    )?;
    partitioned()?;
    let sysroot = Sysroot::create(target.root())?;
    let pulling = each.clone();
    pull::pull(&sysroot, &order.source, &plan.verified, move |progress| {
        pulling(Step::Pulling(progress))
    })?;
    each(Step::Deploying);
    let deployment = deploy(plan, &target, &sysroot, |tree, var| {
        each(Step::Customizing);
        deployed(tree, var)
    })?;
    sysroot.release_pulled()?;
    each(Step::MakingBootable);
    let installed = installed(plan, &deployment);
    write_state(plan, &sysroot.var_dir(), &installed)?;
    let tree = sysroot.deployment_dir(&deployment);
    // It keeps the file system busy.
    drop(sysroot);
    target.make_bootable(order.flavour, &tree)?;
    Ok(installed)
}

fn deploy(
    plan: &Plan,
    target: &Target,
    sysroot: &Sysroot,
    customize: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<String> {
    let commit = plan.verified.commit();
    let order = plan.order;
    // The records come from the tree, and there is one once it is deployed.
    let new = install::deploy_first(sysroot, commit)?;
    let tree = sysroot.deployment_dir(&new);
    target.write_trial(&tree)?;
    let flavour = board::load(&tree)?.boot;
    if flavour != order.flavour {
        bail!(
            "board {} does not boot as this installer thinks: use one made of its release",
            order.board
        );
    }
    birth::write(&tree, &etc_files(order)?)?;
    customize(&tree, &sysroot.var_dir())?;
    let mut boot = OnDisk::in_folder(flavour, target.boot(), target.trial()?);
    install::boot_first(sysroot, &mut boot, commit, new.clone())?;
    if install::verified_slot(sysroot, &boot, Slot::A)?.deployment != new {
        bail!("slot a does not hold the deployment that was just made");
    }
    Ok(new)
}

fn etc_files(order: &Order) -> Result<Vec<EtcFile>> {
    let mut files = order.etc.clone();
    files.extend(
        order
            .terms
            .url
            .as_ref()
            .map(|url| EtcFile::source(url, &order.terms.channel)),
    );
    if !order.terms.kernel_arguments.is_empty() {
        let text = kargs::to_text(&order.terms.kernel_arguments)?;
        files.push(EtcFile::text(kargs::PATH, text));
    }
    Ok(files)
}

fn installed(plan: &Plan, deployment: &str) -> Installed {
    let manifest = plan.candidate.manifest();
    Installed {
        device: plan.drive.device.clone(),
        board: manifest.board.clone(),
        channel: manifest.channel.clone(),
        sequence: manifest.sequence,
        version: manifest.version.clone(),
        commit: manifest.commit.clone(),
        deployment: deployment.to_owned(),
    }
}

/// The floors hold from the first day on.
fn write_state(plan: &Plan, var: &Path, installed: &Installed) -> Result<()> {
    let dir = var.join(STATE_DIR);
    let mut state = State::default();
    state.saw(plan.candidate.manifest());
    state.root_version = plan.root.version();
    state::save(&dir, &state)?;
    copy_roots(&plan.order.work.join("root"), &dir.join("root"))?;
    let entry = Entry {
        at: device::now()?,
        event: Event::Installed,
        slot: Some(Slot::A),
        commit: Some(installed.commit.clone()),
        version: Some(installed.version.clone()),
        detail: format!("onto {}", plan.drive),
    };
    history::append(&dir, &entry)
}

fn copy_roots(from: &Path, to: &Path) -> Result<()> {
    for version in trust::versions(from)? {
        let name = trust::file_name(version);
        let path = from.join(&name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
        crate::durable::write(&to.join(&name), &bytes)?;
    }
    Ok(())
}
