//! What a commit must be before it may be released: a machine that runs it must be able to confirm
//! it and to update itself again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use edge_ota::board;
use edge_ota::types::CommitChecksum;

use crate::repo::{Entry, Kind, Repo};
use crate::tree::{cpio, initramfs};

/// The units without which a machine never updates or never confirms an update.
const ENABLED: &[&str] = &[
    "edge-ota-boot.service",
    "edge-ota-deadline.service",
    "edge-ota-emergency.service",
    "edge-ota-finalize.service",
    "edge-ota-health.service",
    "edge-ota-mark-good.service",
    "edge-ota-reset.service",
    "edge-ota-var.service",
    "edge-ota.timer",
];

const FILES: &[(&str, &str)] = &[
    ("/usr/bin/edge-ota", "the updater"),
    ("/usr/lib/edge-ota/board.json", "the board's description"),
    ("/usr/lib/ostree/prepare-root.conf", "OSTree's settings"),
    ("/usr/lib/systemd/system/var.mount", "the mount of /var"),
];

/// Programs that Debian and Fedora ship setuid or setgid and that a node may have.
const KNOWN_SETID: &[&str] = &[
    "/usr/bin/chage",
    "/usr/bin/chfn",
    "/usr/bin/chsh",
    "/usr/bin/crontab",
    "/usr/bin/expiry",
    "/usr/bin/fusermount3",
    "/usr/bin/gpasswd",
    "/usr/bin/mount",
    "/usr/bin/newgidmap",
    "/usr/bin/newgrp",
    "/usr/bin/newuidmap",
    "/usr/bin/passwd",
    "/usr/bin/ssh-agent",
    "/usr/bin/su",
    "/usr/bin/sudo",
    "/usr/bin/umount",
    "/usr/bin/write",
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
    "/usr/lib/openssh/ssh-keysign",
    "/usr/lib/polkit-1/polkit-agent-helper-1",
    "/usr/libexec/dbus-1/dbus-daemon-launch-helper",
    "/usr/libexec/openssh/ssh-keysign",
    "/usr/sbin/pam_timestamp_check",
    "/usr/sbin/unix_chkpwd",
];

/// What the judgement rests on.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Everything in the tree, by absolute path.
    pub entries: BTreeMap<String, Entry>,
    /// The paths in the initramfs; `None` when there is none.
    pub initramfs: Option<Vec<String>>,
    /// The device tree that the board names.
    pub fdt: Option<String>,
}

/// Refuses a commit that must not be released, naming all reasons in one line. `allowed_setid` are
/// the treefile's own additions to the known setuid and setgid programs.
pub fn examine(repo: &Repo, commit: &CommitChecksum, allowed_setid: &[String]) -> Result<()> {
    let entries = repo.list(commit)?;
    let initramfs = match boot_file(&entries, "initramfs.img") {
        Some(path) => {
            let bytes = repo.read(commit, path)?;
            Some(cpio::names(&bytes).with_context(|| format!("reading {path}"))?)
        }
        None => None,
    };
    let contents = Contents {
        fdt: named_fdt(repo, commit, &entries)?,
        entries,
        initramfs,
    };
    let reasons = reasons(&contents, allowed_setid);
    if !reasons.is_empty() {
        bail!(
            "commit {} must not be released: {}",
            commit.short(),
            reasons.join("; ")
        );
    }
    Ok(())
}

fn named_fdt(
    repo: &Repo,
    commit: &CommitChecksum,
    entries: &BTreeMap<String, Entry>,
) -> Result<Option<String>> {
    let path = format!("/{}", board::PATH);
    if !entries.contains_key(&path) {
        return Ok(None);
    }
    let file = board::parse(&repo.read(commit, &path)?);
    Ok(file.with_context(|| format!("parsing {path}"))?.fdt)
}

