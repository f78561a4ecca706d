//! Bad releases: whatever breaks, the machine comes back by itself to the release it had.

use std::time::Duration;

use anyhow::{Result, ensure};
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::node::{Node, case};
use qemu_tests::variant::Changes;

/// The documented deadline of a trial without a verdict, for tests, plus two boots under emulation.
const BACK: Duration = Duration::from_secs(900);
const ONE_TRY: &str = "[trial]\ntries = 1\ndeadline = \"150s\"";
const TWO_TRIES: &str = "[trial]\ntries = 2\ndeadline = \"150s\"";

#[test]
fn a_failing_health_check_brings_the_old_release_back() -> Result<()> {
    case("failing-check", |node| {
        comes_back_from(node, ONE_TRY, |tree| {
            tree.write_program(
                "usr/lib/edge-ota/health.d/required.d/50-always-bad",
                "#!/bin/sh\necho not well\nexit 1\n",
            )
        })
    })
}

#[test]
fn a_garbage_initramfs_brings_the_old_release_back_after_each_try() -> Result<()> {
    case("garbage-initramfs", |node| {
        comes_back_from(node, TWO_TRIES, |tree| {
            tree.blank(&format!("{}/initramfs.img", tree.kernel_dir()?))
        })
    })
}

#[test]
fn a_missing_init_brings_the_old_release_back() -> Result<()> {
    case("missing-init", |node| {
        comes_back_from(node, ONE_TRY, |tree| {
            tree.link("usr/lib/systemd/systemd", "/nowhere")?;
            tree.link("usr/sbin/init", "/nowhere")
        })
    })
}

#[test]
fn a_dying_init_brings_the_old_release_back() -> Result<()> {
    case("dying-init", |node| {
        comes_back_from(node, ONE_TRY, |tree| {
            at_boot(tree, "kill -SEGV 1; exec sleep infinity")
        })
    })
}

#[test]
fn a_unit_that_never_finishes_brings_the_old_release_back() -> Result<()> {
    case("hanging-unit", |node| {
        comes_back_from(node, ONE_TRY, |tree| at_boot(tree, "exec sleep infinity"))
    })
}

#[test]
fn a_kernel_that_stops_scheduling_brings_the_old_release_back() -> Result<()> {
    case("stopped-kernel", |node| {
        publish_and_upgrade(node, ONE_TRY, |tree| {
            // A panic that does not reboot: nothing runs any more, and only the watchdog is left.
            at_boot(
                tree,
                "echo 0 >/proc/sys/kernel/panic; echo 0 >/proc/sys/kernel/panic_on_oops; echo c >/proc/sysrq-trigger",
            )
        })?;
        node.vm.wait_for_event("WATCHDOG", BACK)?;
        settles_on_base(node)
    })
}

fn comes_back_from(
    node: &mut Node,
    trial: &str,
    break_it: impl FnOnce(&Changes) -> Result<()>,
) -> Result<()> {
    let bad = publish_and_upgrade(node, trial, break_it)?;
    settles_on_base(node)?;
    let history = node.history()?.to_string();
    ensure!(
        history.contains(bad.as_str()),
        "the history does not name the bad commit {bad}: {history}"
    );
    let code = node.vm.exit_code("edge-ota upgrade")?;
    ensure!(code != 0, "the bad release was installed once more");
    ensure!(
        node.status()?.trial.is_none(),
        "the bad release is on trial once more"
    );
    Ok(())
}

fn publish_and_upgrade(
    node: &mut Node,
    trial: &str,
    break_it: impl FnOnce(&Changes) -> Result<()>,
) -> Result<CommitChecksum> {
    node.configure("91-trial", trial)?;
    let bad = node.site.publish_broken(&node.base(), "2", break_it)?;
    node.upgrade()?;
    Ok(bad)
}

fn settles_on_base(node: &mut Node) -> Result<()> {
    let base = node.base();
    let status = node.vm.wait_for_report(BACK)?;
    ensure!(
        status.booted.slot == Slot::A && status.booted.commit == base,
        "did not come back: {status:?}"
    );
    ensure!(
        status.default == Slot::A && status.trial.is_none(),
        "not settled: {status:?}"
    );
    node.vm.wait_for_ssh(qemu_tests::vm::BOOT)
}

/// Runs a shell line early in the boot, before the verdict, which waits for it.
fn at_boot(tree: &Changes, line: &str) -> Result<()> {
    tree.write(
        "usr/lib/systemd/system/edge-test-fault.service",
        format!(
            "[Unit]\nBefore=boot-complete.target edge-ota-health.service\n\
             [Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sh -c '{line}'\n"
        ),
    )?;
    tree.link(
        "usr/lib/systemd/system/boot-complete.target.requires/edge-test-fault.service",
        "../edge-test-fault.service",
    )
}
