//! How a program ends: the exit codes, as data for `--help` and the documents.

use std::io;

use crate::fetch::FetchError;
use crate::refusal::Refusal;
use crate::types::CommitChecksum;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Error = 1,
    RebootPending = 10,
    OnTrial = 11,
    Rejected = 12,
    HealthFailed = 13,
    Damaged = 14,
    Unrepaired = 15,
    BadSignature = 20,
    Stale = 21,
    WrongBoard = 22,
    Downgrade = 23,
    CommitMismatch = 24,
    TooNew = 25,
    Unsigned = 26,
    NoSpace = 30,
    Network = 31,
    Locked = 32,
    NothingNew = 77,
}

/// Every code with its meaning, in ascending order.
pub const TABLE: &[(Exit, &str)] = &[
    (Exit::Done, "done"),
    (Exit::Error, "usage or other error"),
    (
        Exit::RebootPending,
        "a release is staged and waits for a reboot",
    ),
    (
        Exit::OnTrial,
        "the running release is on trial; nothing is changed until its verdict",
    ),
    (
        Exit::Rejected,
        "the offered release failed on this device before (--retry overrides)",
    ),
    (Exit::HealthFailed, "a health check failed"),
    (
        Exit::Damaged,
        "the system is damaged (repair --check); nothing was changed",
    ),
    (
        Exit::Unrepaired,
        "some damage could not be repaired; what could was",
    ),
    (
        Exit::BadSignature,
        "refused: not signed by the keys this device trusts, or malformed",
    ),
    (
        Exit::Stale,
        "refused: the manifest has expired, or the clock is wrong",
    ),
    (
        Exit::WrongBoard,
        "refused: the manifest is for another board or channel",
    ),
    (
        Exit::Downgrade,
        "refused: older than what this device has accepted before",
    ),
    (
        Exit::CommitMismatch,
        "refused: the commit is not the one the manifest names",
    ),
    (Exit::TooNew, "refused: needs a newer edge-ota"),
    (
        Exit::Unsigned,
        "refused: the commit is not signed by the keys this device trusts",
    ),
    (Exit::NoSpace, "not enough space; nothing was changed"),
    (
        Exit::Network,
        "the server could not be read; try again later",
    ),
    (Exit::Locked, "another edge-ota is at work"),
    (Exit::NothingNew, "nothing new"),
];

/// What ends a command short of an error in the program.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error("version {version} is staged and waits for a reboot")]
    RebootPending { version: String },
    #[error("the default slot was switched and waits for a reboot")]
    Switched,
    #[error("the running release is on trial; wait for its verdict")]
    OnTrial,
    #[error("release {} failed on this device before: {reason} (--retry overrides)", commit.short())]
    Rejected {
        commit: CommitChecksum,
        reason: String,
    },
    #[error("health check failed: {0}")]
    HealthFailed(String),
    #[error("{place} needs {needed} bytes, {available} are free")]
    NoSpace {
        place: String,
        needed: u64,
        available: u64,
    },
    #[error("{0} things are damaged: 'edge-ota repair' repairs them")]
    Damaged(usize),
    #[error("the server with the good objects could not be read")]
    Unreachable,
    #[error("{0} things could not be repaired")]
    Unrepaired(usize),
    #[error("another edge-ota is at work")]
    Locked,
    #[error("nothing new")]
    NothingNew,
}

impl Exit {
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The exit code of an error: that of the first known cause in its chain.
pub fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::Error)
}

/// The table as text, one code a line.
pub fn help() -> String {
    TABLE
        .iter()
        .map(|(exit, meaning)| format!("{:>4}  {meaning}\n", exit.code()))
        .collect()
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(refusal) = cause.downcast_ref() {
        return Some(of_refusal(refusal));
    }
    if let Some(stop) = cause.downcast_ref() {
        return Some(of_stop(stop));
    }
    if cause.is::<FetchError>() {
        return Some(Exit::Network);
    }
    let io = cause.downcast_ref::<io::Error>()?;
    match io.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Exit::NoSpace),
        _ => None,
    }
}

fn of_refusal(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::BadSignature { what: "commit", .. } => Exit::Unsigned,
        Refusal::Malformed { .. } | Refusal::BadSignature { .. } | Refusal::WrongRoot { .. } => {
            Exit::BadSignature
        }
        Refusal::UnsupportedFormat { .. } | Refusal::UnknownCritical { .. } => Exit::TooNew,
        Refusal::RootWentBack { .. } | Refusal::Downgrade { .. } => Exit::Downgrade,
        Refusal::WrongBoard { .. } | Refusal::WrongChannel { .. } => Exit::WrongBoard,
        Refusal::Expired { .. } => Exit::Stale,
        Refusal::CommitMismatch { .. } => Exit::CommitMismatch,
        Refusal::WebPage { .. } => Exit::Network,
    }
}

fn of_stop(stop: &Stop) -> Exit {
    match stop {
        Stop::RebootPending { .. } | Stop::Switched => Exit::RebootPending,
        Stop::OnTrial => Exit::OnTrial,
        Stop::Rejected { .. } => Exit::Rejected,
        Stop::HealthFailed(_) => Exit::HealthFailed,
        Stop::Damaged(_) => Exit::Damaged,
        Stop::Unrepaired(_) => Exit::Unrepaired,
        Stop::Unreachable => Exit::Network,
        Stop::NoSpace { .. } => Exit::NoSpace,
        Stop::Locked => Exit::Locked,
        Stop::NothingNew => Exit::NothingNew,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn codes_survive_contexts() {
        let check = |error: anyhow::Error, expected: Exit| {
            assert_eq!(of(&error), expected, "{error:#}");
            let wrapped = Err::<(), _>(error)
                .context("one")
                .context("two")
                .unwrap_err();
            assert_eq!(of(&wrapped), expected, "{wrapped:#}");
        };
        check(Stop::OnTrial.into(), Exit::OnTrial);
        check(
            Refusal::WrongRoot {
                expected: 1,
                found: 2,
            }
            .into(),
            Exit::BadSignature,
        );
        check(Refusal::Expired { expires: 1, now: 2 }.into(), Exit::Stale);
        check(
            io::Error::from(io::ErrorKind::StorageFull).into(),
            Exit::NoSpace,
        );
        check(io::Error::from(io::ErrorKind::NotFound).into(), Exit::Error);
        check(anyhow::anyhow!("other"), Exit::Error);
        let missing = FetchError::NotFound {
            url: "x".to_owned(),
        };
        check(missing.into(), Exit::Network);
    }

    #[test]
    fn the_documents_hold_the_table() {
        let document = include_str!("../../docs/formats.md");
        for (exit, meaning) in TABLE {
            let row = format!("| {} | {meaning} |\n", exit.code());
            assert!(document.contains(&row), "docs/formats.md lacks {row}");
        }
    }

    #[test]
    fn table_is_whole_sorted_and_distinct() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        assert_eq!(codes.len(), 19);
        assert!(help().contains("  77  nothing new\n"));
    }
}
