//! A small root file system and how it is laid out.

use std::path::Path;

use edge_build::repo::Description;
use edge_build::tree::cpio::{self, Entries, Entry};
use edge_build::tree::{kernel, layout, node, rooted};

pub const RELEASE: &str = "6.12.1-test";

/// What a package manager leaves, as far as the layout looks at it.
fn unpack(root: &Path) {
    let put = |path: &str, text: &str| rooted::put(&root.join(path), text).unwrap();
    let modules = format!("usr/lib/modules/{RELEASE}");
    put(&format!("{modules}/modules.builtin"), "");
    put(&format!("{modules}/modules.dep"), "");
    put(&format!("boot/vmlinuz-{RELEASE}"), "kernel");
    put(&format!("boot/config-{RELEASE}"), "CONFIG_CPUSETS=y\n");
    put(&format!("boot/initrd.img-{RELEASE}"), "theirs");
    put("etc/hostname", "builder");
    put("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    put("etc/passwd-", "old");
    put("etc/shadow", "root:*:20717:0:99999:7:::\n");
    put("etc/ssh/ssh_host_ed25519_key", "secret");
    put("etc/systemd/system/timers.target.wants/man-db.timer", "");
    put("root/.profile", "");
    put("usr/lib/os-release", "ID=debian\nVERSION=\"13 (trixie)\"\n");
    put("usr/lib/python3/__pycache__/x.pyc", "");
    put("usr/lib/systemd/system/sshd-keygen.service", "");
    put("usr/local/bin/tool", "");
    put("var/lib/dpkg/status", "");
    put("var/lib/dpkg/status-old", "");
    put("var/log/dpkg.log", "");
    rooted::link(&root.join("vmlinuz"), &format!("boot/vmlinuz-{RELEASE}")).unwrap();
}

/// What the compose adds so that the gate is content.
fn add_ours(root: &Path, roots: &Path) {
    let put = |path: &str| rooted::put(&root.join(path), "x").unwrap();
    put("usr/bin/edge-ota");
    for unit in [
        "finalize.service",
        "health.service",
        "mark-good.service",
        "reset.service",
        "var.service",
        "boot.service",
        "deadline.service",
        "emergency.service",
    ] {
        put(&format!("usr/lib/systemd/system/edge-ota-{unit}"));
        put(&format!(
            "etc/systemd/system/multi-user.target.wants/edge-ota-{unit}"
        ));
    }
    put("usr/lib/systemd/system/edge-ota.timer");
    put("usr/lib/systemd/system/timers.target.wants/edge-ota.timer");
    let source = roots.join("1.root");
    rooted::put(&source, "root").unwrap();
    let node = node::Node {
        board_json: br#"{"board":"x86_64","boot":"grub","kargs":["quiet"]}"#.to_vec(),
        roots: vec![source],
        os_release: Some(node::OsRelease {
            replace: "13".into(),
            version: "13.1".into(),
        }),
        ..node::Node::default()
    };
    node::apply(root, &node).unwrap();
}

fn initramfs() -> Vec<u8> {
    let file = || Entry::File {
        mode: 0o644,
        data: b"x".to_vec(),
    };
    let paths = [
        "init",
        "usr/lib/modules/x/ext4.ko",
        "usr/lib/ostree/ostree-prepare-root",
    ];
    let entries = Entries::from(paths.map(|path| (path.to_owned(), file())));
    zstd::encode_all(cpio::write(&entries).as_slice(), 3).unwrap()
}

pub fn description() -> Description {
    Description {
        version: "13.1".into(),
        board: "x86_64".parse().unwrap(),
        kernel: RELEASE.into(),
        kernel_size: 6,
        initramfs_size: 7,
        timestamp: 1_790_000_000,
    }
}

pub fn lay_out(root: &Path, roots: &Path) -> layout::LaidOut {
    unpack(root);
    layout::scrub(root).unwrap();
    add_ours(root, roots);
    let laid = layout::apply(root, None).unwrap();
    kernel::check(root, &laid.kernel, "4.19", &["CONFIG_CPUSETS=y"]).unwrap();
    rooted::put(
        &root.join(&laid.kernel.dir).join("initramfs.img"),
        initramfs(),
    )
    .unwrap();
    laid
}
