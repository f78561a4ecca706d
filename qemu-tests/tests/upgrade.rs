//! Good releases: the slots take turns and what belongs to the machine stays.

use anyhow::{Result, ensure};
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::node::{Node, case};

const NOTHING_NEW: i32 = 77;

#[test]
fn slots_take_turns_and_the_machine_keeps_what_is_its_own() -> Result<()> {
    case("upgrade", |node| {
        let base = node.base();
        node.vm
            .ask("echo kept > /var/lib/edge-test; echo edited >> /etc/issue; sync")?;
        let own = belongings(node)?;

        let userspace = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        move_to(node, Slot::B, &userspace)?;
        ensure!(node.vm.ask("cat /usr/share/edge-test/release")? == "2");
        ensure!(
            node.vm.exit_code("edge-ota upgrade")? == NOTHING_NEW,
            "an upgrade to what runs is nothing new"
        );

        let third = node.site.publish(&userspace, "3", |tree| {
            tree.write("usr/share/edge-test/release", "3")
        })?;
        move_to(node, Slot::A, &third)?;

        // The commit that slot b still holds, deployed once more over itself.
        node.site.release(&userspace)?;
        move_to(node, Slot::B, &userspace)?;

        ensure!(
            belongings(node)? == own,
            "something of the machine changed: {own} became {}",
            belongings(node)?
        );
        // Whatever the prunes took, both slots still boot: this one from power on, the other below.
        node.cut_power()?;
        node.expect(Slot::B, &userspace)?;
        node.vm.ask("edge-ota rollback")?;
        let boot = node.vm.boot_id()?;
        node.vm.ssh("systemctl reboot")?;
        node.vm.wait_for_new_boot(&boot, qemu_tests::vm::BOOT)?;
        ensure!(
            node.status()?.booted.slot == Slot::A,
            "the rollback did not reach slot a"
        );
        ensure!(
            belongings(node)? == own,
            "the rollback changed something of the machine"
        );
        Ok(())
    })
}

fn move_to(node: &mut Node, slot: Slot, commit: &CommitChecksum) -> Result<()> {
    node.upgrade()?;
    node.expect(slot, commit).map(drop)
}

/// One line for each thing that must outlive an upgrade.
fn belongings(node: &Node) -> Result<String> {
    node.vm
        .ask("cat /var/lib/edge-test /etc/machine-id /etc/issue /etc/ssh/ssh_host_*_key.pub")
}
