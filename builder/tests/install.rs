//! Installs a real tree from the build machine's mirrors, as root, and again from the cache.
//! `EDGE_TEST_TREEFILE` names another treefile, `EDGE_TEST_CACHE` a cache that stays.

// clippy lets test functions unwrap, not what they call.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use edge_build::interrupt::{self, WorkDir};
use edge_build::packages::mirrors::MirrorOptions;
use edge_build::packages::{self, Request};
use edge_build::progress::Progress;
use edge_build::{board, treefile};
use edge_ota::cmd::Cmd;

/// Stands in for the updater's package, whose `Provides` keeps initramfs-tools out.
fn updater(dir: &Path) -> PathBuf {
    let tree = dir.join("edge-ota/DEBIAN");
    fs::create_dir_all(&tree).unwrap();
    let control = "Package: edge-ota\nVersion: 0\nArchitecture: amd64\nMaintainer: m <m@mirror.example>\n\
                   Depends: libostree-1-1\nProvides: linux-initramfs-tool\nDescription: stand-in\n";
    fs::write(tree.join("control"), control).unwrap();
    let deb = dir.join("edge-ota_0_amd64.deb");
    let build = Cmd::new("dpkg-deb").args(["--root-owner-group", "-b"]);
    build.arg(dir.join("edge-ota")).arg(&deb).run().unwrap();
    deb
}

#[test]
#[ignore = "needs root, mmdebstrap and a mirror; takes two minutes"]
fn a_node_is_installed_once_and_then_cached() {
    interrupt::install().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let named = std::env::var_os("EDGE_TEST_TREEFILE").map(PathBuf::from);
    let named = named.unwrap_or_else(|| root.join("treefiles/edge-node.yaml"));
    let temporary = tempfile::tempdir().unwrap();
    let cache = std::env::var_os("EDGE_TEST_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| temporary.path().join("cache"));
    let board = board::load(&root.join("boards"), &"x86_64".parse().unwrap()).unwrap();
    let treefile = treefile::load(&named, &board.arch.rpm).unwrap();
    let progress = Progress::new("compose");
    let debs = [updater(temporary.path())];
    let mirrors = MirrorOptions::default().or_environment();
    let run = |root: &Path| {
        fs::create_dir(root).unwrap();
        let work = WorkDir::new_in(&cache.join("work")).unwrap();
        let request = Request {
            treefile: &treefile,
            board: &board,
            local_debs: &debs,
            mirrors: &mirrors,
            lock: None,
            cache: &cache,
            work: &work,
        };
        packages::install(&request, root, &progress)
    };
    let [new, rootfs] = ["new", "rootfs"].map(|name| temporary.path().join(name));
    let first = run(&new).unwrap_or_else(|e| panic!("{e:#}"));
    let second = run(&rootfs).unwrap_or_else(|e| panic!("{e:#}"));
    assert!(second.from_cache);
    assert_eq!(listing(&new), listing(&rootfs));
    assert_eq!(
        (&first.key, &first.packages),
        (&second.key, &second.packages)
    );
    assert!(first.packages.iter().any(|p| p.name == "edge-ota"));
    for unwanted in [
        "initramfs-tools",
        "busybox",
        "klibc-utils",
        "apt",
        "grub-common",
        "shim-signed",
    ] {
        assert!(
            first.packages.iter().all(|p| p.name != unwanted),
            "{unwanted}"
        );
    }
    let efi = rootfs.join("usr/lib/ostree-boot/efi");
    for file in [
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/BOOT/grubx64.efi",
        "EFI/BOOT/mmx64.efi",
        "../versions.json",
    ] {
        assert!(efi.join(file).is_file(), "{file}");
    }
    for absent in [
        "etc/hostname",
        "etc/apt/sources.list",
        "etc/ssh/ssh_host_ed25519_key",
    ] {
        assert!(!rootfs.join(absent).exists(), "{absent}");
    }
    let reference = temporary.path().join("reference");
    fs::create_dir(&reference).unwrap();
    let tar = Cmd::new("tar").args(["--xattrs", "--xattrs-include=*", "--zstd", "-xf"]);
    tar.arg(&first.path)
        .arg("-C")
        .arg(&reference)
        .run()
        .unwrap();
    let (ours, tars) = (listing(&rootfs), listing(&reference));
    let differing: Vec<_> = ours.symmetric_difference(&tars).take(5).collect();
    assert!(differing.is_empty(), "unlike tar: {differing:?}");
    eprintln!("{} packages, {} files", first.packages.len(), ours.len());
}

/// Path, type, mode, owners, link count and target of everything but device nodes, times of what is
/// no folder; capabilities.
fn listing(root: &Path) -> BTreeSet<String> {
    let script = r#"find . -mindepth 1 ! -type c ! -type b ! -type d -printf '%P %y %m %U %G %n %l %Ts\n'
        find . -mindepth 1 -type d -printf '%P %y %m %U %G\n'
        getcap -r ."#;
    let text = Cmd::new("sh")
        .args(["-euc", script])
        .current_dir(root)
        .text()
        .unwrap();
    text.lines().map(str::to_owned).collect()
}
