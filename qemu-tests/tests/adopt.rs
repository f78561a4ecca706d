//! A disk as Anaconda's `ostreesetup` leaves it, adopted in its `%post`, boots and upgrades like any other. Anaconda
//! itself is not run: the sysroot is made by `ostree admin`, and the mounts are those of its `%post`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::lab::Lab;
use qemu_tests::node::{Node, case_with_disks};
use qemu_tests::vm::{Vm, VmConfig};
use serde_json::Value;

const OS: &str = "stock";
/// MiB
const SIZE: u64 = 4096;
/// Name of the file, start and size in MiB; in the order in which Anaconda was asked for them.
const ESP: (&str, u64, u64) = ("esp", 1, 64);
const BOOT: (&str, u64, u64) = ("boot", 65, 512);
const ROOT: (&str, u64, u64) = ("root", 578, SIZE - 580);

#[test]
fn a_stock_installation_becomes_slot_a_and_upgrades() -> Result<()> {
    let disk = |lab: &Lab, dir: &Path| Ok(vec![make_disk(lab, dir)?]);
    case_with_disks("adopt", disk, |node| {
        let base = node.base();
        node.expect(Slot::A, &base)?;
        enter(node)?;
        refuses(node)?;
        let adopt = format!(
            "edge-ota adopt --channel stable --board x86_64 --url {}",
            node.web.url_for_guests()
        );
        let plan: Value =
            serde_json::from_str(&inside(node, &format!("{adopt} --dry-run --json"))?)?;
        ensure!(
            plan["commit"] == base.as_str() && plan["stateroot"] == OS,
            "{plan}"
        );
        // Cut short, and done again from wherever it stopped.
        for seconds in [1, 3] {
            node.vm.ssh(&format!(
                "timeout -s KILL {seconds} chroot /mnt/sysroot {adopt}"
            ))?;
        }
        inside(node, &adopt)?;
        node.vm.ask("sync")?;

        let config = node.vm.config().clone();
        let adopted = config
            .disks
            .get(1)
            .context("there is no second disk")?
            .clone();
        node.vm.kill()?;
        node.vm = Vm::start(VmConfig {
            disks: vec![adopted],
            ..config
        })?;
        node.expect(Slot::A, &base)?;
        is_what_it_was(node)?;
        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        is_what_it_was(node)
    })
}

/// What belongs to the device came along, and what ours mounts by itself is mounted once.
fn is_what_it_was(node: &Node) -> Result<()> {
    for (what, expected) in [
        ("cat /etc/hostname", "stock-7"),
        ("cat /var/mine", "mine"),
        ("grep -vc '^#' /etc/fstab", "1"),
        (
            "systemctl is-failed --quiet systemd-remount-fs.service; echo $?",
            "1",
        ),
        ("edge-ota repair --check >/dev/null; echo $?", "0"),
    ] {
        let found = node.vm.ask(&format!("{what} || true"))?;
        ensure!(
            found.trim() == expected,
            "{what}: '{found}', not '{expected}'"
        );
    }
    let history = node.vm.ask("edge-ota history")?;
    ensure!(
        history.contains("installed") && history.contains("adopted from stateroot stock"),
        "{history}"
    );
    Ok(())
}

/// The mounts of `%post`.
fn enter(node: &Node) -> Result<()> {
    node.vm
        .ask(
            "set -e; d=/dev/vdb; mkdir -p /mnt/sysimage /mnt/sysroot; mount ${d}4 /mnt/sysimage; \
             mount ${d}2 /mnt/sysimage/boot; mkdir -p /mnt/sysimage/boot/efi; mount ${d}1 /mnt/sysimage/boot/efi; \
             r=$(echo /mnt/sysimage/ostree/deploy/stock/deploy/*.0); mount --bind $r /mnt/sysroot; \
             mount --bind /mnt/sysimage /mnt/sysroot/sysroot; mount --bind /mnt/sysimage/boot /mnt/sysroot/boot; \
             mount --bind /mnt/sysimage/boot/efi /mnt/sysroot/boot/efi; \
             mount --bind /mnt/sysimage/ostree/deploy/stock/var /mnt/sysroot/var; \
             for at in proc sys dev run; do mount --rbind /$at /mnt/sysroot/$at; done; \
             cp -L /etc/resolv.conf /mnt/sysroot/etc/resolv.conf 2>/dev/null || true",
        )
        .map(drop)
}

fn inside(node: &Node, command: &str) -> Result<String> {
    // The command line is the installer's in `%post`, not that of our loader.
    node.vm.ask(&format!(
        "sed 's/edge_ota[^ ]*//g' /proc/cmdline >/run/cmdline && mount --bind /run/cmdline /mnt/sysroot/proc/cmdline && \
         chroot /mnt/sysroot {command}; s=$?; umount /mnt/sysroot/proc/cmdline; exit $s"
    ))
}

