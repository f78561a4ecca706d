//! From what is observed to what is to be done. Pure: everything that crosses a reboot is data.

use serde::{Deserialize, Serialize};

use crate::boot::{Boots, Trial};
use crate::types::Slot;

/// What can be seen on a device; only `staged` is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The slot we run from; `None` when it is neither.
    pub booted: Option<Slot>,
    pub default: Option<Slot>,
    pub trial: Option<Trial>,
    pub boots: Boots,
    pub how: HowBooted,
    /// Where a release waits for its trial.
    pub staged: Option<Slot>,
}

/// What the loader said on the kernel's command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HowBooted {
    pub slot: Option<Slot>,
    pub on_trial: bool,
    pub fallback: bool,
}

impl HowBooted {
    pub fn parse(cmdline: &str) -> Self {
        let get = |key: &str| {
            cmdline
                .split_whitespace()
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        Self {
            slot: get("edge_ota.slot").and_then(|s| s.parse().ok()),
            on_trial: get("edge_ota.trial").is_some(),
            fallback: get("edge_ota.fallback").is_some(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The default slot runs and nothing waits.
    Good,
    /// A release waits for its trial, or the default was switched: a reboot is due.
    Pending,
    /// This boot is a trial without a verdict yet.
    OnTrial,
    /// The loader could not boot the default and took the other slot.
    Fallback,
    /// Not booted from either slot.
    Foreign,
}

pub fn state(seen: &Observed) -> State {
    match (seen.booted, seen.default) {
        (None, _) => State::Foreign,
        (Some(booted), Some(default)) if booted == default => {
            let waits = seen.staged.is_some_and(|slot| slot != booted);
            let armed = seen
                .trial
                .as_ref()
                .is_some_and(|trial| trial.slot != booted);
            if waits || armed {
                State::Pending
            } else {
                State::Good
            }
        }
        (Some(_), _) if seen.how.on_trial => State::OnTrial,
        (Some(_), Some(_)) if !seen.how.fallback => State::Pending,
        _ => State::Fallback,
    }
}

/// Why the other slot may not be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "this boot is a trial without a verdict yet: wait for it, or end it with 'edge-ota mark good' or 'mark bad'"
    )]
    OnTrial,
    #[error("the default slot was switched: reboot first")]
    Switched,
    #[error(
        "the loader fell back to this slot: it becomes the default once its health checks pass ('edge-ota mark good')"
    )]
    Fallback,
    #[error("not booted from slot a or b: this system was not installed by edge-build or edge-ota")]
    Foreign,
}

/// Only `default.other()` is ever written, and only while the default runs.
pub fn writable_slot(seen: &Observed) -> Result<Slot, Refusal> {
    match (state(seen), seen.default) {
        (State::Good, Some(default)) => Ok(default.other()),
        (State::Pending, Some(default)) if seen.booted == Some(default) => Ok(default.other()),
        (State::Pending, _) => Err(Refusal::Switched),
        (State::OnTrial, _) => Err(Refusal::OnTrial),
        (State::Fallback, _) => Err(Refusal::Fallback),
        _ => Err(Refusal::Foreign),
    }
}

/// What to settle once after each boot, before the health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtBoot {
    Nothing,
    TrialBegins,
    /// What is the default already is still on record as on trial or staged: `mark good` was cut short.
    FinishGood,
    /// The loader did not start the trial, or its tries are used up: it ended without a verdict.
    TrialEnded(Trial),
    FellBack,
}

pub fn at_boot(seen: &Observed) -> AtBoot {
    match state(seen) {
        State::OnTrial => AtBoot::TrialBegins,
        State::Fallback => AtBoot::FellBack,
        State::Good | State::Pending => match &seen.trial {
            _ if was_cut_short(seen) => AtBoot::FinishGood,
            Some(trial) => AtBoot::TrialEnded(trial.clone()),
            None => AtBoot::Nothing,
        },
        State::Foreign => AtBoot::Nothing,
    }
}

/// What a good verdict means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGood {
    /// The trial, or the slot the loader fell back to, becomes the default.
    Promote(Slot),
    /// Only the count of boots in vain goes back to zero.
    ResetBoots,
}

pub fn on_good(seen: &Observed) -> OnGood {
    match (state(seen), seen.booted) {
        (State::OnTrial | State::Fallback, Some(slot)) => OnGood::Promote(slot),
        (_, Some(slot)) if was_cut_short(seen) => OnGood::Promote(slot),
        _ => OnGood::ResetBoots,
    }
}

