//! What the machine says of itself. Pure.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use edge_ota::decide::State;
use edge_ota::types::CommitChecksum;
use serde::Deserialize;

/// Where a boot ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub status: Status,
    /// Units that failed.
    pub failed: BTreeSet<String>,
    /// What these units wrote last.
    pub log: Vec<String>,
}

/// As much of `edge-ota status --json` as is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    pub state: State,
    pub booted: Option<Running>,
    pub rejected: Vec<Rejected>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Running {
    pub commit: CommitChecksum,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Rejected {
    pub commit: CommitChecksum,
    pub reason: String,
}

/// One line of the machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Failed(String),
    Log(String),
    Status(Status),
    /// An upgrade stands still in the middle.
    Cut,
    Done {
        code: u8,
        last_words: String,
    },
}

pub fn parse(line: &str) -> Result<Said> {
    let line = line.trim_end();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let context = || format!("the machine said '{line}'");
    Ok(match word {
        "failed" => Said::Failed(rest.to_owned()),
        "log" => Said::Log(rest.to_owned()),
        "status" => Said::Status(serde_json::from_str(rest).with_context(context)?),
        "cut" => Said::Cut,
        "done" => {
            let (code, last_words) = rest.split_once(' ').unwrap_or((rest, ""));
            Said::Done {
                code: code.parse().with_context(context)?,
                last_words: last_words.to_owned(),
            }
        }
        _ => bail!(context()),
    })
}

impl Report {
    /// Whether this commit runs and nothing is on trial; a release that waits for a reboot is no fault.
    pub fn runs(&self, commit: &CommitChecksum) -> Result<()> {
        let status = &self.status;
        let Some(running) = &status.booted else {
            bail!("the machine runs no release of ours ({:?})", status.state);
        };
        if running.commit != *commit {
            let why = status.rejected.iter().find(|r| r.commit == *commit);
            match why {
                Some(rejected) => bail!(
                    "{} was tried and rejected: {}; the machine went back to {}",
                    commit.short(),
                    rejected.reason,
                    running.version
                ),
                None => bail!(
                    "the machine runs {} ({}), not {}",
                    running.version,
                    running.commit.short(),
                    commit.short()
                ),
            }
        }
        match status.state {
            State::Good | State::Pending => Ok(()),
            other => bail!(
                "{} runs, but the machine's state is {other:?}",
                running.version
            ),
        }
    }

    /// Units that fail here and did not fail before. A unit that fails for want of hardware fails in both.
    pub fn newly_failed(&self, before: &BTreeSet<String>) -> Result<()> {
        let new: Vec<&str> = self.failed.difference(before).map(String::as_str).collect();
        match new.as_slice() {
            [] => Ok(()),
            units => bail!(
                "units failed: {} ({})",
                units.join(", "),
                self.log.join(" | ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: &str) -> CommitChecksum {
        digit.repeat(64).parse().unwrap()
    }

    fn report(state: &str, runs: &str, rejected: &str, failed: &[&str]) -> Report {
        let rejected = match rejected {
            "" => String::new(),
            digit => format!(
                r#"{{"commit":"{}","reason":"health: 50-x failed","at":1,"for_good":true}}"#,
                commit(digit)
            ),
        };
        let json = format!(
            r#"status {{"state":"{state}","board":"x86_64","booted":{{"slot":"a","commit":"{}",
               "version":"13.1"}},"rejected":[{rejected}]}}"#,
            commit(runs)
        );
        let Said::Status(status) = parse(&json.replace('\n', "")).unwrap() else {
            panic!("no status")
        };
        Report {
            status,
            failed: failed.iter().map(|s| (*s).to_owned()).collect(),
            log: vec!["no such file".to_owned()],
        }
    }

    #[test]
    fn lines_are_told_apart() {
        let done = |code, last_words: &str| Said::Done {
            code,
            last_words: last_words.to_owned(),
        };
        let table = [
            (
                "failed dev-\\x2d.mount\n",
                Said::Failed("dev-\\x2d.mount".to_owned()),
            ),
            ("log a b\r\n", Said::Log("a b".to_owned())),
            ("log", Said::Log(String::new())),
            ("cut\n", Said::Cut),
            ("done 77 nothing new\n", done(77, "nothing new")),
            ("done 0 \n", done(0, "")),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
        for bad in ["", "hello", "done x", "status {}", "status"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_release_that_does_not_run_is_said_why() {
        let check = |report: Report, expected: &str| {
            let error = report.runs(&commit("b")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        for state in ["good", "pending"] {
            report(state, "b", "", &[]).runs(&commit("b")).unwrap();
        }
        check(report("good", "a", "", &[]), "runs 13.1");
        check(report("good", "a", "b", &[]), "health: 50-x failed");
        check(report("fallback", "b", "", &[]), "Fallback");
    }

    #[test]
    fn only_units_that_did_not_fail_before_count() {
        let before = BTreeSet::from(["a.service".to_owned()]);
        let same = report("good", "a", "", &["a.service"]);
        same.newly_failed(&before).unwrap();
        let more = report("good", "a", "", &["a.service", "b.service"]);
        let error = more.newly_failed(&before).unwrap_err().to_string();
        assert_eq!(error, "units failed: b.service (no such file)");
    }
}
