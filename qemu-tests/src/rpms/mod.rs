//! A signed RPM repository of real content: Debian's packages with their files, dependencies, configuration files and
//! modes, as RPMs, with scriptlets that do what Debian's maintainer scripts do, and the kernel and the boot loaders
//! where Fedora's RPMs have them.

mod signer;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use sha2::{Digest, Sha256};

use crate::lab;
use signer::Signer;
use version::{Evr, requirement};

/// What the kernel's package is called.
pub const KERNEL: &str = "kernel-core";

/// A file of one of Debian's firmware packages, which RPM it is in, and where.
struct Firmware {
    package: String,
    rpm: String,
    from: String,
    to: String,
}

/// Of an architecture in RPM's words.
fn firmware(arch: &str) -> Vec<Firmware> {
    let (debian, efi, grub) = match arch {
        "aarch64" => ("arm64", "aa64", "arm64-efi-signed"),
        _ => ("amd64", "x64", "x86_64-efi-signed"),
    };
    let file = |package: String, rpm: &str, dir: &str, name: &str| Firmware {
        package,
        rpm: format!("{rpm}-{efi}"),
        from: format!("usr/lib/{dir}/{name}{efi}.efi.signed"),
        to: format!("boot/efi/EFI/fedora/{name}{efi}.efi"),
    };
    vec![
        file("shim-signed".to_owned(), "shim", "shim", "shim"),
        file(
            format!("shim-helpers-{debian}-signed"),
            "shim",
            "shim",
            "mm",
        ),
        file(
            format!("grub-efi-{debian}-signed"),
            "grub2-efi",
            &format!("grub/{grub}"),
            "grub",
        ),
        // All of its folder stays where it is.
        Firmware {
            package: "grub-pc-bin".to_owned(),
            rpm: "grub2-pc-modules".to_owned(),
            from: "usr/lib/grub/i386-pc/boot.img".to_owned(),
            to: "usr/lib/grub/i386-pc/boot.img".to_owned(),
        },
    ]
}

/// What is done once a package's files are there.
const SCRIPTLETS: [(&str, &str, &str); 9] = [
    (
        "passwd",
        "post",
        "pwconv; grpconv; chgrp shadow /etc/shadow /etc/gshadow; chmod 640 /etc/shadow /etc/gshadow",
    ),
    ("libc-bin", "posttrans", "ldconfig"),
    (
        "libc-bin",
        "post",
        "cp /usr/share/libc-bin/nsswitch.conf /etc/nsswitch.conf",
    ),
    (
        "ca-certificates",
        "posttrans",
        "(cd /usr/share/ca-certificates; find * -name '*.crt' | sort) > /etc/ca-certificates.conf\nupdate-ca-certificates",
    ),
    (
        "libpam-runtime",
        "posttrans",
        "DEBIAN_FRONTEND=noninteractive pam-auth-update --package --force",
    ),
    ("udev", "post", "systemd-hwdb --usr update"),
    (
        "openssh-server",
        "post",
        "cp -n /usr/share/openssh/sshd_config /etc/ssh/sshd_config",
    ),
    (
        "mawk",
        "posttrans",
        "update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5",
    ),
    (
        "vim-tiny",
        "posttrans",
        "update-alternatives --install /usr/bin/vi vi /usr/bin/vim.tiny 15",
    ),
];

