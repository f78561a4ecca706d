//! What the commands of provisioning do with their arguments.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_build::interrupt;
use edge_build::progress::Progress;
use edge_build::provision::installer::{self, Installer};
use edge_build::provision::iso::{self, Iso, Label};
use edge_build::release;
use edge_build::repo::Repo;
use edge_build::summary::{self, Artefact};
use edge_ota::output;
use edge_ota::types::CommitChecksum;
use serde::Serialize;

use super::{board, served, work_dir};
use crate::cli::{self, Cli};

pub fn installer(cli: &Cli, args: &cli::Installer) -> Result<()> {
    interrupt::install()?;
    let text = args.kickstart.as_deref().map(read).transpose()?;
    let board = board(cli, &args.board)?;
    let mut kernel_arguments = args.kernel_arguments.clone();
    if let Some(url) = &args.url {
        kernel_arguments.push(format!("edge.url={url}"));
        kernel_arguments.push(format!("edge.channel={}", args.channel));
    }
    let request = installer::Request {
        board: &board,
        served: served(&args.repo)?,
        keys: &args.keys,
        commit: &commit(args)?,
        kickstart: text.as_deref(),
        kernel_arguments: &kernel_arguments,
        out: &args.out,
        work: &work_dir(cli)?,
    };
    let made = installer::make(&request, &Progress::new("installer"))?;
    let iso = args.iso.as_deref();
    let iso = iso.map(|iso| write_iso(&request, &made, &args.label, iso));
    let iso = iso.transpose()?;
    match (args.json, &iso) {
        (true, _) => output::line(serde_json::to_string_pretty(&Made {
            installer: &made,
            iso,
        })?)?,
        (false, Some(iso)) => output::line(format_args!("{}\n{}", args.out.display(), iso.path))?,
        (false, None) => output::line(args.out.display())?,
    }
    Ok(())
}

#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    installer: &'a Installer,
    #[serde(skip_serializing_if = "Option::is_none")]
    iso: Option<Artefact>,
}

/// The release is taken from the medium; what the device follows is said by the other arguments.
fn write_iso(
    request: &installer::Request,
    made: &Installer,
    label: &Label,
    out: &Path,
) -> Result<Artefact> {
    let progress = Progress::new("installer");
    let step = progress.step("writing the medium");
    let mut kernel_arguments = made.kernel_arguments.clone();
    kernel_arguments.push(format!("edge.bundle=LABEL={label}"));
    let repo = Repo::open(&request.served.join("repo"))?;
    let iso = Iso {
        title: &format!("Install {} on {}", made.version, made.board),
        kernel: &request.out.join(&made.kernel.path),
        initramfs: &request.out.join(&made.initramfs.path),
        kernel_arguments: &kernel_arguments,
        efi: &request.work.path().join("tree/usr/lib/ostree-boot/efi"),
        bios: grub_of_bios(made)?,
        served: request.served,
        label,
        commit: request.commit,
        time: repo.describe(request.commit)?.timestamp,
    };
    iso::write(&iso, request.work, out)?;
    step.done();
    summary::artefact(out)
}

/// Debian's place for it.
fn grub_of_bios(made: &Installer) -> Result<Option<&'static Path>> {
    let modules = Path::new("/usr/lib/grub/i386-pc");
    match (made.arch.as_str(), modules.is_dir()) {
        ("x86_64", true) => Ok(Some(modules)),
        ("x86_64", false) => bail!("{} is not there: install grub-pc-bin", modules.display()),
        _ => Ok(None),
    }
}

fn commit(args: &cli::Installer) -> Result<CommitChecksum> {
    if let Some(commit) = &args.commit {
        return Ok(commit.clone());
    }
    let served = served(&args.repo)?;
    let offered = release::offered(served, &args.keys, &args.channel, &args.board)?;
    let offered = offered.with_context(|| {
        let (channel, board) = (&args.channel, &args.board);
        format!("channel {channel} offers board {board} nothing: name a --commit")
    })?;
    Ok(offered.commit)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
