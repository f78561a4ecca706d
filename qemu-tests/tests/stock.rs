//! Beside stock tools and stock firmware.

use anyhow::{Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::types::Slot;
use qemu_tests::node::{case, case_from_power_on};
use qemu_tests::vm::{BOOT, Firmware};

#[test]
fn stock_ostree_reads_the_published_repository() -> Result<()> {
    case("stock-ostree", |node| {
        let base = node.base();
        let copy = node.dir.join("pulled");
        let ostree = |args: &[&str]| {
            Cmd::new("ostree")
                .arg(format!("--repo={}", copy.display()))
                .args(args)
        };
        ostree(&["init", "--mode=archive"]).run()?;
        ostree(&[
            "remote",
            "add",
            "--no-gpg-verify",
            "site",
            &format!("{}/repo", node.web.url()),
        ])
        .run()?;
        ostree(&["pull", "site", base.as_str()]).run()?;
        ostree(&["fsck", "--quiet"]).run()?;
        let listed = ostree(&["ls", base.as_str(), "/usr/bin/edge-ota"]).text()?;
        ensure!(listed.contains("/usr/bin/edge-ota"), "{listed}");
        Ok(())
    })
}

#[test]
fn secure_boot_boots_to_a_good_status() -> Result<()> {
    case_from_power_on("secure-boot", Firmware::SecureBoot, |node| {
        let base = node.base();
        node.expect(Slot::A, &base)?;
        // The last byte of the variable is the state.
        let state = node.vm.ask("tail -c 1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | od -An -tu1")?;
        ensure!(state.trim() == "1", "Secure Boot is off: {state}");
        Ok(())
    })
}

#[test]
fn stock_deploy_and_cleanup_harm_neither_slot() -> Result<()> {
    case("stock-admin", |node| {
        let base = node.base();
        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        node.vm.ask(&format!(
            "ostree admin deploy --os=edge {base} && ostree admin cleanup"
        ))?;
        node.cut_power()?;
        node.expect(Slot::B, &next)?;
        node.vm.ask("ostree admin cleanup && edge-ota rollback")?;
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