/// The repository of these packages of an architecture (in RPM's words), made once for each content of these files, and
/// shared.
pub fn repository(debs: &[PathBuf], arch: &str) -> Result<PathBuf> {
    let sources = concat!(
        include_str!("mod.rs"),
        include_str!("signer.rs"),
        include_str!("version.rs")
    );
    let key: String = Sha256::digest(sources)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let home = lab::target_dir(&lab::workspace()?).join("qemu-tests/rpms");
    let dir = home.join(key).join(arch);
    fs::create_dir_all(&dir)?;
    let lock = File::create(home.join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    make(debs, arch, &dir)?;
    Ok(dir)
}

/// A key that signed nothing.
pub fn strange_key(dir: &Path) -> Result<PathBuf> {
    let dir = dir.join("strange-key");
    fs::create_dir_all(&dir)?;
    Signer::new(&dir)?;
    Ok(dir.join("key.asc"))
}

/// Makes the repository `dir/repo` and the key `dir/key.asc`; RPMs that are there already, in `dir/made`, by the name
/// of their package's file, are taken as they are.
fn make(debs: &[PathBuf], arch: &str, dir: &Path) -> Result<()> {
    let firmware = firmware(arch);
    let made = dir.join("made");
    fs::create_dir_all(&made)?;
    let signer = Signer::new(dir)?;
    for (first, others) in &groups(debs, &firmware)? {
        let name = first.file_stem().context("a package without a name")?;
        let place = made.join(name);
        if !place.exists() {
            convert(first, others, &firmware, &place)
                .with_context(|| format!("converting {}", first.display()))?;
        }
    }
    let repo = dir.join("repo");
    if repo.exists() {
        fs::remove_dir_all(&repo)?;
    }
    fs::create_dir(&repo)?;
    for rpm in rpms(&made)? {
        let name = rpm.file_name().context("an RPM without a name")?;
        fs::copy(&rpm, repo.join(name))?;
    }
    signer.sign(&rpms(&repo)?)?;
    Cmd::new("createrepo_c").arg("--quiet").arg(&repo).run()
}

/// The packages that become one RPM. The one that only names the kernel of the day is left out.
fn groups(debs: &[PathBuf], firmware: &[Firmware]) -> Result<Vec<(PathBuf, Vec<PathBuf>)>> {
    let mut groups: BTreeMap<String, (PathBuf, Vec<PathBuf>)> = BTreeMap::new();
    for deb in debs {
        let name = Cmd::new("dpkg-deb")
            .arg("-f")
            .arg(deb)
            .arg("Package")
            .text()?;
        let name = name.trim();
        if is_kernel(name).is_none() && name.starts_with("linux-image-") {
            continue;
        }
        let of = firmware.iter().find(|file| file.package == name);
        let rpm = of.map_or(name, |file| file.rpm.as_str());
        match groups.get_mut(rpm) {
            Some((_, others)) => others.push(deb.clone()),
            None => drop(groups.insert(rpm.to_owned(), (deb.clone(), Vec::new()))),
        }
    }
    Ok(groups.into_values().collect())
}

/// The release in the name of a kernel's package.
fn is_kernel(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?;
    release
        .starts_with(|c: char| c.is_ascii_digit())
        .then_some(release)
}

/// The `.repo` file of the repository, where it is served.
pub fn repo_file(dir: &Path, url: &str) -> String {
    format!(
        "[edge-test]\nname=Debian's packages as RPMs\nbaseurl={url}\ngpgcheck=1\ngpgkey=file://{}\n",
        dir.join("key.asc").display()
    )
}

/// The RPM of our own updater, where its .deb was among the packages.
pub fn updater(repository: &Path) -> Result<PathBuf> {
    let all = rpms(&repository.join("repo"))?;
    let ours = |path: &&PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("edge-ota-"))
    };
    all.iter()
        .find(ours)
        .cloned()
        .context("the repository has no updater")
}

fn rpms(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(rpms(&path)?);
        } else if path.extension().is_some_and(|e| e == "rpm") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A package's control file, as far as it matters here.
struct Control(BTreeMap<String, String>);

