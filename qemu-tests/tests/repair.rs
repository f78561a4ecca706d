//! Damage to a machine's disk, and `edge-ota repair`.

use anyhow::{Context, Result, ensure};
use edge_ota::types::Slot;
use qemu_tests::lab::{self, Lab};
use qemu_tests::node::{Node, case_with_disks};
use qemu_tests::vm::HOST;
use serde_json::Value;

/// Where the updater has `edge-boot`; the twin's is nowhere.
const BOOT: &str = "/run/edge-ota/boot";
/// In both slots.
const SHARED: &str = "usr/lib/os-release";

#[test]
fn a_flipped_object_and_damaged_boot_files_are_repaired_in_both_slots() -> Result<()> {
    let second = |lab: &Lab, dir: &std::path::Path| {
        let disk = dir.join("twin.qcow2");
        lab::overlay(&lab.image, &disk).map(|()| vec![disk])
    };
    case_with_disks("repair", second, |node| {
        let base = node.base();
        node.expect(Slot::A, &base)?;
        ensure!(
            ends_with(node, "edge-ota repair --check")? == 0,
            "a new machine is damaged"
        );
        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        let good = sums(node)?;
        flip(node, "/sysroot", SHARED)?;
        damage_boot_files(node, base.as_str())?;
        ensure!(sums(node)? != good, "nothing was damaged");
        ensure!(
            ends_with(node, "edge-ota repair --check")? == 14,
            "the damage was not found"
        );

        let nowhere = format!("edge-ota repair --url http://{HOST}:1");
        ensure!(
            ends_with(node, &nowhere)? == 15,
            "repaired without a server"
        );
        let report: Value = serde_json::from_str(&node.vm.ask("edge-ota repair --json")?)?;
        let findings = report["findings"].as_array().context("no findings")?;
        ensure!(
            findings
                .iter()
                .all(|finding| finding["outcome"] == "repaired"),
            "{report}"
        );
        ensure!(
            sums(node)? == good,
            "the files of the slots are not what they were"
        );
        ensure!(
            ends_with(node, "edge-ota repair --check")? == 0,
            "damage remains"
        );
        let history = node.history()?.to_string();
        ensure!(history.contains("repaired"), "{history}");
        node.cut_power()?;
        node.expect(Slot::B, &next)?;
        ensure!(sums(node)? == good, "after a power cut");
        of_a_disk_that_does_not_run(node)
    })
}

fn of_a_disk_that_does_not_run(node: &Node) -> Result<()> {
    node.vm
        .ask("mkdir -p /run/twin && mount /dev/vdb4 /run/twin")?;
    flip(node, "/run/twin", SHARED)?;
    node.vm.ask("umount /run/twin")?;
    let repair = format!(
        "edge-ota repair --disk /dev/vdb --url {}",
        node.web.url_for_guests()
    );
    ensure!(
        ends_with(node, "edge-ota repair --check --disk /dev/vdb")? == 14,
        "not found"
    );
    ensure!(ends_with(node, &repair)? == 0, "not repaired");
    ensure!(
        ends_with(node, "edge-ota repair --check --disk /dev/vdb")? == 0,
        "damage remains"
    );
    Ok(())
}

/// What the command ends with, and what it says on failure of the test.
fn ends_with(node: &Node, command: &str) -> Result<i32> {
    let output = node.vm.ssh(command)?;
    eprintln!(
        "{command}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.status.code().context("it was ended by a signal")
}

fn sums(node: &Node) -> Result<String> {
    node.vm.ask(&format!(
        "edge-ota status >/dev/null && sha256sum /sysroot/ostree/slot-[ab]/{SHARED} {BOOT}/slots/*/* | sort"
    ))
}

/// One bit, in place, as a medium does it: every link of the file has it.
fn flip(node: &Node, sysroot: &str, file: &str) -> Result<()> {
    let script = format!(
        "mount -o remount,rw,bind {sysroot} 2>/dev/null || mount -o remount,rw {sysroot}; \
         f={sysroot}/ostree/slot-a/{file} && printf X | dd of=$f bs=1 seek=3 conv=notrunc 2>/dev/null && sync -f $f"
    );
    let alone = format!("unshare -m sh -ec '{}'", script.replace('\'', "'\\''"));
    node.vm.ask(&alone).map(drop)
}

fn damage_boot_files(node: &Node, commit: &str) -> Result<()> {
    let boot = BOOT;
    node.vm.ask(&format!(
        "mount -o remount,rw {boot} && printf X | dd of=$(echo {boot}/slots/{commit}.*/initramfs.img) bs=1 seek=9999 conv=notrunc && \
         printf junk >{boot}/default.copy && printf junk >{boot}/slot-b && sync -f {boot} && \
         mount -o remount,ro {boot}"
    ))?;
    node.vm.ask(
        "mkdir -p /run/esp && mount $(lsblk -nrpo NAME,PARTLABEL /dev/vda | sed -n 's/ esp$//p') /run/esp; \
         rm /run/esp/EFI/debian/grub.cfg && umount /run/esp",
    )?;
    Ok(())
}
