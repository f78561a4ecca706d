//! One good upgrade of the board that differs most from x86_64: 32 bits, U-Boot, another kernel.
//! `make test-board` runs the other cases on it.

use anyhow::{Result, ensure};
use edge_ota::types::Slot;
use qemu_tests::node::case_on;

#[test]
fn armhf_upgrades_into_the_other_slot() -> Result<()> {
    case_on("armhf", "armhf", |node| {
        let next = node.site.publish(&node.base(), "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        ensure!(node.vm.ask("cat /usr/share/edge-test/release")? == "2");
        ensure!(
            node.vm.ask("uname -m")? == "armv7l",
            "not a 32-bit ARM kernel"
        );
        Ok(())
    })
}
