//! Ctrl-C and SIGTERM: children are ended, the call that waits for them fails, and the error
//! unwinds through the guards that clean up. A second signal ends the process at once.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io, thread};

use anyhow::{Context, Result};
use edge_ota::cmd;
use rustix::fs::IFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

/// The exit code of a program that a signal asked to stop: 128 + SIGINT.
pub const EXIT_CODE: i32 = 130;

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// The work was stopped by a signal.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Takes the signals over for the rest of the process.
pub fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("taking over the signals")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            if HAPPENED.swap(true, Ordering::SeqCst) {
                process::exit(EXIT_CODE);
            }
            cmd::stop_children();
        }
    });
    Ok(())
}

pub fn happened() -> bool {
    HAPPENED.load(Ordering::SeqCst)
}

/// To be called in long loops.
pub fn check() -> Result<(), Interrupted> {
    if happened() { Err(Interrupted) } else { Ok(()) }
}

/// A folder for the files of one run, removed with all that is in it.
pub struct WorkDir {
    dir: TempDir,
}

impl WorkDir {
    /// A new folder in `parent`, which is made if need be.
    pub fn new_in(parent: &Path) -> Result<Self> {
        let act = || -> io::Result<TempDir> {
            fs::create_dir_all(parent)?;
            spread_apart(parent);
            // Relative paths would change their meaning for children with a folder of their own.
            tempfile::Builder::new()
                .prefix("run-")
                .tempdir_in(parent.canonicalize()?)
        };
        let dir = act().with_context(|| format!("making a work folder in {}", parent.display()))?;
        Ok(Self { dir })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new folder inside.
    pub fn sub(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }
}

/// Asks ext4 to place the folders in here apart from each other. It does not use an inode again within minutes of its
/// deletion, and where one run's files lay it looks past each of them for every new file of the next.
fn spread_apart(parent: &Path) {
    let act = || -> io::Result<()> {
        let folder = fs::File::open(parent)?;
        let flags = rustix::fs::ioctl_getflags(&folder)?;
        Ok(rustix::fs::ioctl_setflags(&folder, flags | IFlags::TOPDIR)?)
    };
    // Other file systems have no such flag and no such delay.
    let _ = act();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_folder_goes_with_its_content() {
        let parent = tempfile::tempdir().unwrap();
        let work = WorkDir::new_in(&parent.path().join("new")).unwrap();
        let path = work.sub("a").unwrap();
        fs::write(path.join("f"), "x").unwrap();
        drop(work);
        assert_eq!(fs::read_dir(parent.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn an_impossible_place_is_named() {
        let Err(error) = WorkDir::new_in(Path::new("/proc/none")) else {
            panic!("made")
        };
        assert!(format!("{error:#}").contains("/proc/none"), "{error:#}");
    }
}
