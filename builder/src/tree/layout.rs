//! From a distribution's root file system to the layout that OSTree deploys, in place.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::kernel::{self, Kernel};
use super::{rooted, var};
use crate::rpmdb;

/// The OSTree stateroot that our machines use.
pub const STATEROOT: &str = "edge";

/// What the layout found and did.
#[derive(Debug)]
pub struct LaidOut {
    pub kernel: Kernel,
    /// Files of `/var` that no package owns; they are not in the tree.
    pub dropped: Vec<String>,
}

/// Where Debian's kernel packages put device trees, before the release; RPM's have `dtb` beside the modules.
const DEVICE_TREES: &str = "usr/lib/linux-image-";

/// Timers and services for a system that changes its own packages or file systems.
const UNWANTED_UNITS: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "grub-common.service",
    "man-db.timer",
    // These two would write caches into /etc, which then hide those of every later release.
    "ldconfig.service",
    "systemd-hwdb-update.service",
];

const UNWANTED_GENERATORS: &[&str] = &[
    // Its automatic mounts (the ESP on /boot, which OSTree has mounted already) fail and cost a file system check at
    // each boot.
    "systemd-gpt-auto-generator",
    // It would make the mount of /var, which we bring, and complains at each boot that our `ostree=` is none of its own.
    "ostree-system-generator",
];

const PREPARE_ROOT: &str = "[sysroot]\nreadonly=true\n";

/// Condition* in a drop-in, once emptied, empties all of them.
const SSH_KEYGEN: &str = "\
# An empty machine-id is not a first boot to systemd, and missing keys can be made at any boot.
[Unit]
ConditionFirstBoot=
ConditionPathIsReadWrite=/etc/ssh
";

/// Removes what the installation left of the machine that it ran on, and what a machine must make
/// for itself. Done before anything of ours is written.
pub fn scrub(root: &Path) -> Result<()> {
    for path in [
        "etc/hostname",
        "etc/.resolv.conf.systemd-resolved.bak",
        "etc/fstab",
    ] {
        rooted::remove(&root.join(path))?;
    }
    for name in rooted::names(&root.join("etc/ssh"))? {
        if name.starts_with("ssh_host_") {
            rooted::remove(&root.join("etc/ssh").join(name))?;
        }
    }
    rooted::remove(&root.join("etc/resolv.conf"))?;
    if root.join("usr/lib/systemd/systemd-resolved").exists() {
        let stub = "../run/systemd/resolve/stub-resolv.conf";
        rooted::link(&root.join("etc/resolv.conf"), stub)?;
    }
    for units in ["etc/systemd/system", "usr/lib/systemd/system"] {
        disable_unwanted(&root.join(units))?;
    }
    let generators = root.join("usr/lib/systemd/system-generators");
    UNWANTED_GENERATORS
        .iter()
        .try_for_each(|name| rooted::remove(&generators.join(name)))
}

/// Turns the root file system into an OSTree tree; of the kernel's device trees it keeps the one named.
pub fn apply(root: &Path, device_tree: Option<&str>) -> Result<LaidOut> {
    if !root.join("etc").is_dir() || root.join("usr/etc").exists() {
        bail!(
            "{} is not the root of an installed system: no /etc, or /usr/etc",
            root.display()
        );
    }
    let kernel = place_kernel(root)?;
    place_device_tree(root, &kernel, device_tree)?;
    let shipped = files_of_packages(root)?;
    place_packages(root)?;
    tidy_etc(root)?;
    drop_compiled_python(&root.join("usr"))?;
    var::move_tmpfiles(root)?;
    move_machine_folders(root)?;
    let dropped = var::to_tmpfiles(root, &shipped)?;
    write_own_files(root)?;
    rooted::rename(&root.join("etc"), &root.join("usr/etc"))?;
    finish_top_level(root)?;
    Ok(LaidOut { kernel, dropped })
}

/// Takes the right to write from every program.
pub fn make_executables_readonly(dir: &Path) -> Result<()> {
    for name in rooted::names(dir)? {
        let path = dir.join(&name);
        let meta = fs::symlink_metadata(&path)?;
        let mode = meta.permissions().mode();
        if meta.is_dir() {
            make_executables_readonly(&path)?;
        } else if meta.is_file() && mode & 0o111 != 0 && mode & 0o222 != 0 {
            rooted::set_mode(&path, mode & 0o7555)?;
        }
    }
    Ok(())
}

