//! What `edge-ota status --json` says, as far as the tests ask.

use anyhow::{Context, Result};
use edge_ota::types::{CommitChecksum, Slot};
use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    pub booted: Booted,
    pub default: Slot,
    pub state: State,
    pub trial: Option<Trial>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Booted {
    pub slot: Slot,
    pub commit: CommitChecksum,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Trial {
    pub slot: Slot,
    pub left: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Good,
    OnTrial,
    Pending,
    Fallback,
}

impl Status {
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).with_context(|| format!("parsing the status '{json}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_device_says() {
        let commit = "c".repeat(64);
        let json = format!(
            r#"{{"format":1,"booted":{{"slot":"b","commit":"{commit}","version":"13.1","age":3}},
                "default":"a","state":"on-trial","trial":{{"slot":"b","left":2}}}}"#
        );
        let status = Status::parse(&json).unwrap();
        assert_eq!(
            (status.booted.slot, status.default, status.state),
            (Slot::B, Slot::A, State::OnTrial)
        );
        assert_eq!(
            status.trial,
            Some(Trial {
                slot: Slot::B,
                left: 2
            })
        );
    }
}
