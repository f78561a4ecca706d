//! What remains of a rehearsal: a file beside the repository, for `release --require-rehearsal`. It keeps people from
//! publishing by accident what was never booted; it is not signed, for who may write it may publish as well.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::durable;
use edge_ota::types::{BoardName, CommitChecksum};
use serde::{Deserialize, Serialize};

pub const FORMAT: u32 = 1;

/// docs/formats.md. The commits are checksums of all that was booted.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Record {
    pub format: u32,
    pub board: BoardName,
    /// What the machine ran before; nothing where the release is the first.
    pub from: Option<CommitChecksum>,
    pub to: CommitChecksum,
    /// Unix seconds
    pub at: u64,
    pub memory_mib: u32,
    pub disk_bytes: u64,
    pub steps: Vec<Step>,
    /// The version of edge-build.
    pub builder: String,
    pub qemu: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Step {
    pub step: String,
    pub seconds: f64,
}

impl Record {
    /// Writes it below the folder that holds `repo/`, and returns where.
    pub fn save(&self, served: &Path) -> Result<PathBuf> {
        let path = path(served, &self.board, &self.to);
        let folder = path.parent().context("a record lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        durable::write(&path, &serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }
}

pub fn path(served: &Path, board: &BoardName, to: &CommitChecksum) -> PathBuf {
    served
        .join("rehearsals")
        .join(board.as_str())
        .join(format!("{to}.json"))
}

/// Fails unless `to` was rehearsed from what the channel offers now, `offered`. What it offers already must have been
/// rehearsed once, from whatever came before it.
pub fn require(
    served: &Path,
    board: &BoardName,
    to: &CommitChecksum,
    offered: Option<&CommitChecksum>,
) -> Result<()> {
    let path = path(served, board, to);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => bail!(
            "commit {} was not rehearsed on board {board}: {}",
            to.short(),
            remedy(board, to)
        ),
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    let record = parse(&text, board, to).with_context(|| path.display().to_string())?;
    if record.from.as_ref() == offered || offered == Some(to) {
        return Ok(());
    }
    let name = |commit: Option<&CommitChecksum>| match commit {
        Some(commit) => commit.short().to_owned(),
        None => "nothing".to_owned(),
    };
    bail!(
        "commit {} was rehearsed from {}, but the channel offers {} now: {}",
        to.short(),
        name(record.from.as_ref()),
        name(offered),
        remedy(board, to)
    )
}

fn remedy(board: &BoardName, to: &CommitChecksum) -> String {
    format!("run 'edge-build rehearse --board {board} --to {to}' with this --channel")
}

fn parse(text: &str, board: &BoardName, to: &CommitChecksum) -> Result<Record> {
    let record: Record = serde_json::from_str(text).context("it is no record of a rehearsal")?;
    if record.format != FORMAT {
        bail!("its format is {}, not {FORMAT}", record.format);
    }
    if record.board != *board || record.to != *to {
        bail!("it is of {} on board {}", record.to, record.board);
    }
    Ok(record)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn commit(digit: &str) -> CommitChecksum {
        digit.repeat(64).parse().unwrap()
    }

    pub(crate) fn record(from: Option<&str>, to: &str) -> Record {
        Record {
            format: FORMAT,
            board: "x86_64".parse().unwrap(),
            from: from.map(commit),
            to: commit(to),
            at: 7,
            memory_mib: 512,
            disk_bytes: 1 << 32,
            steps: vec![Step {
                step: "booting".to_owned(),
                seconds: 1.5,
            }],
            builder: "0.1.0".to_owned(),
            qemu: "QEMU emulator version 10.0.0".to_owned(),
        }
    }

    #[test]
    fn a_record_counts_from_what_is_offered() {
        let dir = tempfile::tempdir().unwrap();
        let board = "x86_64".parse().unwrap();
        let check = |offered: Option<&str>, expected: &str| {
            let offered = offered.map(commit);
            match require(dir.path(), &board, &commit("b"), offered.as_ref()) {
                Ok(()) => assert_eq!(expected, "", "{offered:?}"),
                Err(e) => {
                    let said = format!("{e:#}");
                    assert!(!expected.is_empty() && said.contains(expected), "{said}");
                }
            }
        };
        check(Some("a"), "edge-build rehearse --board x86_64 --to bbbb");
        record(Some("a"), "b").save(dir.path()).unwrap();
        check(Some("a"), "");
        check(Some("b"), "");
        check(Some("c"), "from aaaaaaaaaaaa, but the channel offers cccc");
        check(None, "offers nothing now");
        record(None, "b").save(dir.path()).unwrap();
        check(None, "");
        check(Some("a"), "rehearsed from nothing");
    }

    #[test]
    fn a_record_of_something_else_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let board: BoardName = "x86_64".parse().unwrap();
        let path = record(None, "b").save(dir.path()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let table = [
            (
                good.replace("\"format\": 1", "\"format\": 2"),
                "format is 2",
            ),
            (good.replace("x86_64", "armhf"), "board armhf"),
            (good.replace("bbb", "aaa"), "on board x86_64"),
            ("{}".to_owned(), "no record"),
        ];
        for (text, expected) in table {
            fs::write(&path, text).unwrap();
            let error = require(dir.path(), &board, &commit("b"), None).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
