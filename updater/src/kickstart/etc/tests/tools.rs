//! What the tools that read these files say of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::cmd::Cmd;
use crate::kickstart::Firewall;

/// The image below a folder, with the changes that a text asks for.
fn changed(root: &Path, text: &str) {
    for (path, text) in IMAGE {
        put(&root.join(path), text);
    }
    for (path, content) in change(text).unwrap().files {
        let path = root.join("etc").join(path);
        match content {
            Content::New { text, .. } | Content::Edited(text) => put(&path, &text),
            Content::Link(target) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(target, path).unwrap();
            }
        }
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The links below `/etc/systemd/system`, as `name -> target`.
fn links(root: &Path) -> Vec<String> {
    let units = root.join("etc/systemd/system");
    let found = Cmd::new("find")
        .arg(units)
        .args(["-type", "l", "-printf", "%P -> %l\\n"])
        .text()
        .unwrap();
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn systemctl_makes_the_same_links() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    changed(
        ours.path(),
        "services --enabled=chronyd,getty@ttyS1 --disabled=static,nftables",
    );
    changed(theirs.path(), "");
    let systemctl = || Cmd::new("systemctl").arg("--root").arg(theirs.path());
    systemctl()
        .args(["enable", "chronyd.service", "getty@ttyS1.service"])
        .run()
        .unwrap();
    systemctl()
        .args(["mask", "static.service", "nftables.service"])
        .run()
        .unwrap();
    assert_eq!(links(ours.path()), links(theirs.path()));
}

/// grpck looks for members among the users of this machine, where `root` alone is sure to be.
#[test]
fn pwck_and_grpck_find_nothing() {
    let root = tempfile::tempdir().unwrap();
    let users = "group --name=ops\nuser --name=a --groups=sudo,ops --iscrypted --password=CRYPT\n\
                 user --name=b --uid=1000 --gecos=\"A B\" --lock\nrootpw --iscrypted CRYPT\n";
    changed(root.path(), users);
    let etc = |name: &str| root.path().join("etc").join(name);
    Cmd::new("pwck")
        .arg("-qr")
        .arg(etc("passwd"))
        .arg(etc("shadow"))
        .run()
        .unwrap();
    for name in ["group", "gshadow"] {
        let text = fs::read_to_string(etc(name)).unwrap();
        assert_eq!(text.matches(":a\n").count(), 2, "{text}");
        fs::write(etc(name), text.replace(":a\n", ":root\n")).unwrap();
    }
    Cmd::new("grpck")
        .arg("-r")
        .arg(etc("group"))
        .arg(etc("gshadow"))
        .run()
        .unwrap();
}

#[test]
fn home_folders_are_their_users() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    changed(root.path(), "user --name=a --uid=1234 --gid=2345\n");
    // As in our trees.
    fs::create_dir_all(root.path().join("var/home")).unwrap();
    symlink("var/home", root.path().join("home")).unwrap();
    Cmd::new("systemd-tmpfiles")
        .arg(format!("--root={}", root.path().display()))
        .args(["--create", "edge-kickstart.conf"])
        .run()
        .unwrap();
    let home = root.path().join("home/a");
    let shown = Cmd::new("stat")
        .args(["-c", "%u %g %a %F"])
        .arg(home)
        .text()
        .unwrap();
    assert_eq!(shown.trim(), "1234 2345 700 directory");
}

#[test]
fn systemd_takes_the_unit_of_the_firewall() {
    let root = tempfile::tempdir().unwrap();
    changed(root.path(), "firewall --ssh");
    let unit = root.path().join("etc/systemd/system/edge-firewall.service");
    let output = Cmd::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(unit)
        .complete()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// nft reads the rules as the kernel would, in a name space of their own.
#[test]
fn nft_takes_the_rules_and_takes_them_again() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Firewall::On(allowed) = read("firewall --ssh --port=53:udp,30000-32767:tcp --trust=cni0")
        .system
        .firewall
    else {
        panic!("no firewall");
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules");
    std::fs::write(&file, firewall::rules(&allowed)).unwrap();
    let twice = "nft -f \"$1\" && nft -f \"$1\" && nft list ruleset";
    let ruleset = Cmd::new("unshare")
        .args(["--net", "sh", "-ec", twice, "sh"])
        .arg(&file)
        .text()
        .unwrap();
    for rule in [
        "tcp dport 22 accept",
        "udp dport 53 accept",
        "tcp dport 30000-32767 accept",
        "iifname \"cni0\" accept",
    ] {
        assert_eq!(ruleset.matches(rule).count(), 1, "{rule}: {ruleset}");
    }
}
