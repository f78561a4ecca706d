//! What `edge-ota status` shows people and machines.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::boot::{Boots, SlotFile};
use crate::decide::{self, State};
use crate::device::Device;
use crate::install;
use crate::refusal::utc;
use crate::types::{BoardName, ChannelName, CommitChecksum, Sequence, Slot};

#[derive(Debug, Serialize)]
pub struct Status {
    pub state: State,
    pub board: BoardName,
    pub channel: ChannelName,
    pub booted: Option<Running>,
    pub default: Option<Slot>,
    pub slots: Vec<SlotStatus>,
    pub trial: Option<TrialStatus>,
    pub staged: Option<Waiting>,
    /// Boots of the default since it last came up well; `null` after the loader fell back.
    pub boots: Option<u8>,
    pub sequence: Sequence,
    pub rejected: Vec<Rejected>,
    pub updater: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Running {
    pub slot: Option<Slot>,
    pub commit: CommitChecksum,
    pub version: String,
    pub deployment: String,
}

#[derive(Debug, Serialize)]
pub struct SlotStatus {
    pub slot: Slot,
    pub commit: Option<CommitChecksum>,
    pub version: Option<String>,
    /// Why it cannot be booted.
    pub problem: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct TrialStatus {
    pub slot: Slot,
    pub commit: CommitChecksum,
    pub left: u8,
}

#[derive(Debug, Serialize)]
pub struct Waiting {
    pub slot: Slot,
    pub commit: CommitChecksum,
    pub version: String,
    pub sequence: Sequence,
}

#[derive(Debug, Serialize)]
pub struct Rejected {
    pub commit: CommitChecksum,
    pub reason: String,
    pub at: u64,
    /// `false`: it ended once without a verdict and is tried once more.
    pub for_good: bool,
}

pub fn collect(device: &Device) -> Result<Status> {
    let seen = device.observe()?;
    let booted = match device.sysroot.booted()? {
        Some(d) => Some(Running {
            slot: seen.booted,
            version: device.sysroot.commit_info(&d.commit)?.version,
            commit: d.commit,
            deployment: d.id,
        }),
        None => None,
    };
    let slots: Result<Vec<SlotStatus>> = Slot::BOTH
        .into_iter()
        .map(|slot| slot_status(device, slot))
        .collect();
    let rejected = device
        .state
        .failures
        .iter()
        .map(|(commit, failure)| Rejected {
            commit: commit.clone(),
            reason: failure.reason.clone(),
            at: failure.at,
            for_good: failure.rejected,
        });
    Ok(Status {
        state: decide::state(&seen),
        board: device.board.board.clone(),
        channel: device.settings.source.channel.clone(),
        booted,
        default: seen.default,
        slots: slots?,
        trial: seen.trial.map(|t| TrialStatus {
            slot: t.slot,
            commit: t.commit,
            left: t.left,
        }),
        staged: device.state.ready().cloned().map(|s| Waiting {
            slot: s.slot,
            commit: s.commit,
            version: s.version,
            sequence: s.sequence,
        }),
        boots: match seen.boots {
            Boots::Count(n) => Some(n),
            Boots::Fallback => None,
        },
        sequence: device.state.sequence,
        rejected: rejected.collect(),
        updater: env!("CARGO_PKG_VERSION"),
    })
}

fn slot_status(device: &Device, slot: Slot) -> Result<SlotStatus> {
    let file: Option<SlotFile> = device.boot.slot_file(slot)?;
    let problem = match &file {
        None => Some("empty".to_owned()),
        Some(_) => install::verified_slot(&device.sysroot, device.boot.as_ref(), slot)
            .err()
            .map(|e| format!("{e:#}")),
    };
    let (commit, version) = file.map(|f| (f.commit, f.version)).unzip();
    Ok(SlotStatus {
        slot,
        commit,
        version,
        problem,
    })
}

impl Status {
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("writing the status")
    }

    /// For people: one line of state, then a line a slot.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{} on board {}, channel {}\n",
            self.headline(),
            self.board,
            self.channel
        );
        for slot in &self.slots {
            text.push_str(&self.slot_line(slot));
        }
        for rejected in &self.rejected {
            let until = if rejected.for_good {
                "rejected"
            } else {
                "resting"
            };
            let (commit, at) = (rejected.commit.short(), utc(rejected.at));
            text.push_str(&format!(
                "{until}: {commit} since {at}: {}\n",
                rejected.reason
            ));
        }
        text
    }

    fn headline(&self) -> String {
        match self.state {
            State::Good => "good".to_owned(),
            State::OnTrial => match &self.trial {
                Some(trial) => format!("on trial ({} more tries)", trial.left),
                None => "on trial (last try)".to_owned(),
            },
            State::Pending => match &self.staged {
                Some(staged) => format!("reboot to try {} in slot {}", staged.version, staged.slot),
                None => "reboot to go back to the default slot".to_owned(),
            },
            State::Fallback => "fallback: the loader could not boot the default slot".to_owned(),
            State::Foreign => "not booted from slot a or b".to_owned(),
        }
    }

    fn slot_line(&self, slot: &SlotStatus) -> String {
        let running = self
            .booted
            .as_ref()
            .is_some_and(|b| b.slot == Some(slot.slot));
        let mark = if running { '*' } else { ' ' };
        let default = if self.default == Some(slot.slot) {
            "default"
        } else {
            ""
        };
        let version = slot.version.as_deref().unwrap_or("-");
        let commit = slot.commit.as_ref().map_or("-", CommitChecksum::short);
        let problem = slot.problem.as_deref().unwrap_or("");
        format!(
            "{mark} {}  {version:<20} {commit:<12}  {default:<7}  {problem}",
            slot.slot
        )
        .trim_end()
        .to_owned()
            + "\n"
    }
}