impl Control {
    fn read(deb: &Path) -> Result<Self> {
        let text = Cmd::new("dpkg-deb").arg("-f").arg(deb).text()?;
        let mut fields = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with(' ')) {
            if let Some((name, value)) = line.split_once(": ") {
                fields.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(Self(fields))
    }

    fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

fn convert(deb: &Path, others: &[PathBuf], firmware: &[Firmware], to: &Path) -> Result<()> {
    let control = Control::read(deb)?;
    let work = tempfile::tempdir()?;
    let root = work.path().join("root");
    for part in [deb].into_iter().chain(others.iter().map(PathBuf::as_path)) {
        Cmd::new("dpkg-deb").arg("-x").arg(part).arg(&root).run()?;
    }
    let name = rearrange(&root, control.field("Package"), firmware)?;
    let alone = firmware.iter().any(|file| file.rpm == name) || name == KERNEL;
    let conffiles = Cmd::new("dpkg-deb")
        .args(["-I"])
        .arg(deb)
        .arg("conffiles")
        .complete()?;
    let conffiles = String::from_utf8(conffiles.stdout)?;
    let conffiles: BTreeSet<&str> = conffiles.lines().map(str::trim).collect();
    let spec = work.path().join("package.spec");
    fs::write(&spec, spec_of(&control, &name, alone, &root, &conffiles)?)?;
    let out = work.path().join("out");
    let target = match control.field("Architecture") {
        "all" => "noarch",
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    Cmd::new("rpmbuild")
        .args(["-bb", "--quiet", "--noclean", "--target", target])
        .arg("--buildroot")
        .arg(&root)
        .args(
            [
                format!("_topdir {}", work.path().join("top").display()),
                format!("_rpmdir {}", out.display()),
                "_build_id_links none".to_owned(),
                "__spec_install_pre %{nil}".to_owned(),
                "__spec_install_post %{nil}".to_owned(),
                "__arch_install_post %{nil}".to_owned(),
                "_binary_payload w1.zstdio".to_owned(),
                "_buildhost mirror.example".to_owned(),
            ]
            .map(|define| format!("--define={define}")),
        )
        .arg(&spec)
        .run()?;
    let new = to.with_extension("new");
    Cmd::new("cp").arg("-r").arg(&out).arg(&new).run()?;
    fs::rename(&new, to)?;
    Ok(())
}

/// Moves what Fedora has elsewhere; returns the RPM's name.
fn rearrange(root: &Path, package: &str, firmware: &[Firmware]) -> Result<String> {
    if let Some(release) = is_kernel(package) {
        let modules = root.join("usr/lib/modules").join(release);
        for name in ["vmlinuz", "config", "System.map"] {
            fs::rename(
                root.join(format!("boot/{name}-{release}")),
                modules.join(name),
            )?;
        }
        fs::remove_dir(root.join("boot"))?;
        return Ok(KERNEL.to_owned());
    }
    if let Some(Firmware { rpm, .. }) = firmware.iter().find(|file| file.package == package) {
        for file in firmware.iter().filter(|file| &file.rpm == rpm) {
            let place = root.join(&file.to);
            fs::create_dir_all(place.parent().context("no folder")?)?;
            fs::rename(root.join(&file.from), &place)?;
        }
        return Ok(rpm.clone());
    }
    if package == "base-passwd" {
        fs::create_dir_all(root.join("etc"))?;
        for (from, to) in [("passwd.master", "passwd"), ("group.master", "group")] {
            let from = root.join("usr/share/base-passwd").join(from);
            fs::copy(from, root.join("etc").join(to))?;
        }
    }
    Ok(package.to_owned())
}

/// An RPM that is `alone` needs no other.
fn spec_of(
    control: &Control,
    name: &str,
    alone: bool,
    root: &Path,
    conffiles: &BTreeSet<&str>,
) -> Result<String> {
    let version = Evr::parse(control.field("Version"));
    let summary = control.field("Description");
    let mut spec = format!(
        "Name: {name}\nVersion: {}\nRelease: {}\nSummary: {summary}\nLicense: Various\nAutoReq: no\n",
        version.version, version.release
    );
    if version.epoch > 0 {
        let _ = writeln!(spec, "Epoch: {}", version.epoch);
    }
    match name {
        "dash" => spec.push_str("Provides: /bin/sh\n"),
        "libc6" => spec.push_str("Provides: rtld(GNU_HASH)\n"),
        KERNEL => spec.push_str("Provides: kernel-modules\n"),
        _ => {}
    }
    if !alone {
        for field in ["Pre-Depends", "Depends"] {
            for one in control.field(field).split(", ").filter(|d| !d.is_empty()) {
                let _ = writeln!(spec, "Requires: {}", requirement(one));
            }
        }
    }
    for one in control
        .field("Provides")
        .split(", ")
        .filter(|d| !d.is_empty())
    {
        let _ = writeln!(spec, "Provides: {}", requirement(one));
    }
    let mut files = String::new();
    list(root, root, conffiles, &mut files)?;
    let mut scriptlets = scriptlets(name, root)?;
    // Owners of files are looked up in the tree's own /etc.
    if name != "base-passwd" && files.contains("%attr(") {
        spec.push_str("Requires(pre): base-passwd\n");
    }
    if !scriptlets.is_empty() {
        spec.push_str("Requires(post): dash coreutils base-passwd dpkg\n");
    }
    if scriptlets.contains("systemd-sysusers") && name != "systemd" {
        spec.push_str("Requires(post): systemd\n");
    }
    scriptlets.push_str("%files\n");
    let _ = write!(spec, "%description\n{summary}\n{scriptlets}{files}");
    Ok(spec)
}

fn scriptlets(name: &str, root: &Path) -> Result<String> {
    let mut by_kind: BTreeMap<&str, String> = BTreeMap::new();
    let sysusers = root.join("usr/lib/sysusers.d");
    if sysusers.is_dir() {
        let text = by_kind.entry("post").or_default();
        let mut names = Vec::new();
        for entry in fs::read_dir(&sysusers)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        let _ = writeln!(text, "systemd-sysusers {}", names.join(" "));
    }
    for (_, kind, act) in SCRIPTLETS.iter().filter(|(of, ..)| *of == name) {
        let text = by_kind.entry(kind).or_default();
        let _ = writeln!(text, "{act}");
    }
    let by_kind = by_kind.into_iter();
    Ok(by_kind
        .map(|(kind, text)| format!("%{kind}\nset -e\n{text}"))
        .collect())
}

/// Lines of `%files`: all but the folders that every package has.
fn list(root: &Path, dir: &Path, conffiles: &BTreeSet<&str>, out: &mut String) -> Result<()> {
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir)? {
        entries.push(entry?.path());
    }
    entries.sort();
    for path in entries {
        let meta = fs::symlink_metadata(&path)?;
        let inside = format!("/{}", path.strip_prefix(root)?.display());
        ensure!(
            !inside.contains(['"', '%', '*', '?', ']']),
            "{inside}: a name that a spec would read"
        );
        let mut marks = String::new();
        if conffiles.contains(inside.as_str()) {
            marks.push_str("%config(noreplace) ");
        }
        if inside.starts_with("/usr/share/doc/") && inside.ends_with("/copyright") {
            marks.push_str("%license ");
        } else if inside.starts_with("/usr/share/doc/") || inside.starts_with("/usr/share/man/") {
            marks.push_str("%doc ");
        }
        if let Some(rest) = inside.strip_prefix("/usr/share/locale/") {
            let _ = write!(marks, "%lang({}) ", rest.split('/').next().unwrap_or(rest));
        }
        if inside == "/usr/bin/ping" {
            marks.push_str("%caps(cap_net_raw=ep) ");
        }
        if (meta.uid(), meta.gid()) != (0, 0) {
            let mode = meta.mode() & 0o7777;
            let _ = write!(
                marks,
                "%attr({mode:o}, {}, {}) ",
                user(meta.uid())?,
                group(meta.gid())?
            );
        }
        if meta.is_dir() {
            let _ = writeln!(out, "{marks}%dir \"{inside}\"");
            list(root, &path, conffiles, out)?;
        } else {
            let _ = writeln!(out, "{marks}\"{inside}\"");
        }
    }
    Ok(())
}

fn user(id: u32) -> Result<String> {
    name_of("passwd", id)
}

fn group(id: u32) -> Result<String> {
    name_of("group", id)
}

/// Debian's fixed numbers have the same names everywhere.
fn name_of(database: &str, id: u32) -> Result<String> {
    let line = Cmd::new("getent")
        .args([database, &id.to_string()])
        .text()?;
    let name = line.split(':').next().context("getent printed nothing")?;
    Ok(name.to_owned())
}
