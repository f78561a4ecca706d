//! A disk image of a release. Slot a is written by the code that upgrades a device, into a sysroot in
//! a folder; the folder becomes the root file system.

pub mod bmap;
mod ext4;
mod formats;
mod guid;
mod vhd;
mod vhdx;
mod vmdk;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use edge_ota::birth::{self, EtcFile};
use edge_ota::board::{self, BootFlavour};
use edge_ota::boot::OnDisk;
use edge_ota::fetch::{Limits, Location, Source};
use edge_ota::install;
use edge_ota::media::layout::{self, Layout};
use edge_ota::media::{self, Place, filesystems, firmware, uboot};
use edge_ota::sysroot::Sysroot;
use edge_ota::types::{BoardName, ChannelName, CommitChecksum};
use edge_ota::{pull, trust};
use tempfile::TempPath;

use crate::interrupt::{self, WorkDir};
use crate::progress::Progress;
use crate::repo::Repo;
use formats::Stamp;
pub use formats::{Format, qemu_driver};

pub struct Request<'a> {
    pub board: &'a BoardName,
    /// The folder that holds `repo/`.
    pub served: &'a Path,
    /// The folder of the root documents to trust.
    pub keys: &'a Path,
    pub commit: &'a CommitChecksum,
    pub source: Option<&'a SourceOf>,
    /// More of the device's own files.
    pub etc: &'a [EtcFile],
    pub format: Format,
    /// Bytes
    pub size: u64,
    /// Bytes of a partition for `/var`, if it is to have one.
    pub var: Option<u64>,
    pub out: &'a Path,
    pub work: &'a WorkDir,
}

/// Where the devices of this image look for their releases.
pub struct SourceOf {
    pub url: String,
    pub channel: ChannelName,
}

/// Makes the image; `out` appears only when it is whole.
pub fn make(request: &Request, progress: &Progress) -> Result<()> {
    let repo = Repo::open(&request.served.join("repo"))?;
    let stamp = Stamp {
        commit: request.commit,
        time: repo.describe(request.commit)?.timestamp,
    };

    let step = progress.step("installing slot a");
    let slot = install_slot(request, &repo, stamp.time)?;
    step.done();
    interrupt::check()?;

    let step = progress.step("writing the file systems");
    let partial = TempPath::try_from_path(partial_name(request.out)?)
        .with_context(|| format!("writing {}", request.out.display()))?;
    let raw = match request.format {
        // Where it stays: nothing of its size is copied.
        Format::Raw => partial.to_path_buf(),
        _ => request.work.path().join("disk.raw"),
    };
    let layout = slot.write_disk(&raw, request, stamp.time)?;
    step.done();
    interrupt::check()?;

    let step = progress.step("writing the image");
    thread::scope(|scope| {
        let removed = scope.spawn(|| slot.remove());
        deliver(&raw, partial, &layout, request, stamp)?;
        joined(removed)
    })?;
    step.done();
    Ok(())
}

/// What mounts the partition for `/var`.
const VAR_UNIT: &str = "usr/lib/systemd/system/edge-ota-var.service";

/// What becomes the partitions of the disk.
struct InstalledSlot {
    flavour: BootFlavour,
    deployment: String,
    sysroot: PathBuf,
    boot: PathBuf,
    trial: PathBuf,
}

fn install_slot(request: &Request, repo: &Repo, time: u64) -> Result<InstalledSlot> {
    let work = request.work;
    let mut slot = InstalledSlot {
        flavour: flavour_of(repo, request.commit)?,
        deployment: String::new(),
        sysroot: work.sub("sysroot")?,
        boot: work.sub("boot")?,
        trial: work.path().join("trial.img"),
    };
    filesystems::write_trial(&slot.trial, work.path(), time)?;
    let sysroot = pulled_sysroot(request, &slot.sysroot)?;
    let mut boot = OnDisk::in_folder(slot.flavour, &slot.boot, &slot.trial);
    let own = own_files(request);
    slot.deployment = install::install_first(&sysroot, &mut boot, request.commit, |tree| {
        birth::write(tree, &own)
    })?
    .deployment;
    sysroot.release_pulled()?;
    Ok(slot)
}

impl InstalledSlot {
    fn tree(&self) -> PathBuf {
        let deployments = self.sysroot.join("ostree/deploy/edge/deploy");
        deployments.join(&self.deployment)
    }

    fn write_disk(&self, raw: &Path, request: &Request, time: u64) -> Result<Layout> {
        let blobs = firmware::of_tree(&self.tree())?;
        let layout = layout::layout(request.size, request.commit.as_str(), &blobs)?;
        let layout = match self.flavour {
            BootFlavour::Grub => layout,
            BootFlavour::Uboot => layout.for_uboot(),
        };
        let layout = self.with_var(layout, request)?;
        make_file(raw, layout.size)?;
        media::partition(raw, &layout)?;
        firmware::write(raw, &blobs)?;
        copy_to(&self.trial, raw, layout.trial.start)?;
        thread::scope(|scope| {
            let place = Place::in_image(raw, &layout.root);
            let root = scope.spawn(move || {
                filesystems::write_root(&place, &self.sysroot, &self.deployment, time)
            });
            self.write_loader(raw, &layout, request.work.path(), time)?;
            let boot = Place::in_image(raw, &layout.boot);
            filesystems::write_boot(&boot, &self.boot, time)?;
            if let Some(var) = &layout.var {
                let from = self.sysroot.join("ostree/deploy/edge/var");
                filesystems::write_var(&Place::in_image(raw, var), &from, time)?;
            }
            joined(root)
        })?;
        Ok(layout)
    }

