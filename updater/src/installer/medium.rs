//! A file system of this machine that holds a kickstart file or a release: a stick, an optical disc, a partition.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::mount::MountFlags;

use super::target::Mounted;
use crate::cmd::Cmd;

/// A stick takes its time to appear.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Mounts it read-only at `at`. `partition` is `LABEL=…`, `UUID=…` or a device.
pub fn mount(partition: &str, at: &Path) -> Result<Mounted> {
    let device = wait_for(partition)?;
    let kind = Cmd::new("blkid")
        .args(["-p", "-o", "value", "-s", "TYPE"])
        .arg(&device)
        .text()?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    Mounted::with_flags(&device, at, kind.trim(), flags)
}

fn wait_for(partition: &str) -> Result<PathBuf> {
    let begin = Instant::now();
    loop {
        if let Some(device) = find(partition)? {
            return Ok(device);
        }
        if begin.elapsed() > PATIENCE {
            bail!(
                "no file system is {partition}, after {} s",
                PATIENCE.as_secs()
            );
        }
        thread::sleep(PAUSE);
    }
}

fn find(partition: &str) -> Result<Option<PathBuf>> {
    if partition.starts_with("/dev/") {
        let path = PathBuf::from(partition);
        return Ok(path.exists().then_some(path));
    }
    // Its cache would remember a stick that was pulled out.
    let found = Cmd::new("blkid")
        .args(["-c", "/dev/null", "-o", "device", "-t", partition])
        .complete()?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    Ok(text.lines().next().map(PathBuf::from))
}
