//! A medium that starts an installer and holds the releases that it installs from: an ISO image for an optical drive
//! and, byte for byte, for a stick. UEFI starts what the distribution signed, BIOS a GRUB of ours.

mod bios;
mod script;
mod uefi;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::media::layout::uuid;
use edge_ota::types::CommitChecksum;
use tempfile::TempPath;

use crate::interrupt::WorkDir;

pub struct Iso<'a> {
    /// Shown in the menu.
    pub title: &'a str,
    pub kernel: &'a Path,
    pub initramfs: &'a Path,
    pub kernel_arguments: &'a [String],
    /// The folder with the tree's `EFI`: shim and GRUB.
    pub efi: &'a Path,
    /// GRUB's folder `i386-pc`, for machines of an architecture that knows BIOS.
    pub bios: Option<&'a Path>,
    /// The folder with `repo/`, `root/` and `channels/`; they lie in `/` of the medium.
    pub served: &'a Path,
    /// By which the loaders and the installer find the medium.
    pub label: &'a Label,
    /// Ids come from it.
    pub commit: &'a CommitChecksum,
    /// Of everything on the medium, in seconds of Unix.
    pub time: u64,
}

/// The name of a volume: ISO 9660 has 32 characters for it, of which these need no quoting anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

impl std::str::FromStr for Label {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        ensure!(
            (1..=32).contains(&text.len()) && text.chars().all(known),
            "'{text}' is no label of a medium: it has 1 to 32 of A to Z, 0 to 9 and _"
        );
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the loaders find things on the medium.
const KERNEL: &str = "/boot/vmlinuz";
const INITRAMFS: &str = "/boot/initramfs.img";
const SCRIPT: &str = "/boot/grub/grub.cfg";
const ELTORITO: &str = "/boot/grub/eltorito.img";

/// What of a served folder a machine reads.
const SERVED: [&str; 3] = ["repo", "root", "channels"];

/// Writes the image; `out` appears only when it is whole.
pub fn write(iso: &Iso, work: &WorkDir, out: &Path) -> Result<()> {
    let dir = work.sub("iso")?;
    let script = put(&dir, "grub.cfg", script::menu(iso)?)?;
    let finder = put(&dir, "finder.cfg", script::finder(&iso.label.0))?;
    let esp = uefi::image(iso, &finder, &dir)?;
    let mut files = vec![
        (KERNEL.to_owned(), iso.kernel.to_owned()),
        (INITRAMFS.to_owned(), iso.initramfs.to_owned()),
        (SCRIPT.to_owned(), script),
    ];
    for folder in uefi::SCRIPTS {
        files.push((format!("{folder}/grub.cfg"), finder.clone()));
    }
    let mut loaders = Vec::new();
    if let Some(grub) = iso.bios {
        files.push((ELTORITO.to_owned(), bios::core(grub, &iso.label.0, &dir)?));
        loaders.extend(bios::arguments(grub));
    }
    loaders.extend(uefi::arguments(&esp));
    let name = out.file_name().context("an image needs a file name")?;
    let partial = out.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    let partial = TempPath::try_from_path(partial)?;
    xorriso(iso, &files, &loaders, &partial)?;
    let done = partial.persist(out);
    done.with_context(|| format!("writing {}", out.display()))
}

fn xorriso(iso: &Iso, files: &[(String, PathBuf)], loaders: &[String], to: &Path) -> Result<()> {
    let time = format!("={}", iso.time);
    let disk_id = uuid(iso.commit.as_str(), "iso").replace('-', "");
    let mut command = Cmd::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-o"])
        .arg(to)
        .args(["-V", &iso.label.0, "-iso-level", "3", "-r"])
        .args(["--set_all_file_dates", &time])
        .args(["--gpt_disk_guid", &disk_id])
        .args(loaders)
        .arg("-graft-points")
        .env("SOURCE_DATE_EPOCH", iso.time.to_string())
        .env("TZ", "UTC");
    for (at, from) in files {
        command = command.arg(graft(at, from)?);
    }
    for name in SERVED {
        let from = iso.served.join(name);
        ensure!(
            from.is_dir(),
            "{} holds no {name}/: the medium would install nothing",
            iso.served.display()
        );
        command = command.arg(graft(&format!("/{name}"), &from)?);
    }
    command.run()
}

/// `path on the medium=path here`, in which `=` and a backslash need one before them.
fn graft(at: &str, from: &Path) -> Result<String> {
    let from = from.to_str();
    let from = from.context("the path of a file for the medium is not UTF-8")?;
    Ok(format!(
        "{at}={}",
        from.replace('\\', "\\\\").replace('=', "\\=")
    ))
}

fn put(dir: &Path, name: &str, text: String) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests;