fn disable_unwanted(units: &Path) -> Result<()> {
    for folder in rooted::names(units)? {
        if folder.ends_with(".wants") || folder.ends_with(".requires") {
            for unit in UNWANTED_UNITS {
                rooted::remove(&units.join(&folder).join(unit))?;
            }
        }
    }
    Ok(())
}

/// Debian puts the kernel in /boot under names with its release; RPM puts it beside the modules.
fn place_kernel(root: &Path) -> Result<Kernel> {
    let kernel = kernel::find(root)?;
    let dir = root.join(&kernel.dir);
    for (name, to) in [
        ("vmlinuz", "vmlinuz"),
        ("vmlinux", "vmlinuz"),
        ("config", "config"),
    ] {
        let from = root.join("boot").join(format!("{name}-{}", kernel.release));
        if from.exists() && !dir.join(to).exists() {
            rooted::rename(&from, &dir.join(to))?;
        }
    }
    for file in ["vmlinuz", "modules.dep"] {
        if !dir.join(file).exists() {
            bail!("kernel {} has no {file}", kernel.release);
        }
    }
    rooted::make_dir(&root.join("boot"))?;
    rooted::clear(&root.join("boot"))?;
    for name in ["vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"] {
        rooted::remove(&root.join(name))?;
    }
    Ok(kernel)
}

/// Firmware with UEFI brings its own; U-Boot is given the board's.
fn place_device_tree(root: &Path, kernel: &Kernel, wanted: Option<&str>) -> Result<()> {
    let of_rpms = root.join(&kernel.dir).join("dtb");
    let all = root.join("usr/lib/.device-trees");
    for from in [
        root.join(format!("{DEVICE_TREES}{}", kernel.release)),
        of_rpms.clone(),
    ] {
        if from.is_dir() {
            merge(&from, &all)?;
        }
    }
    if let Some(name) = wanted {
        let from = all.join(name);
        if !from.is_file() {
            bail!("kernel {} has no device tree {name}", kernel.release);
        }
        let to = of_rpms.join(name);
        to.parent().map_or(Ok(()), rooted::make_dir)?;
        rooted::rename(&from, &to)?;
    }
    rooted::remove(&all)
}

/// The paths in /var that packages own.
fn files_of_packages(root: &Path) -> Result<BTreeSet<String>> {
    let info = root.join("var/lib/dpkg/info");
    let of_rpms = rpmdb::paths_of(root)?.into_iter().map(|(_, path)| path);
    let mut files: BTreeSet<String> = of_rpms.filter(|path| path.starts_with("/var/")).collect();
    for name in rooted::names(&info)?
        .iter()
        .filter(|name| name.ends_with(".list"))
    {
        let text = rooted::read_text(&info.join(name))?;
        files.extend(
            text.lines()
                .filter(|l| l.starts_with("/var/"))
                .map(str::to_owned),
        );
    }
    Ok(files)
}

fn place_packages(root: &Path) -> Result<()> {
    let (from, to) = (
        root.join("var/lib/dpkg"),
        root.join("usr/lib/sysimage/dpkg"),
    );
    if !from.join("status").exists() {
        return Ok(());
    }
    rooted::rename(&from, &to)?;
    for name in rooted::names(&to)? {
        if name.ends_with("-old") || name.starts_with("lock") {
            rooted::remove(&to.join(name))?;
        }
    }
    Ok(())
}

fn tidy_etc(root: &Path) -> Result<()> {
    let etc = root.join("etc");
    for name in rooted::names(&etc)? {
        if name.ends_with('-') || name == ".pwd.lock" || name == ".updated" {
            rooted::remove(&etc.join(name))?;
        }
    }
    drop_backups(&etc)?;
    for name in ["shadow", "gshadow"] {
        if let Ok(meta) = fs::metadata(etc.join(name)) {
            rooted::set_mode(&etc.join(name), meta.permissions().mode() & 0o640)?;
        }
    }
    forget_changes(&etc.join("shadow"))?;
    // Empty: systemd fills it in. "uninitialized" would be a first boot to systemd: it would ask
    // questions on the console and enable every unit that has a preset.
    rooted::put(&etc.join("machine-id"), "")?;
    rooted::set_mode(&etc.join("machine-id"), 0o444)?;
    rooted::link(&etc.join("mtab"), "../proc/self/mounts")
}

