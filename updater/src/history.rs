//! What happened on a device, one JSON object a line, for people and machines.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::refusal::utc;
use crate::types::{CommitChecksum, Slot};

/// Older entries are dropped.
pub const MAX_ENTRIES: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Unix seconds.
    pub at: u64,
    pub event: Event,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitChecksum>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    Installed,
    Staged,
    Armed,
    TrialStarted,
    Good,
    Bad,
    /// An operator went back.
    RolledBack,
    /// The loader went back from a trial without a verdict.
    WentBack,
    /// The loader could not boot the default and took the other slot.
    Fallback,
    Rejected,
    Refused,
    /// Damage was repaired.
    Repaired,
    /// A first boot was set up.
    FirstBoot,
    /// `/etc` is the release's again, and perhaps `/var` is empty.
    Reset,
    /// Of a newer release than this one.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Event::Installed => "installed",
            Event::Staged => "staged",
            Event::Armed => "armed",
            Event::TrialStarted => "trial started",
            Event::Good => "good",
            Event::Bad => "bad",
            Event::RolledBack => "rolled back",
            Event::WentBack => "went back",
            Event::Fallback => "fallback",
            Event::Rejected => "rejected",
            Event::Refused => "refused",
            Event::Repaired => "repaired",
            Event::FirstBoot => "first boot",
            Event::Reset => "reset",
            Event::Unknown => "unknown",
        })
    }
}

/// Adds an entry to the history in `dir`, durably.
pub fn append(dir: &Path, entry: &Entry) -> Result<()> {
    let path = path(dir);
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let line = serde_json::to_string(entry).context("writing a history entry")? + "\n";
    let before = read(&path)?;
    let whole = before.is_empty() || before.ends_with('\n');
    if whole && before.lines().count() < MAX_ENTRIES {
        let act = || -> io::Result<()> {
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        act().with_context(|| format!("writing {}", path.display()))?;
        return durable::sync_dir(dir);
    }
    let lines: Vec<&str> = complete(&before).chain([line.as_str()]).collect();
    let kept: String = lines
        .iter()
        .skip(lines.len().saturating_sub(MAX_ENTRIES))
        .copied()
        .collect();
    durable::write(&path, kept.as_bytes())
}

/// The entries in `dir`, oldest first. A line that a power cut tore is left out.
pub fn load(dir: &Path) -> Result<Vec<Entry>> {
    let text = read(&path(dir))?;
    let entries = complete(&text).filter_map(|line| serde_json::from_str(line).ok());
    Ok(entries.collect())
}

/// For people, one line an entry.
pub fn table(entries: &[Entry]) -> String {
    let mut table = String::new();
    for entry in entries {
        let slot = entry.slot.map_or("-", Slot::as_str);
        let commit = entry.commit.as_ref().map_or("-", CommitChecksum::short);
        let version = printable(entry.version.as_deref().unwrap_or("-"));
        let detail = printable(&entry.detail);
        let (at, event) = (utc(entry.at), entry.event);
        let line = format!("{at}  {event:<13}  {slot}  {commit:<12}  {version:<16}  {detail}");
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// For machines: one JSON array.
pub fn json(entries: &[Entry]) -> Result<String> {
    serde_json::to_string_pretty(entries).context("writing the history")
}

fn path(dir: &Path) -> PathBuf {
    dir.join("history.jsonl")
}

fn read(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}

fn complete(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
}

/// What a check printed may hold anything, also what moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64) -> Entry {
        Entry {
            at,
            event: Event::TrialStarted,
            slot: Some(Slot::B),
            commit: Some("a".repeat(64).parse().unwrap()),
            version: Some("13.20261122.0".to_owned()),
            detail: "2 tries left".to_owned(),
        }
    }

    #[test]
    fn entries_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        assert_eq!(load(&dir).unwrap(), []);
        append(&dir, &entry(1)).unwrap();
        append(&dir, &entry(2)).unwrap();
        assert_eq!(load(&dir).unwrap(), [entry(1), entry(2)]);
    }

    #[test]
    fn only_the_last_entries_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let line = serde_json::to_string(&entry(0)).unwrap() + "\n";
        fs::write(path(dir.path()), line.repeat(MAX_ENTRIES - 1)).unwrap();
        for at in 1..=3 {
            append(dir.path(), &entry(at)).unwrap();
        }
        let entries = load(dir.path()).unwrap();
        assert_eq!(entries.len(), MAX_ENTRIES);
        assert_eq!(entries[MAX_ENTRIES - 1], entry(3));
        assert_eq!(entries[MAX_ENTRIES - 4], entry(0));
    }

    #[test]
    fn a_cut_at_any_byte_loses_the_last_entry_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lines = [1, 2].map(|at| serde_json::to_string(&entry(at)).unwrap() + "\n");
        for cut in 0..lines[1].len() {
            fs::write(path(dir.path()), [&lines[0], &lines[1][..cut]].concat()).unwrap();
            assert_eq!(load(dir.path()).unwrap(), [entry(1)], "{cut}");
            append(dir.path(), &entry(3)).unwrap();
            assert_eq!(load(dir.path()).unwrap(), [entry(1), entry(3)], "{cut}");
        }
    }

    #[test]
    fn events_of_a_newer_release_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            path(dir.path()),
            "{\"at\":1,\"event\":\"teleported\",\"to\":\"mars\"}\n",
        )
        .unwrap();
        let entries = load(dir.path()).unwrap();
        assert_eq!(
            table(&entries),
            "1970-01-01T00:00:01Z  unknown        -  -             -\n"
        );
        append(dir.path(), &entry(2)).unwrap();
        assert!(read(&path(dir.path())).unwrap().contains("mars"));
    }

    #[test]
    fn output_for_people_and_machines() {
        let mut entry = entry(1_790_000_000);
        let expected = "2026-09-21T14:13:20Z  trial started  b  aaaaaaaaaaaa  13.20261122.0     2 tries left\n";
        assert_eq!(table(std::slice::from_ref(&entry)), expected);
        let text = json(std::slice::from_ref(&entry)).unwrap();
        assert!(text.contains("\"event\": \"trial-started\""), "{text}");
        entry.detail = "\u{1b}[2J\nx".to_owned();
        assert!(table(&[entry]).ends_with("   [2J x\n"));
        assert_eq!(json(&[]).unwrap(), "[]");
    }
}
