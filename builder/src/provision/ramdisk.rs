//! The installer's initramfs: the updater, what it calls, drivers for disks and networks, and what is known of the board.
//! All of it is of the release's own tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::board;
use edge_ota::device::ROOTS_IN_TREE;
use edge_ota::installer::unattended::{ABOUT, About};
use edge_ota::media::{firmware, loader};

use crate::tree::cpio::{self, Entries};
use crate::tree::kernel::Kernel;
use crate::tree::modules::Index;
use crate::tree::packing::{self, file};

const INIT: &str = include_str!("init.sh");
const DHCP: &str = include_str!("udhcpc.sh");
/// Below the root of the initramfs.
pub const KICKSTART: &str = "edge.ks";

/// What the updater and the scripts call; for the rest of a shell's life there is busybox.
const PROGRAMS: &[&str] = &[
    "usr/bin/busybox",
    "usr/bin/edge-ota",
    "usr/bin/mount",
    "usr/bin/sh",
    "usr/sbin/blkid",
    "usr/sbin/e2fsck",
    "usr/sbin/mke2fs",
    "usr/sbin/mkfs.vfat",
    "usr/sbin/modprobe",
    "usr/sbin/sfdisk",
];

/// Loaded whether or not a device asks for it.
const ALWAYS: &[&str] = &[
    "ext4",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "isofs",
    "af_packet",
    "ipv6",
];

/// Drivers for what a machine may be installed over or from, where the tree has them; with those of its own initramfs.
const DRIVERS: &[&str] = &[
    "drivers/net/ethernet/",
    "drivers/net/mdio/",
    "drivers/net/phy/",
    "drivers/net/usb/",
    "drivers/usb/host/",
    "drivers/usb/musb/",
    "drivers/usb/phy/",
    "drivers/usb/storage/",
    "drivers/nvme/host/",
    "drivers/mmc/",
    "hv_netvsc",
    "hid_generic",
    "sd_mod",
    "sr_mod",
    "usbhid",
    "virtio_net",
    "virtio_rng",
    "vmxnet3",
    "xen_netfront",
];

pub struct Content<'a> {
    /// The checked out tree.
    pub tree: &'a Path,
    pub kernel: &'a Kernel,
    pub about: &'a About,
    /// Modules that the board wants in its own initramfs.
    pub drivers: &'a [String],
    /// The root documents to trust, by file.
    pub roots: &'a [std::path::PathBuf],
    pub kickstart: Option<&'a str>,
}

pub fn build(content: &Content) -> Result<Vec<u8>> {
    let act = || -> Result<Vec<u8>> {
        let mut entries = packing::skeleton();
        packing::add_programs(&mut entries, content.tree, PROGRAMS)
            .context("the treefile must have busybox, dosfstools, e2fsprogs, fdisk and kmod")?;
        add_scripts(&mut entries, content);
        add_settings(&mut entries, content)?;
        add_board(&mut entries, content)?;
        packing::add_modules(
            &mut entries,
            content.tree,
            content.kernel,
            &modules(content)?,
        )?;
        zstd::encode_all(cpio::write(&entries).as_slice(), 19).context("compressing it")
    };
    act().context("making the installer's initramfs")
}

fn add_scripts(entries: &mut Entries, content: &Content) {
    entries.insert("init".into(), file(0o755, INIT));
    entries.insert("etc/udhcpc.script".into(), file(0o755, DHCP));
    let modules = ALWAYS.join("\n") + "\n";
    entries.insert("etc/edge-modules".into(), file(0o644, modules));
    let built = format!("{}\n", content.about.built);
    entries.insert("etc/edge-built".into(), file(0o644, built));
    if let Some(text) = content.kickstart {
        entries.insert(KICKSTART.into(), file(0o600, text));
    }
}

/// Names and certificates, as programs look for them.
fn add_settings(entries: &mut Entries, content: &Content) -> Result<()> {
    let texts = [
        ("etc/group", "root:x:0:\n"),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ("etc/nsswitch.conf", "passwd: files\nhosts: files dns\n"),
    ];
    for (path, text) in texts {
        entries.insert(path.into(), file(0o644, text));
    }
    for path in [
        "mke2fs.conf",
        "ssl/certs/ca-certificates.crt",
        "ssl/openssl.cnf",
    ] {
        let from = content.tree.join("usr/etc").join(path);
        // A tree without certificates of the world installs from its own server.
        if from.exists() {
            let data = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
            entries.insert(format!("etc/{path}"), file(0o644, data));
        }
    }
    Ok(())
}

/// What edge-ota reads of its board, and whom it trusts.
fn add_board(entries: &mut Entries, content: &Content) -> Result<()> {
    packing::add(entries, content.tree, Path::new(board::PATH))?;
    let about = serde_json::to_vec_pretty(content.about).context("writing installer.json")?;
    entries.insert(ABOUT.into(), file(0o644, about));
    for root in content.roots {
        let name = root.file_name().context("a root document without a name")?;
        let data = fs::read(root).with_context(|| format!("reading {}", root.display()))?;
        let to = format!("{ROOTS_IN_TREE}/{}", name.to_string_lossy());
        entries.insert(to, file(0o644, data));
    }
    for folder in [loader::DIR, firmware::DIR] {
        let from = content.tree.join(folder);
        if from.is_dir() {
            packing::add_folder(entries, &from, folder)?;
        }
    }
    Ok(())
}

fn modules(content: &Content) -> Result<BTreeSet<String>> {
    let index = Index::read(content.tree, content.kernel)?;
    let names = index.select_known(DRIVERS.iter().chain(ALWAYS).copied());
    let own = content.drivers.iter().map(String::as_str);
    let names: Vec<&str> = names.iter().map(String::as_str).chain(own).collect();
    index.closure(&names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;

    #[test]
    fn the_scripts_parse() {
        for script in [INIT, DHCP] {
            Cmd::new("sh")
                .args(["-n", "/dev/stdin"])
                .output_with_input(script.into())
                .unwrap();
        }
    }

    /// `read_ip` of init.sh on what dracut's manual has.
    #[test]
    fn addresses_are_read_as_dracut_has_them() {
        let begin = INIT.find("read_ip() {").unwrap();
        let end = begin + INIT[begin..].find("\n}\n").unwrap() + 3;
        let check = |ip: &str, want: &str| {
            let script = format!(
                "{}read_ip '{ip}'; echo \"$how/$card/$client/$netmask/$gateway/$host\"",
                &INIT[begin..end]
            );
            let said = Cmd::new("sh").args(["-euc", &script]).text().unwrap();
            assert_eq!(said.trim(), want, "{ip}");
        };
        check("", "dhcp/////");
        check("dhcp", "dhcp/////");
        check("eth0:dhcp", "dhcp/eth0////");
        check("off", "off/////");
        check(
            "10.0.0.5::10.0.0.1:255.255.255.0:node:eth0:none",
            "static/eth0/10.0.0.5/255.255.255.0/10.0.0.1/node",
        );
        check("10.0.0.5:::24::eth0:none", "static/eth0/10.0.0.5/24//");
    }
}
