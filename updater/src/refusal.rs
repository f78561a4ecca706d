//! Why a document, a commit or a release from outside is not accepted.

use crate::types::{BoardName, ChannelName, CommitChecksum, Sequence};

/// `what` names the kind of document: "manifest", "root document", "commit".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{what} is malformed: {reason}")]
    Malformed { what: &'static str, reason: String },

    #[error(
        "a web page came instead of the {what}: a captive portal or a proxy answers for the server"
    )]
    WebPage { what: &'static str },

    #[error("{what} carries {valid} valid signatures of {threshold} needed from the trusted keys")]
    BadSignature {
        what: &'static str,
        valid: usize,
        threshold: usize,
    },

    #[error("{what} has format {found}, this program reads {known}: a newer edge-ota is needed")]
    UnsupportedFormat {
        what: &'static str,
        found: u64,
        known: u64,
    },

    #[error(
        "{what} demands '{field}', which this program does not know: a newer edge-ota is needed"
    )]
    UnknownCritical { what: &'static str, field: String },

    #[error("root document {expected} is expected next, not {found}")]
    WrongRoot { expected: u64, found: u64 },

    #[error("the key history ends at root document {reached}, but {seen} was seen before")]
    RootWentBack { reached: u64, seen: u64 },

    #[error("manifest is for board {found}, this device is {expected}")]
    WrongBoard {
        expected: BoardName,
        found: BoardName,
    },

    #[error("manifest is for channel {found}, this device follows {expected}")]
    WrongChannel {
        expected: ChannelName,
        found: ChannelName,
    },

    #[error("manifest has sequence {offered}, {floor} was accepted before")]
    Downgrade { offered: Sequence, floor: Sequence },

    #[error("manifest expired at {}, it is {}", utc(*.expires), utc(*.now))]
    Expired { expires: u64, now: u64 },

    #[error("commit is {found}, the manifest names {expected}")]
    CommitMismatch {
        expected: CommitChecksum,
        found: CommitChecksum,
    },
}

/// Unix seconds for people; what lies past the calendar stays a number.
pub fn utc(seconds: u64) -> String {
    const END_OF_9999: u64 = 253_402_300_799;
    if seconds > END_OF_9999 {
        return format!("{seconds} s");
    }
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}
