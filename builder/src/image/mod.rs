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
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::board::{self, BootFlavour};
use edge_ota::boot::OnDisk;
use edge_ota::fetch::{Limits, Location, Source};
use edge_ota::install;
use edge_ota::media::layout::{self, Layout};
use edge_ota::media::{self, Place, filesystems, firmware, uboot};
use edge_ota::sysroot::Sysroot;
use edge_ota::types::{BoardName, ChannelName, CommitChecksum};
use edge_ota::{pull, trust};

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
    /// More of the device's own files, as paths below `/etc`; upgrades carry them over.
    pub etc: &'a [(&'a str, Etc)],
    pub format: Format,
    /// Bytes
    pub size: u64,
    pub out: &'a Path,
    pub work: &'a WorkDir,
}

pub enum Etc {
    File(String),
    /// A symbolic link, and where it leads.
    Link(String),
}

/// Where the devices of this image look for their releases.
pub struct SourceOf {
    pub url: String,
    pub channel: ChannelName,
}

/// Makes the image; `out` appears only when it is whole.
pub fn make(request: &Request, progress: &Progress) -> Result<()> {
    let work = request.work.path();
    let (sysroot_dir, boot_dir) = (request.work.sub("sysroot")?, request.work.sub("boot")?);
    let trial = work.join("trial.img");
    let repo = Repo::open(&request.served.join("repo"))?;
    let time = repo.describe(request.commit)?.timestamp;
    filesystems::write_trial(&trial, work, time)?;

    let step = progress.step("installing slot a");
    let sysroot = pulled_sysroot(request, &sysroot_dir)?;
    let flavour = flavour_of(&repo, request.commit)?;
    let mut boot = OnDisk::in_folder(flavour, &boot_dir, &trial);
    let deployment = install::install_first(&sysroot, &mut boot, request.commit)?.deployment;
    sysroot.release_pulled()?;
    step.done();
    interrupt::check()?;

    let step = progress.step("writing the file systems");
    let tree = sysroot_dir
        .join("ostree/deploy/edge/deploy")
        .join(&deployment);
    if let Some(source) = request.source {
        write_source(&tree, source)?;
    }
    for (path, what) in request.etc {
        write_etc(&tree, path, what)?;
    }
    let raw = work.join("disk.raw");
    let blobs = firmware::of_tree(&tree)?;
    let layout = layout::layout(request.size, request.commit.as_str(), &blobs)?;
    let layout = match flavour {
        BootFlavour::Grub => layout,
        BootFlavour::Uboot => layout.for_uboot(),
    };
    make_file(&raw, layout.size)?;
    media::partition(&raw, &layout)?;
    let place = |partition| Place::in_image(&raw, partition);
    firmware::write(&raw, &blobs)?;
    copy_to(&trial, &raw, layout.trial.start)?;
    match flavour {
        BootFlavour::Grub => {
            let efi = tree.join("usr/lib/ostree-boot/efi");
            filesystems::write_esp(&place(&layout.esp), &efi, work, time)?;
        }
        BootFlavour::Uboot => write_uboot_scripts(&raw, &layout, &boot_dir, work, time)?,
    }
    filesystems::write_boot(&place(&layout.boot), &boot_dir, time)?;
    filesystems::write_root(&place(&layout.root), &sysroot_dir, &deployment, time)?;
    step.done();
    interrupt::check()?;

    let step = progress.step("writing the image");
    let stamp = Stamp {
        commit: request.commit,
        time,
    };
    deliver(&raw, &layout, request, stamp)?;
    step.done();
    Ok(())
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
    // libostree is given its URL, in which a relative path means nothing.
    let served = request.served.canonicalize();
    let served = served.with_context(|| format!("looking for {}", request.served.display()))?;
    let source = Source::new(Location::Folder(served), Limits::default())?;
    let root = trust::load_highest(request.keys)?;
    let verified =
        pull::fetch_commit(&source, &root, request.board, request.commit).with_context(|| {
            format!(
                "commit {} in {}",
                request.commit.short(),
                request.served.display()
            )
        })?;
    pull::pull(&sysroot, &source, &verified, |_| {})?;
    Ok(sysroot)
}

/// The device's own settings live in its `/etc`, which every upgrade carries over.
fn write_source(tree: &Path, source: &SourceOf) -> Result<()> {
    let text = format!(
        "[source]\nurl = {:?}\nchannel = {:?}\n",
        source.url,
        source.channel.as_str()
    );
    write_etc(tree, "edge-ota/config.d/10-source.toml", &Etc::File(text))
}

fn write_etc(tree: &Path, path: &str, what: &Etc) -> Result<()> {
    let path = tree.join("etc").join(path);
    let dir = path.parent().context("a path below etc has a folder")?;
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    match what {
        Etc::File(text) => fs::write(&path, text),
        Etc::Link(target) => symlink(target, &path),
    }
    .with_context(|| format!("writing {}", path.display()))
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
fn deliver(raw: &Path, layout: &Layout, request: &Request, stamp: Stamp) -> Result<()> {
    let map = match request.format.has_map() {
        true => Some(bmap::of_disk(raw, layout)?),
        false => None,
    };
    let partial = partial_name(request.out)?;
    if let Err(error) = formats::write(raw, request.format, stamp, &partial) {
        // What is half written is of no use; the error that matters is the one at hand.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    if let Some(map) = map {
        let path = bmap::beside(request.out);
        fs::write(&path, map).with_context(|| format!("writing {}", path.display()))?;
    }
    fs::rename(&partial, request.out).with_context(|| format!("writing {}", request.out.display()))
}

fn partial_name(out: &Path) -> Result<PathBuf> {
    match out.file_name() {
        Some(name) => Ok(out.with_file_name(format!(".{}.partial", name.to_string_lossy()))),
        None => bail!("{} is no file name", out.display()),
    }
}
