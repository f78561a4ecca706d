//! The checks that decide whether a boot is good: units that must be active, and programs in
//! `health.d/required.d` and `health.d/wanted.d` of `/usr/lib/edge-ota` and `/etc/edge-ota`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cmd::Cmd;
use crate::config::UnitName;

const FOLDERS: [&str; 2] = ["usr/lib/edge-ota/health.d", "etc/edge-ota/health.d"];

/// What the checks found. A wanted check that fails is only a warning.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub failed: Vec<String>,
    pub warnings: Vec<String>,
    pub passed: usize,
}

/// Runs every check; each program gets `timeout`.
pub fn run(root: &Path, units: &[UnitName], timeout: Duration) -> Result<Report> {
    let mut report = Report::default();
    for unit in units {
        match Cmd::new("systemctl")
            .args(["is-active", "--quiet", unit.as_str()])
            .status()?
            .success()
        {
            true => report.passed += 1,
            false => report
                .failed
                .push(format!("{} is not active", unit.as_str())),
        }
    }
    for (path, required) in programs(root, "required.d")?
        .into_iter()
        .map(|p| (p, true))
        .chain(programs(root, "wanted.d")?.into_iter().map(|p| (p, false)))
    {
        match run_program(&path, timeout) {
            Ok(()) => report.passed += 1,
            Err(e) if required => report.failed.push(format!("{e:#}")),
            Err(e) => report.warnings.push(format!("{e:#}")),
        }
    }
    Ok(report)
}

/// The error is one line for the history: the check, how it ended and the last thing it said.
fn run_program(path: &Path, timeout: Duration) -> Result<()> {
    let seconds = timeout.as_secs().max(1);
    let output = Cmd::new("timeout")
        .args(["--kill-after=5", &seconds.to_string()])
        .arg(path)
        .complete()?;
    let how = match output.status.code() {
        Some(0) => return Ok(()),
        // What timeout(1) ends with, the second after --kill-after.
        Some(124 | 137) => format!("not done within {seconds} s"),
        Some(code) => format!("exit code {code}"),
        None => output.status.to_string(),
    };
    let name = path.file_name().unwrap_or(path.as_os_str());
    let said = last_line(&output.stderr).or_else(|| last_line(&output.stdout));
    let said = said.map_or_else(String::new, |line| format!(", '{line}'"));
    bail!("{}: {how}{said}", name.to_string_lossy())
}

fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(200).collect())
}

/// Executable files by name; `/etc` masks `/usr/lib`, a link to `/dev/null` masks both.
fn programs(root: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        let dir = root.join(folder).join(kind);
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("listing {}", dir.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            found.insert(entry.file_name(), entry.path());
        }
    }
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    Ok(found.into_values().filter(is_program).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn required_fail_wanted_warn_and_etc_masks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        program(
            root,
            "usr/lib/edge-ota/health.d/required.d/10-good",
            "#!/bin/sh\nexit 0\n",
        );
        program(
            root,
            "usr/lib/edge-ota/health.d/required.d/20-bad",
            "#!/bin/sh\necho no disk >&2\nexit 1\n",
        );
        program(
            root,
            "usr/lib/edge-ota/health.d/required.d/30-masked",
            "#!/bin/sh\nexit 1\n",
        );
        program(
            root,
            "etc/edge-ota/health.d/required.d/30-masked",
            "#!/bin/sh\nexit 0\n",
        );
        program(
            root,
            "etc/edge-ota/health.d/wanted.d/10-slow",
            "#!/bin/sh\nexec tail -f /dev/null\n",
        );
        let report = run(root, &[], Duration::from_secs(1)).unwrap();
        assert_eq!(report.passed, 2);
        assert_eq!(report.failed.len(), 1);
        assert!(
            report.failed == ["20-bad: exit code 1, 'no disk'"],
            "{report:?}"
        );
        assert_eq!(report.warnings, ["10-slow: not done within 1 s"]);
    }
}
