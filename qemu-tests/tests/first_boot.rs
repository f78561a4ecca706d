//! What a device does at its first boot: a configuration on a stick, a name, no network at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::types::Slot;
use qemu_tests::node::{case, case_with_disks};
use qemu_tests::vm::BOOT;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVkZ2UtdGVzdC1rZXktb2Ytbm9ib2R5AAAA stick";

#[test]
fn a_stick_configures_a_device_once() -> Result<()> {
    case_with_disks(
        "config-stick",
        |_, dir| Ok(vec![make_stick(dir)?]),
        |node| {
            let base = node.base();
            node.expect(Slot::A, &base)?;
            let check = |what: &str, expected: &str| -> Result<()> {
                let found = node.vm.ask(what)?;
                ensure!(
                    found.trim() == expected,
                    "{what}: '{found}', not '{expected}'"
                );
                Ok(())
            };
            check("hostname", "rack-7")?;
            check("grep -c stick /root/.ssh/authorized_keys", "1")?;
            check(
                "stat -c %a /root/.ssh/authorized_keys /etc/edge-ota/config.d/50-stick.toml | tr '\\n' ' '",
                "600 600",
            )?;
            check(
                "stat -c '%a %G' /etc/systemd/network/20-wg.netdev",
                "640 systemd-network",
            )?;
            check(
                "cat /sys/class/net/dummy7/operstate >/dev/null && echo there",
                "there",
            )?;
            check(
                "edge-ota status --json | sed -n 's/.*\"channel\": \"\\(.*\\)\".*/\\1/p'",
                "canary",
            )?;
            let history = node.vm.ask("edge-ota history")?;
            ensure!(
                history.contains("first boot")
                    && history.contains("hostname rack-7, 1 SSH keys, 2 network files"),
                "{history}"
            );

            // A second look finds nothing to do, whatever the stick says by then.
            node.vm.ask("echo other >/etc/hostname; mkdir -p /run/s && mount /dev/vdb /run/s && echo stick2 >/run/s/hostname && umount /run/s")?;
            let boot = node.vm.boot_id()?;
            node.vm.ssh("systemctl reboot")?;
            node.vm.wait_for_new_boot(&boot, BOOT)?;
            ensure!(
                node.vm.ask("hostname")?.trim() == "other",
                "configured again"
            );
            Ok(())
        },
    )
}

/// A whole disk without a partition table, as FAT sticks often are.
fn make_stick(dir: &Path) -> Result<PathBuf> {
    let files = dir.join("stick");
    for (path, text) in [
        ("hostname", "rack-7\r\n"),
        ("authorized_keys", KEY),
        (
            "network/20-wg.netdev",
            "[NetDev]\nName=dummy7\nKind=dummy\n",
        ),
        (
            "network/20-wg.network",
            "[Match]\nName=dummy7\n[Link]\nRequiredForOnline=no\n",
        ),
        ("config.d/50-stick.toml", "[source]\nchannel = \"canary\"\n"),
    ] {
        let path = files.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&files))?;
        fs::write(path, text)?;
    }
    let (raw, disk) = (dir.join("stick.raw"), dir.join("stick.qcow2"));
    fs::File::create(&raw)?.set_len(16 << 20)?;
    Cmd::new("mformat")
        .args(["-v", "EDGE-CONFIG", "-i"])
        .arg(&raw)
        .arg("::")
        .run()?;
    for name in ["hostname", "authorized_keys", "network", "config.d"] {
        let copy = Cmd::new("mcopy").args(["-s", "-i"]).arg(&raw);
        copy.arg(files.join(name)).arg("::").run()?;
    }
    Cmd::new("qemu-img")
        .args(["convert", "-O", "qcow2"])
        .arg(&raw)
        .arg(&disk)
        .run()?;
    Ok(disk)
}

#[test]
fn a_device_without_a_network_is_good_and_named_by_its_number() -> Result<()> {
    case("no-network", |node| {
        let base = node.base();
        node.vm
            .ask("ln -s /dev/null /etc/systemd/network/80-dhcp.network && sync")?;
        node.cut_power()?;
        let status = node.verdict()?;
        qemu_tests::node::expect_settled(&status, Slot::A, &base)?;
        Ok(())
    })
}
