//! What child processes take while they run: memory together, and room on a disk. Looked at ten times a second.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

const PERIOD: Duration = Duration::from_millis(100);

/// Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Of all children together; what they share counts once.
    pub memory: u64,
    /// Less free space than before, on the file system of a folder: of everybody who writes there.
    pub disk: u64,
}

/// Does `act` and says what its children took at most.
pub fn watch<T>(dir: &Path, act: impl FnOnce() -> Result<T>) -> Result<(T, Peak)> {
    let before = free(dir)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| -> Result<Peak> {
            let mut peak = Peak::default();
            while !done.load(Ordering::Relaxed) {
                peak.memory = peak.memory.max(memory(std::process::id())?);
                peak.disk = peak.disk.max(before.saturating_sub(free(dir)?));
                thread::park_timeout(PERIOD);
            }
            Ok(peak)
        });
        let value = act();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        let peak = watcher
            .join()
            .map_err(|_| anyhow!("the watcher panicked"))?;
        Ok((value?, peak?))
    })
}

/// Does `act` and says how many bytes its children have given to file systems, also those of files that are gone.
pub fn written<T>(act: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let before = given()?;
    let value = act()?;
    Ok((value, given()?.saturating_sub(before)))
}

/// By this process and by all children that it has waited for.
fn given() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io").context("reading /proc/self/io")?;
    number(&io, "write_bytes:").context("/proc/self/io has no write_bytes")
}

fn free(dir: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(dir)
        .with_context(|| format!("asking for the free space of {}", dir.display()))?;
    Ok(found.f_bfree * found.f_frsize)
}

/// Of the descendants of a process. One that ends meanwhile has none.
fn memory(of: u32) -> Result<u64> {
    let mut parents: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        parents.extend(pid.and_then(|pid| Some((pid, parent_of(pid)?))));
    }
    let is_ours = |pid: u32| {
        let mut above = parents.get(&pid);
        while let Some(&parent) = above {
            if parent == of {
                return true;
            }
            above = parents.get(&parent).filter(|next| **next != parent);
        }
        false
    };
    let pids = parents.keys().copied().filter(|&pid| is_ours(pid));
    Ok(pids.filter_map(proportional).sum())
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    number(&status, "PPid:")?.try_into().ok()
}

fn proportional(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(number(&rollup, "Pss:")? * 1024)
}

fn number(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;

    #[test]
    fn what_a_child_takes_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); head -c 5000000 /dev/zero > \"$1\"; sync; sleep 0.5; echo ${#x}";
        let run = || Cmd::new("sh").args(["-c", script, "sh"]).arg(&file).text();
        let (said, peak) = watch(dir.path(), run).unwrap();
        assert_eq!(said.trim(), "20000000");
        assert!(peak.memory > 20_000_000, "{peak:?}");
    }

    #[test]
    fn what_a_child_writes_is_counted_though_it_is_gone() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = dir.path().join("f");
        let script = "head -c 5000000 /dev/zero > \"$1\"; rm \"$1\"";
        let run = || Cmd::new("sh").args(["-c", script, "sh"]).arg(&file).run();
        let ((), bytes) = written(run).unwrap();
        assert!(bytes >= 5_000_000, "{bytes}");
    }
}
