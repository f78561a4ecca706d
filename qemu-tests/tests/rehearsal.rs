//! Releases are rehearsed before they are signed: a good one passes, a bad one cannot be published by accident.

use std::fs;

use anyhow::{Context, Result, ensure};
use edge_build::machine;
use edge_ota::cmd::Cmd;
use edge_ota::types::CommitChecksum;
use qemu_tests::hardware;
use qemu_tests::lab::Lab;
use qemu_tests::site::{self, Site};
use qemu_tests::variant;
use serde_json::Value;

#[test]
fn a_rehearsed_release_is_signed() -> Result<()> {
    with_site("rehearsal", |lab, site| {
        let next = variant::commit(&site.repo(), &lab.base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        site.sign(&next)?;
        let refused = release(site, &next).run();
        ensure!(refused.is_err(), "what was never booted was released");
        let printed = rehearse(site, &next)?.text()?;
        let summary: Value = serde_json::from_str(&printed).context("parsing the summary")?;
        let record = &summary["rehearsal"];
        ensure!(
            record["from"] == lab.base.as_str() && record["to"] == next.as_str(),
            "the record is of something else: {record}"
        );
        ensure!(
            record["steps"].as_array().is_some_and(|s| s.len() == 8),
            "steps are missing: {record}"
        );
        release(site, &next).run()?;
        ensure!(
            String::from_utf8_lossy(&site.read_manifest()?).contains(next.as_str()),
            "the manifest names another release"
        );
        Ok(())
    })
}

#[test]
fn a_release_with_a_failing_check_does_not_pass_the_rehearsal() -> Result<()> {
    let check = "usr/lib/edge-ota/health.d/required.d/50-always-bad";
    fails_with("rehearsal-check", "50-always-bad", |tree| {
        tree.write_program(check, "#!/bin/sh\necho not well\nexit 1\n")
    })
}

#[test]
fn a_release_with_a_failing_unit_does_not_pass_the_rehearsal() -> Result<()> {
    let unit = "edge-test-fault.service";
    fails_with("rehearsal-unit", unit, |tree| {
        tree.write(
            &format!("usr/lib/systemd/system/{unit}"),
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo no such thing; exit 1'\n",
        )?;
        tree.link(
            &format!("usr/lib/systemd/system/multi-user.target.wants/{unit}"),
            &format!("../{unit}"),
        )
    })
}

fn fails_with(
    name: &str,
    expected: &str,
    change: impl FnOnce(&variant::Changes) -> Result<()>,
) -> Result<()> {
    with_site(name, |lab, site| {
        let bad = variant::commit(&site.repo(), &lab.base, "2", change)?;
        site.sign(&bad)?;
        let said = match rehearse(site, &bad)?.run() {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            said.contains(expected),
            "the rehearsal did not name {expected}: {said}"
        );
        ensure!(
            !site.dir.join("rehearsals").exists(),
            "a rehearsal that failed left a record"
        );
        ensure!(release(site, &bad).run().is_err(), "it was released");
        Ok(())
    })
}

/// A site of its own, whose channel offers the lab's release. There is no machine but that of the rehearsal.
fn with_site(name: &str, act: impl FnOnce(&Lab, &Site) -> Result<()>) -> Result<()> {
    let lab = Lab::open(&site::board_under_test())?;
    let dir = lab.runs.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let site = lab.site.copy_to(&dir.join("site"))?;
    act(&lab, &site)?;
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

fn rehearse(site: &Site, to: &CommitChecksum) -> Result<Cmd> {
    let board = hardware::board(&site.board)?;
    let firmware = hardware::firmware_root(machine::qemu_of(&board)?)?;
    Ok(site
        .edge_build("rehearse")
        .args(["--json", "--memory", "512", "--disk", "6G"])
        .args(["--board", &site.board, "--to", to.as_str()])
        .arg("--firmware")
        .arg(firmware)
        .arg("--console")
        .arg(site.dir.join("console.log")))
}

fn release(site: &Site, commit: &CommitChecksum) -> Cmd {
    site.release_command(&site.board, commit)
        .arg("--require-rehearsal")
}
