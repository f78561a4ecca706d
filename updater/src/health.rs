//! The checks that decide whether a boot is good: units that must be active, and programs in
//! `health.d/required.d` and `health.d/wanted.d` of `/usr/lib/edge-ota` and `/etc/edge-ota`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

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

fn run_program(path: &Path, timeout: Duration) -> Result<()> {
    Cmd::new("timeout")
        .args(["--kill-after=5", &timeout.as_secs().max(1).to_string()])
        .arg(path)
        .run()
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
            report.failed[0].contains("20-bad") && report.failed[0].contains("no disk"),
            "{report:?}"
        );
        assert_eq!(report.warnings.len(), 1);
    }
}
