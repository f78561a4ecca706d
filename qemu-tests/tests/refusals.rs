//! Releases that must not be installed.

use std::fs;

use anyhow::{Result, ensure};
use edge_ota::types::CommitChecksum;
use qemu_tests::node::{Node, case};
use qemu_tests::site::{BOARD, CHANNEL, Site};
use qemu_tests::variant;

const BAD_SIGNATURE: i32 = 20;
const STALE: i32 = 21;
const WRONG_BOARD: i32 = 22;
const DOWNGRADE: i32 = 23;
const COMMIT_MISMATCH: i32 = 24;

#[test]
fn each_refusal_has_its_own_exit_code_and_changes_nothing() -> Result<()> {
    case("refusals", |node| {
        let base = node.base();
        let before = fingerprint(node)?;
        let older = node.site.read_manifest()?;
        let good = next(node, "2")?;
        node.site.sign(&good)?;

        let refuse = |node: &Node, what: &str, expected: i32| -> Result<()> {
            let code = node.vm.exit_code("edge-ota upgrade")?;
            ensure!(code == expected, "{what}: exit code {code}, not {expected}");
            ensure!(
                fingerprint(node)? == before,
                "{what}: something changed on disk"
            );
            Ok(())
        };

        let unsigned = next(node, "unsigned")?;
        node.site.release_ungated(&unsigned)?;
        refuse(node, "unsigned commit", BAD_SIGNATURE)?;

        strangers(node).release_ungated(&good)?;
        refuse(node, "wrong key", BAD_SIGNATURE)?;

        node.site
            .release_command("aarch64", &good)
            .arg("--skip-gate")
            .run()?;
        node.site.replace_manifest(&fs::read(
            node.site.dir.join("channels").join(CHANNEL).join("aarch64"),
        )?)?;
        refuse(node, "manifest for another board", WRONG_BOARD)?;

        node.site
            .release_command(BOARD, &good)
            .args(["--expires-in", "1s"])
            .run()?;
        node.vm.ask("date -s '+1 hour'")?;
        refuse(node, "expired manifest", STALE)?;
        node.vm.set_clock()?;

        let lost = next(node, "lost")?;
        node.site.sign(&lost)?;
        node.site.release(&lost)?;
        swap_commit_object(node, &lost, &base)?;
        refuse(
            node,
            "manifest and repository that do not match",
            COMMIT_MISMATCH,
        )?;

        // The newest sequence is remembered as soon as its manifest is valid.
        node.site.release(&good)?;
        ensure!(
            node.vm.exit_code("edge-ota check")? == 0,
            "the good release is not seen"
        );
        node.site.replace_manifest(&older)?;
        refuse(node, "older sequence", DOWNGRADE)
    })
}

fn next(node: &Node, version: &str) -> Result<CommitChecksum> {
    variant::commit(&node.site.repo(), &node.base(), version, |tree| {
        tree.write("usr/share/edge-test/release", version)
    })
}

/// The same folder, signed with keys that the device does not know.
fn strangers(node: &Node) -> Site {
    Site {
        dir: node.site.dir.clone(),
        keys: node.lab.strange_keys.clone(),
        builder: node.site.builder.clone(),
    }
}

/// A repository that gives another commit than asked for. A new file: copies share the old one.
fn swap_commit_object(node: &Node, asked: &CommitChecksum, given: &CommitChecksum) -> Result<()> {
    let place = |commit: &CommitChecksum| {
        let (head, rest) = commit.as_str().split_at(2);
        node.site
            .repo()
            .join("objects")
            .join(head)
            .join(format!("{rest}.commit"))
    };
    edge_ota::durable::write(&place(asked), &fs::read(place(given))?)
}

/// What would differ if anything had been installed: deployments, boot files, links, the trial record.
fn fingerprint(node: &Node) -> Result<String> {
    let boot = node.boot_partition()?;
    node.vm.ask(&format!(
        "ls -d /ostree/deploy/edge/deploy/*; readlink /ostree/slot-*; find {boot} -type f -exec sha256sum {{}} + | sort; \
         dd if=/dev/disk/by-partlabel/edge-trial bs=512 skip=7 count=16 status=none | sha256sum"
    ))
}
