//! The image of a board with UEFI on a machine that starts by BIOS: the same slots, trials and verdicts.

use std::time::Duration;

use anyhow::{Result, ensure};
use edge_ota::types::Slot;
use qemu_tests::node::{Node, case_from_power_on, expect_settled};
use qemu_tests::vm::{BOOT, Firmware};

/// The deadline of a trial without a verdict, for tests, plus two boots under emulation.
const BACK: Duration = Duration::from_secs(900);

#[test]
fn bios_boots_upgrades_survives_a_cut_and_comes_back() -> Result<()> {
    case_from_power_on("bios", Firmware::Bios, |node| {
        let base = node.base();
        node.expect(Slot::A, &base)?;
        node.vm.ask("test ! -e /sys/firmware/efi")?;
        node.configure("91-trial", "[trial]\ntries = 2\ndeadline = \"150s\"")?;

        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.vm.console.wait_for_text("edge_ota.trial=1", BOOT)?;
        node.cut_power()?;
        node.vm.console.wait_for_text("edge_ota.trial=0", BOOT)?;
        node.expect(Slot::B, &next)?;

        let bad = node.site.publish_broken(&next, "3", |tree| {
            tree.blank(&format!("{}/initramfs.img", tree.kernel_dir()?))
        })?;
        node.upgrade()?;
        node.vm.console.wait_for_text("edge_ota.trial=1", BOOT)?;
        node.vm.console.wait_for_text("edge_ota.trial=0", BOOT)?;
        let status = node.vm.wait_for_report(BACK)?;
        expect_settled(&status, Slot::B, &next)?;
        node.vm.wait_for_ssh(BOOT)?;
        failed(node, bad.as_str())
    })
}

fn failed(node: &Node, commit: &str) -> Result<()> {
    let history = node.history()?.to_string();
    ensure!(
        history.contains(commit),
        "the history does not name {commit}: {history}"
    );
    Ok(())
}
