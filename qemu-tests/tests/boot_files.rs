//! Damaged boot files: every doubt ends in a good slot.

use std::time::Duration;

use anyhow::{Result, ensure};
use edge_build::board::Boot;
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::disk::Partition;
use qemu_tests::hardware;
use qemu_tests::node::{Node, case};
use qemu_tests::vm::BOOT;

/// Where `trial.0`, `trial.1` and `boots` lie in `edge-trial`: docs/formats.md.
const TRIAL: [u64; 2] = [7, 15];
const BOOTS: u64 = 23;
const BLOCK: usize = 1024;

#[test]
fn damaged_records_end_in_a_good_slot() -> Result<()> {
    case("damaged-records", |node| {
        let base = node.base();
        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        no_readable_trial_record(node)?;
        one_readable_trial_record(node, &next)?;
        garbage_for_the_default(node, &next)?;
        no_kernel_for_the_default(node, &next)
    })
}

fn no_readable_trial_record(node: &mut Node) -> Result<()> {
    stop_with_an_armed_trial(node)?;
    damage(node, TRIAL[0], &[0; BLOCK])?;
    damage(node, TRIAL[1], &[0xa5; BLOCK])?;
    damage(node, BOOTS, &[0; BLOCK])?;
    node.power_on()?;
    let status = node.verdict()?;
    ensure!(
        status.booted.slot == Slot::A && status.trial.is_none(),
        "{status:?}"
    );
    node.vm.wait_for_ssh(BOOT)
}

/// GRUB cannot write a damaged copy, and a loader that cannot count both down starts no trial: the release is
/// tried once more. U-Boot writes sectors, so it counts both down and starts the trial.
fn one_readable_trial_record(node: &mut Node, next: &CommitChecksum) -> Result<()> {
    stop_with_an_armed_trial(node)?;
    damage(node, TRIAL[0], &[0xa5; BLOCK])?;
    node.power_on()?;
    if hardware::board(&node.site.board)?.boot == Boot::Uboot {
        return node.expect(Slot::B, next).map(drop);
    }
    let status = node.verdict()?;
    ensure!(
        status.booted.slot == Slot::A && status.trial.is_none(),
        "{status:?}"
    );
    node.vm.wait_for_ssh(BOOT)?;
    let output = node.vm.ssh("edge-ota upgrade --retry --reboot")?;
    ensure!(
        matches!(output.status.code(), Some(0 | 255)),
        "the second try was refused"
    );
    node.expect(Slot::B, next).map(drop)
}

fn garbage_for_the_default(node: &mut Node, next: &CommitChecksum) -> Result<()> {
    let boot = node.writable_boot_partition()?;
    node.vm.ask(&format!(
        "head -c 1024 /dev/urandom >{boot}/default; sync -f {boot}"
    ))?;
    node.vm.kill()?;
    damage(node, BOOTS, &[0xa5; BLOCK])?;
    node.power_on()?;
    let status = node.verdict()?;
    ensure!(
        status.booted.slot == Slot::B && &status.booted.commit == next,
        "{status:?}"
    );
    node.vm.wait_for_ssh(BOOT)
}

fn no_kernel_for_the_default(node: &mut Node, next: &CommitChecksum) -> Result<()> {
    let base = node.base();
    let boot = node.writable_boot_partition()?;
    node.vm
        .ask(&format!("rm {boot}/slots/{next}.*/vmlinuz; sync -f {boot}"))?;
    node.cut_power()?;
    let status = node.verdict()?;
    ensure!(
        status.booted.slot == Slot::A && status.booted.commit == base,
        "{status:?}"
    );
    Ok(())
}

/// An upgrade whose reboot ends the machine between the arming and the boot loader.
fn stop_with_an_armed_trial(node: &mut Node) -> Result<()> {
    node.vm.stop_at_reboot()?;
    node.vm.ssh("edge-ota upgrade --retry --reboot")?;
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
