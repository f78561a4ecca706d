//! What made a file of a tree: the package that brought it, or the step of the compose.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::dpkg;
use crate::owners::{self, NO_PACKAGE, Owners};
use crate::treefile::{RemoveFrom, Treefile};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    Package(String),
    Step(String),
}

pub struct Makers<'a> {
    pub treefile: &'a Treefile,
    /// The first one that knows a file counts.
    pub owners: [Owners; 2],
}

const USERS: &str = "users and groups";
const LAYOUT: &str = "layout";
const DEPMOD: &str = "depmod";

/// Files, and folders with all below them, that no package brings.
const STEPS: &[(&str, &str)] = &[
    ("/usr/lib/sysctl.d/60-edge.conf", "edge.sysctls"),
    ("/usr/lib/modules-load.d/edge.conf", "edge.modules-load"),
    (
        "/usr/lib/edge-ota/board.json",
        "board and edge.kernel-arguments",
    ),
    ("/usr/lib/edge-ota/root/", "root documents of --keys"),
    (
        "/usr/lib/edge-ota/loader/",
        "boot loader's files of the board",
    ),
    (
        "/usr/lib/edge-ota/config.d/60-treefile.toml",
        "edge.health-units",
    ),
    ("/usr/lib/ostree-boot/", "firmware of the board"),
    ("/usr/lib/tmpfiles.d/edge-var.conf", "layout of /var"),
    ("/usr/lib/ostree/prepare-root.conf", LAYOUT),
    ("/usr/lib/systemd/system/var.mount", LAYOUT),
    (
        "/usr/lib/systemd/system/local-fs.target.requires/var.mount",
        LAYOUT,
    ),
    (
        "/usr/lib/systemd/system/sshd-keygen.service.d/10-edge.conf",
        LAYOUT,
    ),
    ("/usr/etc/machine-id", LAYOUT),
    ("/usr/etc/mtab", LAYOUT),
    ("/usr/etc/resolv.conf", LAYOUT),
    ("/usr/etc/passwd", USERS),
    ("/usr/etc/group", USERS),
    ("/usr/etc/shadow", USERS),
    ("/usr/etc/gshadow", USERS),
    ("/usr/etc/subuid", USERS),
    ("/usr/etc/subgid", USERS),
    ("/usr/etc/systemd/system/", "units and default-target"),
    ("/usr/lib/sysimage/dpkg/", "dpkg's database"),
    ("/usr/share/rpm/", "RPM's database"),
    ("/usr/etc/ld.so.cache", "ldconfig"),
    ("/usr/etc/alternatives/", "update-alternatives"),
    ("/usr/etc/ssl/certs/", "update-ca-certificates"),
    ("/usr/lib/udev/hwdb.bin", "systemd-hwdb"),
];

impl Makers<'_> {
    /// `gone` is a file that is not in the rebuilt tree.
    pub fn of(&self, path: &str, gone: bool) -> Maker {
        let step = |name: &str| Maker::Step(name.to_owned());
        if let Some(name) = self.of_treefile(path, gone) {
            return step(name);
        }
        if let Some(name) = self.package(path) {
            return Maker::Package(name.to_owned());
        }
        match of_kernel(path).or_else(|| of_place(path)) {
            Some(name) => step(name),
            None if !path.starts_with("/usr/") => step(LAYOUT),
            None => Maker::Step(self.scripts()),
        }
    }

    /// What a treefile names by its path goes before the package that it is taken from.
    fn of_treefile(&self, path: &str, gone: bool) -> Option<&'static str> {
        let tree = self.treefile;
        let place = |p: &Path| owners::in_tree(&format!("/{}", p.display()));
        if tree
            .add_files
            .iter()
            .any(|file| place(&file.target) == path)
        {
            return Some("add-files");
        }
        let below = |p: &Path| Path::new(path).starts_with(place(p));
        if gone && tree.remove_files.iter().any(|p| below(p)) {
            return Some("remove-files");
        }
        let package = self.package(path);
        let trimmed = |from: &RemoveFrom| package == Some(&from.package) && from.matches(path);
        if gone && tree.remove_from_packages.iter().any(trimmed) {
            return Some("remove-from-packages");
        }
        let mutated = path == "/usr/lib/os-release" && tree.mutate_os_release.is_some();
        mutated.then_some("mutate-os-release")
    }

    fn package<'b>(&'b self, path: &'b str) -> Option<&'b str> {
        let found = self.owners.iter().map(|owners| owners.of(path));
        found
            .filter(|name| *name != NO_PACKAGE)
            .chain(path.strip_prefix(dpkg::INFO).map(dpkg::package_of_info))
            .next()
    }

    /// Whatever may write anywhere.
    fn scripts(&self) -> String {
        let mut text = String::from("a package's installation script");
        let postprocess = &self.treefile.postprocess;
        if !postprocess.is_empty() || self.treefile.postprocess_script.is_some() {
            text.push_str(", or postprocess");
        }
        if !self.treefile.finalize.is_empty() {
            text.push_str(", or finalize.d");
        }
        text
    }
}

fn of_kernel(path: &str) -> Option<&'static str> {
    let (_, name) = path.strip_prefix("/usr/lib/modules/")?.split_once('/')?;
    match name {
        "initramfs.img" => Some("initramfs"),
        _ if name.starts_with("dtb") => Some("device tree of the board"),
        _ if name.starts_with("modules.") => Some(DEPMOD),
        _ if name.starts_with("kernel") => Some("edge.kernel-modules"),
        _ => None,
    }
}

fn of_place(path: &str) -> Option<&'static str> {
    let holds = |place: &str| match place.ends_with('/') {
        true => format!("{path}/").starts_with(place),
        false => path == place,
    };
    let found = STEPS.iter().find(|(place, _)| holds(place));
    found.map(|(_, step)| *step)
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Package(name) => write!(f, "package {name}"),
            Self::Step(name) => f.write_str(name),
        }
    }
}