/// Why a tree must not be released; none when it may.
pub fn reasons(contents: &Contents, allowed_setid: &[String]) -> Vec<String> {
    let entries = &contents.entries;
    let mut reasons = missing_files(entries);
    reasons.extend(missing_units(entries));
    reasons.extend(boot_reasons(contents));
    reasons.extend(mode_reasons(entries));
    reasons.extend(setid_reasons(entries, allowed_setid));
    reasons
}

fn missing_files(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let mut reasons: Vec<String> = FILES
        .iter()
        .filter(|(path, _)| !entries.contains_key(*path))
        .map(|(path, what)| format!("{what} is missing ({path})"))
        .collect();
    let is_root = |path: &String| {
        let name = path.strip_prefix("/usr/lib/edge-ota/root/");
        let number = name.and_then(|name| name.strip_suffix(".root"));
        number.is_some_and(|n| n.parse::<u32>().is_ok())
    };
    if !entries.keys().any(is_root) {
        reasons.push("no trusted root (/usr/lib/edge-ota/root/<n>.root)".to_owned());
    }
    reasons
}

fn missing_units(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let is_link_to = |path: &str, unit: &str| {
        let in_units = ["/usr/etc/systemd/system/", "/usr/lib/systemd/system/"]
            .iter()
            .find_map(|folder| path.strip_prefix(folder));
        let Some((folder, name)) = in_units.and_then(|rest| rest.split_once('/')) else {
            return false;
        };
        name == unit && (folder.ends_with(".wants") || folder.ends_with(".requires"))
    };
    let exists = |unit: &str| entries.contains_key(&format!("/usr/lib/systemd/system/{unit}"));
    let enabled = |unit: &str| entries.keys().any(|path| is_link_to(path, unit));
    ENABLED
        .iter()
        .chain(&["var.mount"])
        .filter(|unit| !(exists(unit) && enabled(unit)))
        .map(|unit| format!("{unit} is not enabled"))
        .collect()
}

fn boot_reasons(contents: &Contents) -> Vec<String> {
    let mut reasons = Vec::new();
    let kernels = contents
        .entries
        .keys()
        .filter(|path| is_boot_file(path, "vmlinuz"))
        .count();
    if kernels != 1 {
        reasons.push(format!(
            "{kernels} kernels in /usr/lib/modules instead of one"
        ));
    }
    if let Some(fdt) = &contents.fdt {
        if boot_file(&contents.entries, &format!("dtb/{fdt}")).is_none() {
            reasons.push(format!("the kernel has no device tree {fdt}"));
        }
    }
    match &contents.initramfs {
        None => reasons.push("no initramfs".to_owned()),
        Some(paths) => {
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let lacks = initramfs::missing(&paths).into_iter();
            reasons.extend(lacks.map(|what| format!("the initramfs lacks {what}")));
        }
    }
    reasons
}

fn mode_reasons(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let mut reasons = Vec::new();
    for name in ["shadow", "gshadow", "shadow-", "gshadow-"] {
        let entry = entries.get(&format!("/usr/etc/{name}"));
        if entry.is_some_and(|entry| entry.mode & 0o007 != 0) {
            reasons.push(format!("/usr/etc/{name} is open to everybody"));
        }
    }
    let writable = entries.iter().filter(|(path, entry)| {
        path.starts_with("/usr/") && entry.kind != Kind::Link && entry.mode & 0o002 != 0
    });
    reasons.extend(writable.map(|(path, _)| format!("{path} is writable by everybody")));
    reasons
}

fn setid_reasons(entries: &BTreeMap<String, Entry>, allowed: &[String]) -> Vec<String> {
    let known: BTreeSet<&str> = KNOWN_SETID
        .iter()
        .copied()
        .chain(allowed.iter().map(String::as_str))
        .collect();
    entries
        .iter()
        .filter(|(_, entry)| entry.kind == Kind::File && entry.mode & 0o6000 != 0)
        .filter(|(path, _)| !known.contains(path.as_str()))
        .map(|(path, _)| format!("{path} is setuid or setgid and not known"))
        .collect()
}

