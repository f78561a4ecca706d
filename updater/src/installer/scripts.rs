//! The scripts of a kickstart file: in the installer, or in the system that is being installed.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

use super::report::Report;
use crate::cmd::Cmd;
use crate::kickstart::{RunsIn, Script};

/// Where a script lies while it runs, below the root of the system it runs in.
const PLACE: &str = "run/edge-kickstart";

/// The system that is being installed, as a script of it sees it.
pub struct Installed<'a> {
    /// The deployment's folder.
    pub tree: &'a Path,
    /// What becomes `/var`.
    pub var: &'a Path,
}

/// Runs scripts one after the other in the installer whose root is `root`; those of the system by chroot.
pub fn run(
    scripts: &[Script],
    root: &Path,
    installed: Option<&Installed>,
    report: &Report,
) -> Result<()> {
    for script in scripts {
        report.tell("script", &format!("{}, {}", script.at, script.interpreter));
        let done = match (script.runs_in, installed) {
            (RunsIn::Installer, _) => in_installer(script, root),
            (RunsIn::System, Some(installed)) => in_system(script, installed),
            (RunsIn::System, None) => bail!("{}: there is no system to run it in", script.at),
        };
        match done.with_context(|| format!("script of {}", script.at)) {
            Err(error) if !script.error_on_fail => {
                report.tell("script failed", &format!("{error:#}; going on"));
            }
            other => other?,
        }
    }
    Ok(())
}

fn in_installer(script: &Script, root: &Path) -> Result<()> {
    let file = write(script, root)?;
    let log = script
        .log
        .as_deref()
        .map(|log| root.join(log.trim_start_matches('/')));
    let done = execute(Cmd::new(&script.interpreter).arg(&file), log.as_deref());
    fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    done
}

fn in_system(script: &Script, installed: &Installed) -> Result<()> {
    let _mounts = Mounts::make(installed)?;
    write(script, installed.tree)?;
    let log = script.log.as_deref().map(|log| inside(installed, log));
    let command = Cmd::new("chroot")
        .arg(installed.tree)
        .arg(&script.interpreter)
        .arg(format!("/{PLACE}"))
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin");
    execute(command, log.as_deref())
}

/// Links of the tree, such as `/root`, lead from its own root.
fn inside(installed: &Installed, path: &str) -> PathBuf {
    let path = path.trim_start_matches('/');
    match path.strip_prefix("root/") {
        Some(rest) => installed.var.join("roothome").join(rest),
        None => installed.tree.join(path),
    }
}

fn write(script: &Script, root: &Path) -> Result<PathBuf> {
    let file = root.join(PLACE);
    let act = || -> std::io::Result<()> {
        fs::create_dir_all(file.parent().unwrap_or(root))?;
        fs::write(&file, &script.text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700))
    };
    act().with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// What it prints goes to its log, or to the console.
fn execute(command: Cmd, log: Option<&Path>) -> Result<()> {
    let shown = command.to_string();
    let status = match log {
        None => command.status_inherited()?,
        Some(path) => {
            let act = || -> std::io::Result<(File, File)> {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                let file = File::create(path)?;
                Ok((file.try_clone()?, file))
            };
            let (out, err) = act().with_context(|| format!("making {}", path.display()))?;
            let mut child = command.spawn(out.into(), err.into())?;
            child
                .wait()
                .with_context(|| format!("waiting for {shown}"))?
        }
    };
    match status.success() {
        true => Ok(()),
        false => bail!("{shown} ended with {status}"),
    }
}

/// What a chroot needs; gone again when it is dropped, the last first.
struct Mounts(Vec<PathBuf>);

impl Mounts {
    fn make(installed: &Installed) -> Result<Self> {
        let tree = installed.tree;
        let mut mounts = Self(Vec::new());
        homes(installed.var)?;
        mounts.add(&tree.join("var"), |at| mount_bind(installed.var, at))?;
        mounts.add(&tree.join("proc"), |at| {
            mount("proc", at, "proc", MountFlags::empty(), c"")
        })?;
        for name in ["dev", "sys"] {
            mounts.add(&tree.join(name), |at| {
                mount_bind_recursive(Path::new("/").join(name), at)
            })?;
        }
        mounts.add(&tree.join("run"), |at| {
            mount("tmpfs", at, "tmpfs", MountFlags::empty(), c"mode=0755")
        })?;
        // A file of /usr is an object of the repository, and of every other tree that has it.
        let usr = tree.join("usr");
        mounts.add(&usr, |at| mount_bind(at, at))?;
        mount_remount(&usr, MountFlags::BIND | MountFlags::RDONLY, c"")
            .with_context(|| format!("protecting {}", usr.display()))?;
        if fs::metadata("/etc/resolv.conf").is_ok() {
            let link = tree.join("run/systemd/resolve");
            fs::create_dir_all(&link).with_context(|| format!("making {}", link.display()))?;
            let copy = link.join("stub-resolv.conf");
            fs::copy("/etc/resolv.conf", &copy)
                .with_context(|| format!("writing {}", copy.display()))?;
        }
        Ok(mounts)
    }

    fn add(&mut self, at: &Path, act: impl FnOnce(&Path) -> rustix::io::Result<()>) -> Result<()> {
        act(at).with_context(|| format!("mounting {}", at.display()))?;
        self.0.push(at.to_owned());
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in self.0.iter().rev() {
            // A process that a script left behind must not keep the installation from its end.
            let _ = unmount(at, UnmountFlags::DETACH);
        }
    }
}

/// As the tree's tmpfiles will have them at the first boot.
fn homes(var: &Path) -> Result<()> {
    for (name, mode) in [("roothome", 0o700), ("tmp", 0o1777), ("log", 0o755)] {
        let dir = var.join(name);
        if dir.is_dir() {
            continue;
        }
        let act = || -> std::io::Result<()> {
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode))
        };
        act().with_context(|| format!("making {}", dir.display()))?;
    }
    Ok(())
}
