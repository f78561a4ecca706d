//! What a device is given into its own `/etc` when it is installed; every upgrade carries it over.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

use crate::types::ChannelName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcFile {
    /// Below `/etc`.
    pub path: String,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text {
        text: String,
        mode: u32,
    },
    /// A symbolic link, and where it leads.
    Link(String),
}

impl EtcFile {
    /// A file that everybody may read.
    pub fn text(path: &str, text: impl Into<String>) -> Self {
        Self::with_mode(path, text, 0o644)
    }

    pub fn with_mode(path: &str, text: impl Into<String>, mode: u32) -> Self {
        Self {
            path: path.to_owned(),
            content: Content::Text {
                text: text.into(),
                mode,
            },
        }
    }

    pub fn link(path: &str, target: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            content: Content::Link(target.into()),
        }
    }

    /// Where the device looks for its releases.
    pub fn source(url: &str, channel: &ChannelName) -> Self {
        let channel = channel.as_str();
        Self::text(
            "edge-ota/config.d/10-source.toml",
            format!("[source]\nurl = {url:?}\nchannel = {channel:?}\n"),
        )
    }
}

/// Below `/etc`: copies of what the device was born with, for a factory reset.
const KEPT: &str = "edge-ota/birth";
/// What a reset takes along as it is: mounts beside ours, and on devices without copies where their releases come from.
const ALWAYS: [&str; 1] = ["fstab"];
const WITHOUT_COPIES: [&str; 2] = ["edge-ota/config.d/10-source.toml", "edge-ota/kargs"];

/// Writes them into a deployment's folder. What the tree has there is replaced.
pub fn write(tree: &Path, files: &[EtcFile]) -> Result<()> {
    files.iter().try_for_each(|file| {
        write_one(&tree.join("etc").join(KEPT), file)?;
        write_one(&tree.join("etc"), file)
    })
}

/// Gives a fresh deployment of a device what it was born with.
pub fn write_again(from: &Path, to: &Path) -> Result<()> {
    let (etc, fresh) = (from.join("etc"), to.join("etc"));
    copy_those(&etc, &fresh, &ALWAYS)?;
    let kept = etc.join(KEPT);
    if !kept.is_dir() {
        return copy_those(&etc, &fresh, &WITHOUT_COPIES);
    }
    copy_folder(&kept, &fresh)?;
    copy_folder(&kept, &fresh.join(KEPT))
}

fn copy_those(from: &Path, to: &Path, paths: &[&str]) -> Result<()> {
    let there = |path: &&&str| from.join(path).symlink_metadata().is_ok();
    paths.iter().filter(there).try_for_each(|path| {
        let folder = to.join(path);
        if let Some(folder) = folder.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        copy(&from.join(path), &to.join(path))
    })
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true => copy_folder(&from, &to)?,
            false => copy(&from, &to)?,
        }
    }
    Ok(())
}

/// With its mode.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let act = || -> std::io::Result<()> {
        if to.symlink_metadata().is_ok() {
            fs::remove_file(to)?;
        }
        match from.symlink_metadata()?.is_symlink() {
            true => symlink(fs::read_link(from)?, to),
            false => fs::copy(from, to).map(drop),
        }
    };
    act().with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn write_one(etc: &Path, file: &EtcFile) -> Result<()> {
    let below = Path::new(&file.path);
    if below
        .components()
        .any(|c| !matches!(c, Component::Normal(_)))
    {
        bail!("'{}' is not a path below /etc", file.path);
    }
    let path = etc.join(below);
    let act = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path)?;
        }
        match &file.content {
            Content::Link(target) => symlink(target, &path),
            Content::Text { text, mode } => {
                fs::write(&path, "")?;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
                fs::write(&path, text)
            }
        }
    };
    act().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_links_replace_what_is_there() {
        let tree = tempfile::tempdir().unwrap();
        let files = [
            EtcFile::text("hostname", "node\n"),
            EtcFile::with_mode("a/b/secret", "x", 0o600),
            EtcFile::link("localtime", "/usr/share/zoneinfo/UTC"),
            EtcFile::source("http://mirror.example/edge", &"stable".parse().unwrap()),
        ];
        for _ in 0..2 {
            write(tree.path(), &files).unwrap();
        }
        let etc = tree.path().join("etc");
        let secret = fs::metadata(etc.join("a/b/secret")).unwrap();
        assert_eq!(secret.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_link(etc.join("localtime")).unwrap(),
            Path::new("/usr/share/zoneinfo/UTC")
        );
        let settings = crate::config::load(tree.path()).unwrap();
        assert_eq!(settings.source.channel.as_str(), "stable");
        let fresh = tempfile::tempdir().unwrap();
        fs::create_dir(fresh.path().join("etc")).unwrap();
        fs::write(etc.join("hostname"), "edited").unwrap();
        fs::write(etc.join("fstab"), "theirs").unwrap();
        write_again(tree.path(), fresh.path()).unwrap();
        let read = |path: &str| fs::read_to_string(fresh.path().join("etc").join(path)).unwrap();
        assert_eq!(
            (read("hostname"), read("fstab")),
            ("node\n".to_owned(), "theirs".to_owned())
        );
        let again = fs::metadata(fresh.path().join("etc/a/b/secret")).unwrap();
        assert_eq!(again.permissions().mode() & 0o777, 0o600);
        write_again(fresh.path(), tree.path()).unwrap();
        for path in ["../x", "/x", ""] {
            let file = EtcFile::text(path, "");
            assert!(write(tree.path(), &[file]).is_err(), "{path}");
        }
    }
}
