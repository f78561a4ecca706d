//! Two identical disks in one machine.

use anyhow::{Result, ensure};
use edge_ota::types::Slot;
use qemu_tests::lab::{self, Lab};
use qemu_tests::node::case_with_disks;

#[test]
fn two_identical_disks_do_not_mix() -> Result<()> {
    let second = |lab: &Lab, dir: &std::path::Path| {
        let disk = dir.join("twin.qcow2");
        lab::overlay(&lab.image, &disk).map(|()| vec![disk])
    };
    case_with_disks("twin-disks", second, |node| {
        let base = node.base();
        node.expect(Slot::A, &base)?;
        let used = node.vm.ask(
            "for at in /sysroot $(findmnt -nro TARGET -S PARTLABEL=edge-boot); do \
             lsblk -no PKNAME $(findmnt -nvo SOURCE $at); done | sort -u",
        )?;
        let serial = node.vm.ask(&format!("cat /sys/block/{used}/serial"))?;
        ensure!(
            serial.trim() == "edge-disk-0",
            "the machine runs from {used} ({serial})"
        );

        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        let serial = node
            .vm
            .ask("cat /sys/block/$(lsblk -no PKNAME $(findmnt -nvo SOURCE /sysroot))/serial")?;
        ensure!(
            serial.trim() == "edge-disk-0",
            "after the upgrade the machine runs from the twin"
        );
        Ok(())
    })
}