    fn with_var(&self, layout: Layout, request: &Request) -> Result<Layout> {
        let Some(size) = request.var else {
            return Ok(layout);
        };
        if !self.tree().join(VAR_UNIT).is_file() {
            bail!(
                "commit {} does not know of a partition for /var (it has no {VAR_UNIT}): compose it with this release of edge-ota",
                request.commit.short()
            );
        }
        layout.with_var(size, request.commit.as_str())
    }

    fn write_loader(&self, raw: &Path, layout: &Layout, work: &Path, time: u64) -> Result<()> {
        let efi = self.tree().join("usr/lib/ostree-boot/efi");
        match self.flavour {
            BootFlavour::Grub => {
                filesystems::write_esp(&Place::in_image(raw, &layout.esp), &efi, work, time)
            }
            BootFlavour::Uboot => write_uboot_scripts(raw, layout, &self.boot, work, time),
        }
    }

    /// What the disk has by now.
    fn remove(&self) -> Result<()> {
        let dir = &self.sysroot;
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))
    }
}

fn joined(thread: ScopedJoinHandle<Result<()>>) -> Result<()> {
    let panicked = |_| Err(anyhow!("a thread panicked"));
    thread.join().unwrap_or_else(panicked)
}

/// The sysroot has the tree's content by checksum, and no file of it by name before it is deployed.
fn flavour_of(repo: &Repo, commit: &CommitChecksum) -> Result<BootFlavour> {
    let text = repo.read(commit, board::PATH)?;
    let board = board::parse(&text).with_context(|| format!("parsing {}", board::PATH))?;
    Ok(board.boot)
}

fn write_uboot_scripts(
    raw: &Path,
    layout: &Layout,
    boot_dir: &Path,
    work: &Path,
    time: u64,
) -> Result<()> {
    let script = uboot::make_script(layout, work)?;
    uboot::write_fat(&Place::in_image(raw, &layout.esp), &script, time)?;
    let spare = boot_dir.join(uboot::SCRIPT);
    fs::copy(&script, &spare)
        .map(drop)
        .with_context(|| format!("writing {}", spare.display()))
}

fn pulled_sysroot(request: &Request, dir: &Path) -> Result<Sysroot> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("opening {}", dir.display()))?;
    let sysroot = Sysroot::create(dir)?;
    sysroot.without_sync();
    // libostree is given its URL, in which a relative path means nothing.
    let served = request.served.canonicalize();
    let served = served.with_context(|| format!("looking for {}", request.served.display()))?;
    let source = Source::new(Location::Folder(served.clone()), Limits::default())?;
    let root = trust::load_highest(request.keys)?;
    let verified =
        pull::fetch_commit(&source, &root, request.board, request.commit).with_context(|| {
            format!(
                "commit {} in {}",
                request.commit.short(),
                request.served.display()
            )
        })?;
    sysroot.copy_objects(&served.join("repo"), verified.info())?;
    pull::pull(&sysroot, &source, &verified, |_| {})?;
    Ok(sysroot)
}

fn own_files(request: &Request) -> Vec<EtcFile> {
    let source = request.source;
    let source = source.map(|source| EtcFile::source(&source.url, &source.channel));
    source
        .into_iter()
        .chain(request.etc.iter().cloned())
        .collect()
}

fn make_file(raw: &Path, size: u64) -> Result<()> {
    File::create(raw)
        .and_then(|file| file.set_len(size))
        .with_context(|| format!("making {}", raw.display()))
}

fn copy_to(from: &Path, disk: &Path, start: u64) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    edge_ota::durable::overwrite(disk, start, &bytes)
}

/// The map first: an image that is there is whole.
fn deliver(
    raw: &Path,
    partial: TempPath,
    layout: &Layout,
    request: &Request,
    stamp: Stamp,
) -> Result<()> {
    let out = request.out;
    if request.format.has_map() {
        let (path, map) = (bmap::beside(out), bmap::of_disk(raw, layout)?);
        fs::write(&path, map).with_context(|| format!("writing {}", path.display()))?;
    }
    formats::write(raw, request.format, stamp, &partial)?;
    let done = partial.persist(out);
    done.with_context(|| format!("writing {}", out.display()))
}

fn partial_name(out: &Path) -> Result<PathBuf> {
    match out.file_name() {
        Some(name) => Ok(out.with_file_name(format!(".{}.partial", name.to_string_lossy()))),
        None => bail!("{} is no file name", out.display()),
    }
}