/// The day of the last change of a password is the day of the installation: without it a tree does not depend on that.
/// An empty field (shadow(5)) turns the ageing of passwords off; nobody has one here.
fn forget_changes(shadow: &Path) -> Result<()> {
    if !shadow.exists() {
        return Ok(());
    }
    let mut text = String::new();
    for line in rooted::read_text(shadow)?.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(day) = fields.get_mut(2) {
            *day = "";
        }
        text.push_str(&fields.join(":"));
        text.push('\n');
    }
    // In its place: mode and owner stay.
    fs::write(shadow, text).with_context(|| format!("writing {}", shadow.display()))
}

fn drop_backups(dir: &Path) -> Result<()> {
    const ENDINGS: [&str; 5] = [
        ".dpkg-old",
        ".dpkg-dist",
        ".dpkg-new",
        ".rpmnew",
        ".rpmsave",
    ];
    for name in rooted::names(dir)? {
        let path = dir.join(&name);
        if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            rooted::remove(&path)?;
        } else if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            drop_backups(&path)?;
        }
    }
    Ok(())
}

/// Python compares the time noted in a compiled file with the source's, which OSTree sets to zero:
/// such files are never used.
fn drop_compiled_python(dir: &Path) -> Result<()> {
    for name in rooted::names(dir)? {
        let path = dir.join(&name);
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        if name == "__pycache__" {
            rooted::remove(&path)?;
        } else {
            drop_compiled_python(&path)?;
        }
    }
    Ok(())
}

fn move_machine_folders(root: &Path) -> Result<()> {
    for (from, to) in var::MOVED {
        if fs::symlink_metadata(root.join(from)).is_ok_and(|meta| meta.is_dir()) {
            merge(&root.join(from), &root.join(to))?;
        } else {
            rooted::make_dir(&root.join(to))?;
        }
        let up = "../".repeat(from.matches('/').count());
        rooted::link(&root.join(from), &format!("{up}{to}"))?;
    }
    rooted::set_mode(&root.join("var/roothome"), 0o700)
}

/// Moves a folder to where there may be one already (Debian has an empty /var/opt).
fn merge(from: &Path, to: &Path) -> Result<()> {
    if !to.is_dir() {
        return rooted::rename(from, to);
    }
    for name in rooted::names(from)? {
        rooted::rename(&from.join(&name), &to.join(&name))?;
    }
    rooted::remove(from)
}

fn write_own_files(root: &Path) -> Result<()> {
    rooted::put(&root.join("usr/lib/ostree/prepare-root.conf"), PREPARE_ROOT)?;
    let units = root.join("usr/lib/systemd/system");
    rooted::put(&units.join("var.mount"), var_mount())?;
    rooted::link(
        &units.join("local-fs.target.requires/var.mount"),
        "../var.mount",
    )?;
    if units.join("sshd-keygen.service").exists() {
        rooted::put(
            &units.join("sshd-keygen.service.d/10-edge.conf"),
            SSH_KEYGEN,
        )?;
    }
    Ok(())
}

fn var_mount() -> String {
    format!(
        "[Unit]\nDescription=Data of this machine\nDocumentation=man:ostree(1)\n\
         DefaultDependencies=no\nConditionKernelCommandLine=ostree\n\
         Conflicts=umount.target\nBefore=local-fs.target umount.target\n\n\
         [Mount]\nWhat=/sysroot/ostree/deploy/{STATEROOT}/var\nWhere=/var\n\
         Options=bind,slave,shared\n"
    )
}

fn finish_top_level(root: &Path) -> Result<()> {
    for dir in ["dev", "proc", "run", "sys", "sysroot", "tmp"] {
        rooted::make_dir(&root.join(dir))?;
        rooted::clear(&root.join(dir))?;
        rooted::set_mode(&root.join(dir), if dir == "tmp" { 0o1777 } else { 0o755 })?;
    }
    rooted::remove(&root.join("media"))?;
    rooted::link(&root.join("media"), "run/media")?;
    rooted::link(&root.join("ostree"), "sysroot/ostree")?;
    rooted::set_mode(root, 0o755)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn programs_lose_the_right_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777;
        for (name, mode) in [("usr/bin/su", 0o4755), ("usr/lib/text", 0o644)] {
            rooted::put(&dir.path().join(name), "").unwrap();
            rooted::set_mode(&dir.path().join(name), mode).unwrap();
        }
        make_executables_readonly(dir.path()).unwrap();
        assert_eq!((mode("usr/bin/su"), mode("usr/lib/text")), (0o4555, 0o644));
        assert_eq!(mode("usr/bin") & 0o200, 0o200);
    }

    #[test]
    fn a_tree_without_etc_or_laid_out_twice_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            apply(dir.path(), None)
                .unwrap_err()
                .to_string()
                .contains("no /etc")
        );
    }
}