/// The default that runs is still on record as on trial or as staged.
fn was_cut_short(seen: &Observed) -> bool {
    let on_trial = seen.trial.as_ref().map(|trial| trial.slot);
    seen.booted.is_some()
        && seen.booted == seen.default
        && [on_trial, seen.staged].contains(&seen.booted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CommitChecksum;

    fn commit() -> CommitChecksum {
        "ab".repeat(32).parse().unwrap()
    }

    fn seen(booted: Slot, default: Option<Slot>) -> Observed {
        Observed {
            booted: Some(booted),
            default,
            trial: None,
            boots: Boots::Count(1),
            how: HowBooted {
                slot: Some(booted),
                ..HowBooted::default()
            },
            staged: None,
        }
    }

    fn trial(slot: Slot, left: u8) -> Option<Trial> {
        Some(Trial::new(slot, commit(), left))
    }

    #[test]
    fn states_and_what_may_be_written() {
        use Slot::{A, B};
        let good = seen(A, Some(A));
        let staged = Observed {
            staged: Some(B),
            ..good.clone()
        };
        let on_trial = Observed {
            how: HowBooted {
                slot: Some(B),
                on_trial: true,
                fallback: false,
            },
            trial: trial(B, 2),
            ..seen(B, Some(A))
        };
        let confirmed = Observed {
            default: Some(B),
            ..on_trial.clone()
        };
        let unfinished = Observed {
            default: Some(B),
            trial: None,
            staged: Some(B),
            ..on_trial.clone()
        };
        let fell_back = Observed {
            how: HowBooted {
                slot: Some(B),
                on_trial: false,
                fallback: true,
            },
            boots: Boots::Fallback,
            ..seen(B, Some(A))
        };
        let no_default = seen(A, None);
        let switched = seen(A, Some(B));
        let foreign = Observed {
            booted: None,
            ..good.clone()
        };
        let table = [
            (&good, State::Good, Ok(B), AtBoot::Nothing),
            (&staged, State::Pending, Ok(B), AtBoot::Nothing),
            (
                &on_trial,
                State::OnTrial,
                Err(Refusal::OnTrial),
                AtBoot::TrialBegins,
            ),
            (&confirmed, State::Good, Ok(A), AtBoot::FinishGood),
            (&unfinished, State::Good, Ok(A), AtBoot::FinishGood),
            (
                &fell_back,
                State::Fallback,
                Err(Refusal::Fallback),
                AtBoot::FellBack,
            ),
            (
                &no_default,
                State::Fallback,
                Err(Refusal::Fallback),
                AtBoot::FellBack,
            ),
            (
                &switched,
                State::Pending,
                Err(Refusal::Switched),
                AtBoot::Nothing,
            ),
            (
                &foreign,
                State::Foreign,
                Err(Refusal::Foreign),
                AtBoot::Nothing,
            ),
        ];
        for (seen, expected_state, writable, action) in table {
            assert_eq!(state(seen), expected_state, "{seen:?}");
            assert_eq!(writable_slot(seen), writable, "{seen:?}");
            assert_eq!(at_boot(seen), action, "{seen:?}");
        }
    }

    #[test]
    fn a_trial_record_seen_from_the_default_is_a_trial_that_ended() {
        for left in [0, 2] {
            let seen = Observed {
                trial: trial(Slot::B, left),
                ..seen(Slot::A, Some(Slot::A))
            };
            assert_eq!(
                at_boot(&seen),
                AtBoot::TrialEnded(Trial::new(Slot::B, commit(), left))
            );
        }
    }

    #[test]
    fn the_command_line_says_how_we_were_booted() {
        let how = HowBooted::parse(
            "root=PARTUUID=1 ostree=/ostree/slot-b edge_ota.slot=b edge_ota.trial=2 quiet",
        );
        assert_eq!(
            how,
            HowBooted {
                slot: Some(Slot::B),
                on_trial: true,
                fallback: false
            }
        );
        assert_eq!(HowBooted::parse("edge_ota.slot=c"), HowBooted::default());
    }

    #[test]
    fn good_promotes_what_is_not_the_default_yet() {
        let on_trial = Observed {
            how: HowBooted {
                slot: Some(Slot::B),
                on_trial: true,
                fallback: false,
            },
            ..seen(Slot::B, Some(Slot::A))
        };
        assert_eq!(on_good(&on_trial), OnGood::Promote(Slot::B));
        assert_eq!(on_good(&seen(Slot::A, Some(Slot::A))), OnGood::ResetBoots);
        assert_eq!(on_good(&seen(Slot::A, Some(Slot::B))), OnGood::ResetBoots);
        assert_eq!(on_good(&seen(Slot::A, None)), OnGood::Promote(Slot::A));
        let cut_short = Observed {
            default: Some(Slot::B),
            trial: trial(Slot::B, 2),
            ..on_trial
        };
        assert_eq!(on_good(&cut_short), OnGood::Promote(Slot::B));
    }
}