/// Another's keys, another board: nothing is written.
fn refuses(node: &Node) -> Result<()> {
    let before = node
        .vm
        .ask("sha256sum /dev/vdb1 /dev/vdb3; sfdisk -d /dev/vdb")?;
    let strange = fs::read(node.lab.strange_keys.join("1.root"))?;
    let text = String::from_utf8(strange)?;
    node.vm.ask(&format!("mkdir -p /run/strange && cat >/run/strange/1.root <<'EOF'\n{text}\nEOF\ntruncate -s -1 /run/strange/1.root"))?;
    for (arguments, code) in [("--keys /run/strange", 26), ("--board armhf", 22)] {
        let command = format!(
            "edge-ota adopt --url {} {arguments}; echo $?",
            node.web.url_for_guests()
        );
        let said = inside(node, &format!("sh -c '{command}'"))?;
        ensure!(said.trim() == code.to_string(), "{arguments}: {said}");
    }
    ensure!(
        node.vm
            .ask("sha256sum /dev/vdb1 /dev/vdb3; sfdisk -d /dev/vdb")?
            == before,
        "something was written"
    );
    Ok(())
}

/// What Anaconda leaves: a distribution's loader on the ESP, `/boot` on ext4 with libostree's entries, the sysroot.
fn make_disk(lab: &Lab, dir: &Path) -> Result<PathBuf> {
    let work = dir.join("stock");
    let sysroot = work.join("root");
    make_sysroot(&sysroot, &lab.site.repo(), &lab.base)?;
    fs::rename(sysroot.join("boot"), work.join("boot"))?;
    fs::create_dir(sysroot.join("boot"))?;
    for path in [
        "EFI/stock/shimx64.efi",
        "EFI/stock/grub.cfg",
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/BOOT/fbx64.efi",
    ] {
        let path = work.join("esp").join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, "theirs")?;
    }
    let raw = dir.join("stock.raw");
    fs::File::create(&raw)?.set_len(SIZE << 20)?;
    let table = format!(
        "label: gpt\nstart={}MiB, size={}MiB, type=U, name=\"EFI System Partition\"\nstart={}MiB, size={}MiB\n\
         start=577MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649\nstart={}MiB, size={}MiB\n",
        ESP.1, ESP.2, BOOT.1, BOOT.2, ROOT.1, ROOT.2
    );
    Cmd::new("sfdisk")
        .arg("-q")
        .arg(&raw)
        .output_with_input(table.into_bytes())?;
    let at = format!("{}@@{}M", raw.display(), ESP.1);
    Cmd::new("mformat")
        .args([
            "-F",
            "-T",
            &(ESP.2 * 2048).to_string(),
            "-h",
            "64",
            "-s",
            "32",
            "-c",
            "1",
            "-i",
            &at,
            "::",
        ])
        .run()?;
    Cmd::new("mcopy")
        .args(["-s", "-i", &at])
        .arg(work.join("esp/EFI"))
        .arg("::")
        .run()?;
    for (name, start, size) in [BOOT, ROOT] {
        Cmd::new("mke2fs")
            .args([
                "-q",
                "-F",
                "-t",
                "ext4",
                "-E",
                &format!("offset={}", start << 20),
                "-d",
            ])
            .arg(work.join(name))
            .arg(&raw)
            .arg(format!("{size}M"))
            .run()?;
    }
    let disk = dir.join("stock.qcow2");
    Cmd::new("qemu-img")
        .args(["convert", "-O", "qcow2"])
        .arg(&raw)
        .arg(&disk)
        .run()?;
    fs::remove_file(&raw)?;
    fs::remove_dir_all(&work)?;
    Ok(disk)
}

fn make_sysroot(sysroot: &Path, repo: &Path, commit: &CommitChecksum) -> Result<()> {
    fs::create_dir_all(sysroot)?;
    let admin = |command: &str| {
        let admin = Cmd::new("ostree").env("OSTREE_SYSROOT_DEBUG", "mutable-deployments");
        admin
            .args(["admin", command])
            .arg(format!("--sysroot={}", sysroot.display()))
    };
    Cmd::new("ostree")
        .args(["admin", "init-fs"])
        .arg(sysroot)
        .run()?;
    admin("os-init").arg(OS).run()?;
    let pull = Cmd::new("ostree").arg(format!("--repo={}", sysroot.join("ostree/repo").display()));
    pull.args(["pull-local", "--untrusted"])
        .arg(repo)
        .arg(commit.as_str())
        .run()?;
    admin("deploy")
        .args([
            &format!("--os={OS}"),
            "--karg=root=UUID=x",
            "--karg=quiet",
            commit.as_str(),
        ])
        .run()?;
    let deploy = sysroot.join("ostree/deploy").join(OS);
    let etc = deploy.join(format!("deploy/{commit}.0/etc"));
    fs::write(etc.join("hostname"), "stock-7\n")?;
    fs::write(
        etc.join("fstab"),
        "UUID=x / ext4 defaults 1 1\nUUID=y /boot ext4 defaults 1 2\nUUID=z /boot/efi vfat x 0 2\ntmpfs /mnt/scratch tmpfs nofail 0 0\n",
    )?;
    fs::write(deploy.join("var/mine"), "mine\n")?;
    Ok(())
}
