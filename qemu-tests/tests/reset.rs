//! Factory resets, and the first boot after one.

use anyhow::{Context, Result, ensure};
use edge_ota::types::Slot;
use qemu_tests::node::{Node, case};
use qemu_tests::vm::BOOT;
use serde_json::Value;

#[test]
fn a_reset_keeps_or_wipes_var_and_keeps_the_other_slot() -> Result<()> {
    case("reset", |node| {
        let base = node.base();
        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        let floor = sequence(node)?;
        ensure!(floor > 0, "no sequence was accepted");
        node.vm.ask(
            "echo mine >/etc/mine && echo mine >/var/lib/mine && echo nameless >/etc/hostname",
        )?;
        ensure!(
            !node.vm.ssh("edge-ota reset </dev/null")?.status.success(),
            "it did not ask"
        );

        let before = identity(node)?;
        reset(node, "--keep-var")?;
        node.expect(Slot::B, &next)?;
        let files = node
            .vm
            .ask("ls /etc/mine /etc/hostname /var/lib/mine 2>/dev/null || true")?;
        ensure!(files.trim() == "/var/lib/mine", "after --keep-var: {files}");
        ensure!(
            identity(node)? != before,
            "machine-id or host keys are the old ones"
        );
        node.vm
            .ask("grep -q updates.example /etc/edge-ota/config.d/10-source.toml")?;
        ensure!(
            node.vm.ask("hostname")?.trim().starts_with("edge-"),
            "not named by its number"
        );

        write_configuration(node)?;
        reset(node, "--wipe-var")?;
        node.expect(Slot::B, &next)?;
        ensure!(sequence(node)? == floor, "the floor was lost");
        let files = node
            .vm
            .ask("ls -d /var/lib/mine /var/lib/edge-ota/reset.json 2>/dev/null || true")?;
        ensure!(files.trim().is_empty(), "after --wipe-var: {files}");
        ensure!(
            node.vm.ask("cat /proc/sys/kernel/hostname")?.trim() == "card-7",
            "not named by the card"
        );
        let events = node.vm.ask("edge-ota history")?;
        ensure!(
            events.contains("hostname card-7 from edge-config")
                && events.matches(" reset ").count() == 2,
            "{events}"
        );

        node.vm.ask("edge-ota rollback")?;
        let boot = node.vm.boot_id()?;
        node.vm.ssh("systemctl reboot")?;
        node.vm.wait_for_new_boot(&boot, BOOT)?;
        let status = node.status()?;
        ensure!(
            status.booted.slot == Slot::A && status.booted.commit == base,
            "{status:?}"
        );
        Ok(())
    })
}

#[test]
fn a_reset_that_loses_power_is_finished_at_the_next_boot() -> Result<()> {
    case("reset-power", |node| {
        let base = node.base();
        node.vm.ask("for n in $(seq 200); do mkdir -p /var/lib/mine/$n && echo x >/var/lib/mine/$n/x; done; sync")?;
        node.vm.ask("edge-ota reset --wipe-var --yes")?;
        node.cut_power()?;
        node.expect(Slot::A, &base)?;
        let left = node
            .vm
            .ask("ls -d /var/lib/mine /var/lib/edge-ota/reset.json 2>/dev/null || true")?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
}

fn reset(node: &mut Node, how: &str) -> Result<()> {
    let output = node
        .vm
        .ssh(&format!("edge-ota reset {how} --yes --reboot"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(matches!(output.status.code(), Some(0 | 255)), "{said}");
    node.vm
        .wait_for_event("RESET", BOOT)
        .with_context(|| format!("the reset said: {said}"))
}

fn sequence(node: &Node) -> Result<u64> {
    let status: Value = serde_json::from_str(&node.vm.ask("edge-ota status --json")?)?;
    status["sequence"].as_u64().context("no sequence")
}

fn identity(node: &Node) -> Result<String> {
    node.vm
        .ask("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")
}

/// As one does it on a desk, on the FAT partition of a card.
fn write_configuration(node: &Node) -> Result<()> {
    node.vm
        .ask(
            "mkdir -p /run/esp && mount $(lsblk -nrpo NAME,PARTLABEL /dev/vda | sed -n 's/ esp$//p') /run/esp && \
             mkdir /run/esp/edge-config && echo card-7 >/run/esp/edge-config/hostname && umount /run/esp",
        )
        .map(drop)
}