fn boot_file<'a>(entries: &'a BTreeMap<String, Entry>, name: &str) -> Option<&'a str> {
    entries
        .keys()
        .map(String::as_str)
        .find(|path| is_boot_file(path, name))
}

/// Whether this is `/usr/lib/modules/<release>/<name>`.
fn is_boot_file(path: &str, name: &str) -> bool {
    let rest = path
        .strip_prefix("/usr/lib/modules/")
        .and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(_, file)| file == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, mode: u32) -> Entry {
        Entry {
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 1,
            checksum: None,
        }
    }

    fn good() -> Contents {
        let mut entries = BTreeMap::new();
        let mut put = |path: &str, kind, mode| entries.insert(path.to_owned(), entry(kind, mode));
        for (path, _) in FILES {
            put(path, Kind::File, 0o644);
        }
        for unit in ENABLED.iter().chain(&["var.mount"]) {
            put(
                &format!("/usr/lib/systemd/system/{unit}"),
                Kind::File,
                0o644,
            );
            put(
                &format!("/usr/etc/systemd/system/x.target.wants/{unit}"),
                Kind::Link,
                0o777,
            );
        }
        put("/usr/lib/edge-ota/root/1.root", Kind::File, 0o644);
        put("/usr/lib/modules/6.12/vmlinuz", Kind::File, 0o644);
        put("/usr/lib/modules/6.12/dtb/v/board.dtb", Kind::File, 0o644);
        put("/usr/etc/shadow", Kind::File, 0o640);
        put("/usr/bin/su", Kind::File, 0o4755);
        let initramfs = [
            "init",
            "lib/modules/x/ext4.ko",
            "usr/lib/ostree/ostree-prepare-root",
        ];
        Contents {
            entries,
            initramfs: Some(initramfs.map(str::to_owned).to_vec()),
            fdt: Some("v/board.dtb".to_owned()),
        }
    }

    #[test]
    fn a_good_tree_passes() {
        assert_eq!(reasons(&good(), &[]), Vec::<String>::new());
    }

    #[test]
    fn each_missing_path_is_a_reason() {
        let required = good()
            .entries
            .into_keys()
            .filter(|p| !p.ends_with("/su") && !p.ends_with("shadow"));
        for path in required {
            let mut contents = good();
            contents.entries.remove(&path);
            let found = reasons(&contents, &[]);
            assert!(!found.is_empty(), "{path} may be missing");
        }
    }

    #[test]
    fn initramfs() {
        let mut contents = good();
        contents.initramfs = None;
        assert_eq!(reasons(&contents, &[]), ["no initramfs"]);
        contents.initramfs = Some(vec!["init".into()]);
        let expected = [
            "the initramfs lacks the ext4 driver",
            "the initramfs lacks ostree-prepare-root",
        ];
        assert_eq!(reasons(&contents, &[]), expected);
    }

    #[test]
    fn modes() {
        let check = |path: &str, kind, mode, expected: &str| {
            let mut contents = good();
            contents.entries.insert(path.to_owned(), entry(kind, mode));
            assert_eq!(
                reasons(&contents, &["/usr/bin/own".to_owned()]).join("; "),
                expected
            );
        };
        check(
            "/usr/etc/shadow",
            Kind::File,
            0o644,
            "/usr/etc/shadow is open to everybody",
        );
        check(
            "/usr/share/x",
            Kind::File,
            0o666,
            "/usr/share/x is writable by everybody",
        );
        check(
            "/usr/share/x",
            Kind::Dir,
            0o1777,
            "/usr/share/x is writable by everybody",
        );
        check("/usr/share/x", Kind::Link, 0o777, "");
        check("/tmp", Kind::Dir, 0o1777, "");
        check(
            "/usr/bin/odd",
            Kind::File,
            0o2755,
            "/usr/bin/odd is setuid or setgid and not known",
        );
        check("/usr/bin/own", Kind::File, 0o4755, "");
        let second = "2 kernels in /usr/lib/modules instead of one";
        check("/usr/lib/modules/6.13/vmlinuz", Kind::File, 0o644, second);
    }
}
