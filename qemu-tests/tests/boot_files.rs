//! Damaged boot files: every doubt ends in a good slot.

use std::time::Duration;

use anyhow::{Result, ensure};
use edge_ota::types::Slot;
use qemu_tests::disk::Partition;
use qemu_tests::node::{Node, case, expect_settled};
use qemu_tests::vm::BOOT;

/// Where `trial.0`, `trial.1` and `boots` lie in `edge-trial`: docs/formats.md.
const TRIAL: [u64; 2] = [7, 15];
const BOOTS: u64 = 23;
const BLOCK: usize = 1024;

#[test]
fn without_a_readable_trial_record_there_is_no_trial() -> Result<()> {
    case("no-trial-record", |node| {
        stop_with_an_armed_trial(node)?;
        damage(node, TRIAL[0], &[0; BLOCK])?;
        damage(node, TRIAL[1], &[0xa5; BLOCK])?;
        node.power_on()?;
        let status = node.verdict()?;
        ensure!(
            status.booted.slot == Slot::A && status.trial.is_none(),
            "{status:?}"
        );
        Ok(())
    })
}

#[test]
fn one_readable_copy_of_the_trial_record_is_enough() -> Result<()> {
    case("one-trial-copy", |node| {
        stop_with_an_armed_trial(node)?;
        damage(node, TRIAL[0], &[0xa5; BLOCK])?;
        node.power_on()?;
        let status = node.verdict()?;
        ensure!(
            status.booted.slot == Slot::B && status.default == Slot::B,
            "{status:?}"
        );
        Ok(())
    })
}

#[test]
fn garbage_in_the_environment_and_the_default_boots_a_good_slot() -> Result<()> {
    case("garbage-default", |node| {
        let base = node.base();
        let boot = node.boot_partition()?;
        for content in [
            "head -c 1024 /dev/urandom",
            "true",
            "head -c 1024 /dev/zero",
        ] {
            node.vm
                .ask(&format!("{content} > {boot}/default; sync -f {boot}"))?;
            node.vm.kill()?;
            damage(node, BOOTS, &[0; BLOCK])?;
            node.power_on()?;
            let status = node.verdict()?;
            ensure!(
                status.booted.slot == Slot::A && status.booted.commit == base,
                "{status:?}"
            );
            node.vm.wait_for_ssh(BOOT)?;
        }
        Ok(())
    })
}

#[test]
fn a_missing_kernel_of_the_default_boots_the_other_slot() -> Result<()> {
    case("missing-kernel", |node| {
        let base = node.base();
        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        let boot = node.boot_partition()?;
        node.vm
            .ask(&format!("rm {boot}/slots/{next}.*/vmlinuz; sync -f {boot}"))?;
        node.cut_power()?;
        let status = node.verdict()?;
        ensure!(
            status.booted.slot == Slot::A && status.booted.commit == base,
            "{status:?}"
        );
        Ok(())
    })
}

/// An upgrade whose reboot ends the machine between the arming and the boot loader.
fn stop_with_an_armed_trial(node: &mut Node) -> Result<()> {
    node.site.publish(&node.base(), "2", |tree| {
        tree.write("usr/share/edge-test/release", "2")
    })?;
    node.vm.stop_at_reboot()?;
    node.vm.ssh("edge-ota upgrade --reboot")?;
    node.vm.wait_for_exit(Duration::from_secs(180))?;
    for sector in TRIAL {
        let disk = node.vm.config().boot_disk()?;
        let record = Partition::find(disk, "edge-trial")?.read_sectors(sector, 2)?;
        ensure!(
            String::from_utf8_lossy(&record).contains("trial_slot=b"),
            "no trial is armed in sector {sector}"
        );
    }
    Ok(())
}

fn damage(node: &Node, sector: u64, bytes: &[u8]) -> Result<()> {
    Partition::find(node.vm.config().boot_disk()?, "edge-trial")?.write_sectors(sector, bytes)
}

#[test]
fn an_emptied_boot_counter_changes_nothing() -> Result<()> {
    case("empty-counter", |node| {
        node.vm.kill()?;
        damage(node, BOOTS, &[0; BLOCK])?;
        node.power_on()?;
        expect_settled(&node.verdict()?, Slot::A, &node.base())
    })
}
