//! Power cuts: the next boot is good and the next upgrade gets there.

use std::time::Duration;

use anyhow::{Result, ensure};
use edge_ota::types::Slot;
use qemu_tests::node::{Node, case};
use qemu_tests::vm::BOOT;

const REACHED: &str = "edge-test-cut";

#[test]
fn cuts_during_the_upgrade() -> Result<()> {
    case("cuts-in-upgrade", |node| {
        let next = publish(node)?;
        let boot = node.boot_partition()?;
        cut_during_upgrade(
            node,
            "[ $(ls -d /ostree/deploy/edge/deploy/*.0 | wc -l) -gt 1 ]",
        )?;
        node.expect(Slot::A, &node.base())?;
        cut_during_upgrade(node, &format!("[ -s {boot}/slot-b ]"))?;
        stays_on_base(node)?;
        cut_during_upgrade(
            node,
            "dd if=/dev/disk/by-partlabel/edge-trial bs=512 skip=15 count=1 status=none iflag=direct | grep -aq trial_slot=b",
        )?;
        node.expect(Slot::B, &next)?;
        node.vm.ask("! dmesg | grep -i 'ext4.*error'").map(drop)
    })
}

#[test]
fn cut_during_the_trial_boot() -> Result<()> {
    case("cut-in-trial", |node| {
        node.configure("91-trial", "[trial]\ntries = 2")?;
        let next = publish(node)?;
        node.upgrade()?;
        node.vm.console.wait_for_text("edge_ota.trial=", BOOT)?;
        node.cut_power()?;
        // One try is left, and the release is good.
        node.expect(Slot::B, &next).map(drop)
    })
}

#[test]
fn cut_during_mark_good() -> Result<()> {
    case("cut-in-mark-good", |node| {
        let next = node.site.publish(&node.base(), "2", |tree| {
            tree.write(
                "usr/lib/systemd/system/edge-ota-mark-good.service.d/90-test.conf",
                "[Service]\nExecStartPre=/bin/sh -c 'echo edge-test-cut >/dev/virtio-ports/edge-test'\n",
            )
        })?;
        node.upgrade()?;
        node.vm.wait_for_mark(REACHED, BOOT)?;
        node.cut_power()?;
        converges(node, &next)
    })
}

/// Cuts the power at the moment the guest sees `condition` while it upgrades.
fn cut_during_upgrade(node: &mut Node, condition: &str) -> Result<()> {
    // The watcher freezes the upgrade, so that it does not run on while the host reacts.
    let watcher = format!(
        "until {condition}; do :; done; pkill -STOP -x edge-ota; echo {REACHED} >/dev/virtio-ports/edge-test"
    );
    // A release that waits is armed at the shutdown, which the watcher must outlive.
    node.vm.ask(&format!(
        "systemd-run --quiet --property=DefaultDependencies=no /bin/sh -c '{}'",
        watcher.replace('\'', r"'\''")
    ))?;
    node.vm
        .ask("systemd-run --quiet edge-ota upgrade --reboot")?;
    node.vm.wait_for_mark(REACHED, Duration::from_secs(300))?;
    node.cut_power()
}

/// The old release runs and nothing is tried; what the cut left in the other slot may wait for a reboot.
fn stays_on_base(node: &mut Node) -> Result<()> {
    let status = node.verdict()?;
    ensure!(
        status.booted.slot == Slot::A && status.booted.commit == node.base(),
        "something else than the old release was booted: {status:?}"
    );
    ensure!(
        status.default == Slot::A && status.trial.is_none(),
        "a cut before the trial was armed leaves a trial: {status:?}"
    );
    node.vm.wait_for_ssh(BOOT)
}

fn publish(node: &Node) -> Result<edge_ota::types::CommitChecksum> {
    node.site.publish(&node.base(), "2", |tree| {
        tree.write("usr/share/edge-test/release", "2")
    })
}

/// The boot after the cut is the old or the new release; from there one more upgrade ends in the new.
fn converges(node: &mut Node, next: &edge_ota::types::CommitChecksum) -> Result<()> {
    let status = node.verdict()?;
    let base = node.base();
    ensure!(
        [&base, next].contains(&&status.booted.commit),
        "neither old nor new: {status:?}"
    );
    node.vm.wait_for_ssh(BOOT)?;
    if &status.booted.commit != next {
        node.upgrade()?;
        node.expect(Slot::B, next)?;
    }
    node.vm.ask("! dmesg | grep -i 'ext4.*error'")?;
    ensure!(
        &node.status()?.booted.commit == next,
        "the upgrade did not converge"
    );
    Ok(())
}
