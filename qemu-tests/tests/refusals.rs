//! Releases that must not be installed.

use std::fs;

use anyhow::{Result, ensure};
use edge_ota::exit::Exit;
use edge_ota::types::CommitChecksum;
use qemu_tests::node::{Node, case};
use qemu_tests::site::{CHANNEL, Site};
use qemu_tests::variant;

#[test]
fn each_refusal_has_its_own_exit_code_and_changes_nothing() -> Result<()> {
    case("refusals", |node| {
        let before = fingerprint(node)?;
        let first = node.site.read_manifest()?;
        let good = next(node, "2")?;
        node.site.sign(&good)?;

        // The floor rises to sequence 2 here: the manifest is good, its commit is not.
        let unsigned = next(node, "unsigned")?;
        node.site.release_ungated(&unsigned)?;
        refused(node, &before, "unsigned commit", Exit::Unsigned)?;
        let second = node.site.read_manifest()?;

        node.site.replace_manifest(&first)?;
        refused(node, &before, "older sequence", Exit::Downgrade)?;

        let strangers = strangers(node)?;
        strangers.release_ungated(&good)?;
        node.site.replace_manifest(&strangers.read_manifest()?)?;
        refused(node, &before, "wrong key", Exit::BadSignature)?;

        node.site
            .release_command("toaster", &good)
            .arg("--skip-gate")
            .run()?;
        let foreign = node.site.dir.join("channels").join(CHANNEL).join("toaster");
        node.site.replace_manifest(&fs::read(foreign)?)?;
        refused(
            node,
            &before,
            "manifest for another board",
            Exit::WrongBoard,
        )?;

        node.site.replace_manifest(&second)?;
        node.site
            .release_command(&node.site.board, &good)
            .args(["--expires-in", "1s"])
            .run()?;
        node.vm.ask("date -s '+1 hour'")?;
        refused(node, &before, "expired manifest", Exit::Stale)?;
        node.vm.set_clock()?;

        let lost = next(node, "lost")?;
        node.site.sign(&lost)?;
        node.site.release(&lost)?;
        swap_commit_object(node, &lost, &node.base())?;
        refused(
            node,
            &before,
            "manifest and repository that do not match",
            Exit::CommitMismatch,
        )
    })
}

fn refused(node: &Node, before: &str, what: &str, expected: Exit) -> Result<()> {
    let code = node.vm.exit_code("edge-ota upgrade")?;
    ensure!(
        code == i32::from(expected.code()),
        "{what}: exit code {code}, not {expected:?}"
    );
    ensure!(
        fingerprint(node)? == before,
        "{what}: something changed on disk"
    );
    Ok(())
}

fn next(node: &Node, version: &str) -> Result<CommitChecksum> {
    variant::commit(&node.site.repo(), &node.base(), version, |tree| {
        tree.write("usr/share/edge-test/release", version)
    })
}

/// Another site with the same repository and keys that the device does not know.
fn strangers(node: &Node) -> Result<Site> {
    let dir = node.dir.join("strangers");
    fs::create_dir_all(&dir)?;
    std::os::unix::fs::symlink(node.site.repo(), dir.join("repo"))?;
    Ok(Site {
        board: node.site.board.clone(),
        dir,
        keys: node.lab.strange_keys.clone(),
        builder: node.site.builder.clone(),
    })
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
