//! A tree whose initramfs dracut made: it boots, and it resets the machine where ours would.

use std::fs;

use anyhow::{Result, ensure};
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::lab;
use qemu_tests::node::{Node, case};

#[test]
fn dracut_boots_and_comes_back_from_a_missing_init() -> Result<()> {
    case("dracut", |node| {
        let good = compose(node)?;
        node.site.release(&good)?;
        node.upgrade()?;
        node.expect(Slot::B, &good)?;
        // Our own initramfs has no systemd that would say so.
        node.vm.ask("journalctl -b | grep -q 'Switching root'")?;

        node.configure("91-trial", "[trial]\ntries = 1\ndeadline = \"150s\"")?;
        node.site.publish_broken(&good, "3", |tree| {
            tree.link("usr/lib/systemd/systemd", "/nowhere")?;
            tree.link("usr/sbin/init", "/nowhere")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &good).map(drop)
    })
}

/// The test node, with the initramfs made by dracut.
fn compose(node: &Node) -> Result<CommitChecksum> {
    let workspace = lab::workspace()?;
    let dir = node.dir.join("tree");
    let treefile = lab::write_treefile(&workspace.join("treefiles"), &dir, &node.lab.ssh_key)?;
    let text = fs::read_to_string(&treefile)?;
    ensure!(
        text.contains("\nedge:\n"),
        "{} has no edge section",
        treefile.display()
    );
    let text = text.replace(
        "\nedge:\n",
        "\npackages: [dracut-core]\nedge:\n  initramfs: dracut\n",
    );
    fs::write(&treefile, text)?;
    lab::compose(&node.site, &treefile)
}
