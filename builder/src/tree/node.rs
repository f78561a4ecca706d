//! What a treefile says about the node beside its packages, written into the root file system
//! before it is laid out (`/etc` is still `/etc`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

use super::rooted;
use crate::foreign;

#[derive(Debug, Clone, Default)]
pub struct Node {
    pub sysctls: BTreeMap<String, String>,
    /// Kernel modules to load at boot.
    pub modules: Vec<String>,
    pub board_json: Vec<u8>,
    /// Trusted root documents, named `<n>.root`.
    pub roots: Vec<PathBuf>,
    pub units: Vec<String>,
    pub default_target: Option<String>,
    /// Groups that /etc/group must have.
    pub etc_group_members: Vec<String>,
    pub os_release: Option<OsRelease>,
    pub add_files: Vec<AddFile>,
    /// Paths to remove, absolute in the tree.
    pub remove_files: Vec<String>,
    pub postprocess: Vec<Script>,
    /// Debian's word for the tree's architecture.
    pub arch: String,
}

/// `mutate-os-release`: in VERSION and PRETTY_NAME `replace` becomes `version`.
#[derive(Debug, Clone)]
pub struct OsRelease {
    pub replace: String,
    pub version: String,
}

#[derive(Debug, Clone)]
pub struct AddFile {
    pub source: PathBuf,
    /// Absolute in the tree.
    pub to: String,
}

#[derive(Debug, Clone)]
pub struct Script {
    /// For messages: where the script stands.
    pub name: String,
    /// Begins with `#!`.
    pub text: Vec<u8>,
}

pub fn apply(root: &Path, node: &Node) -> Result<()> {
    for file in &node.add_files {
        add_file(root, file).with_context(|| format!("add-files: {}", file.to))?;
    }
    write_settings(root, node)?;
    check_groups(root, &node.etc_group_members)?;
    if let Some(change) = &node.os_release {
        let path = root.join("usr/lib/os-release");
        let changed = os_release(&rooted::read_text(&path)?, change);
        rooted::put(&path, changed)?;
    }
    enable_units(root, node)?;
    for script in &node.postprocess {
        run_script(root, &node.arch, script)
            .with_context(|| format!("postprocess: {}", script.name))?;
    }
    for path in &node.remove_files {
        let inside = inside(root, path).with_context(|| format!("remove-files: {path}"))?;
        rooted::remove(&inside)?;
    }
    Ok(())
}

fn write_settings(root: &Path, node: &Node) -> Result<()> {
    if !node.sysctls.is_empty() {
        let lines: String = node
            .sysctls
            .iter()
            .map(|(k, v)| format!("{k} = {v}\n"))
            .collect();
        rooted::put(&root.join("usr/lib/sysctl.d/60-edge.conf"), lines)?;
    }
    if !node.modules.is_empty() {
        let lines: String = node
            .modules
            .iter()
            .map(|name| format!("{name}\n"))
            .collect();
        rooted::put(&root.join("usr/lib/modules-load.d/edge.conf"), lines)?;
    }
    rooted::put(&root.join("usr/lib/edge-ota/board.json"), &node.board_json)?;
    for source in &node.roots {
        let name = source
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let number = name.strip_suffix(".root").map(str::parse::<u32>);
        if !matches!(number, Some(Ok(_))) {
            bail!("a trusted root is named <n>.root, not {}", source.display());
        }
        let bytes = fs::read(source).with_context(|| format!("reading {}", source.display()))?;
        rooted::put(&root.join("usr/lib/edge-ota/root").join(name), bytes)?;
    }
    Ok(())
}

fn add_file(root: &Path, file: &AddFile) -> Result<()> {
    let bytes =
        fs::read(&file.source).with_context(|| format!("reading {}", file.source.display()))?;
    let meta = fs::metadata(&file.source)?;
    let to = inside(root, &file.to)?;
    rooted::put(&to, bytes)?;
    // Only whether it can be run is taken over: a checkout has the mode of whoever made it.
    rooted::set_mode(
        &to,
        if meta.permissions().mode() & 0o111 != 0 {
            0o755
        } else {
            0o644
        },
    )
}

/// The place of an absolute path of the tree, its last part not followed.
pub fn inside(root: &Path, path: &str) -> Result<PathBuf> {
    let path = Path::new(path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("not a file in the tree");
    };
    if !path.is_absolute() {
        bail!("the path must begin with /");
    }
    let mut known = parent;
    while let Some(up) = known.parent() {
        if let Some(found) = rooted::resolve(root, known)? {
            let rest = parent.strip_prefix(known)?;
            return Ok(root.join(found.path).join(rest).join(name));
        }
        known = up;
    }
    Ok(root.join(parent.strip_prefix("/")?).join(name))
}

fn check_groups(root: &Path, wanted: &[String]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let groups = rooted::read_text(&root.join("etc/group"))?;
    let has = |name: &str| {
        groups
            .lines()
            .any(|line| line.split(':').next() == Some(name))
    };
    let missing: Vec<&str> = wanted
        .iter()
        .map(String::as_str)
        .filter(|name| !has(name))
        .collect();
    if !missing.is_empty() {
        bail!(
            "etc-group-members: /etc/group has no {}",
            missing.join(", ")
        );
    }
    Ok(())
}

/// The text of os-release with the version of a release in it.
pub fn os_release(text: &str, change: &OsRelease) -> String {
    let mut out = String::new();
    for line in text.lines() {
        match line.split_once('=') {
            Some(("OSTREE_VERSION", _)) => continue,
            Some(("VERSION" | "PRETTY_NAME", _)) => {
                out.push_str(&line.replacen(&change.replace, &change.version, 1));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out.push_str(&format!("OSTREE_VERSION='{}'\n", change.version));
    out
}

fn enable_units(root: &Path, node: &Node) -> Result<()> {
    if !node.units.is_empty() {
        systemctl(root)
            .arg("enable")
            .args(&node.units)
            .run()
            .context("units")?;
    }
    match &node.default_target {
        Some(target) => systemctl(root)
            .args(["set-default", target])
            .run()
            .context("default-target"),
        None => Ok(()),
    }
}

fn systemctl(root: &Path) -> Cmd {
    Cmd::new("systemctl")
        .arg("--root")
        .arg(root)
        .arg("--no-reload")
}

/// Mounts what a script expects, in a name space that ends with it, then runs it in the tree.
const ENTER: &str = r#"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 dev "$1/dev"
for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
    set -- "$1" $node
    mknod -m 666 "$1/dev/$2" c 1 "$3"
done
mount -t tmpfs run "$1/run"
mount -t tmpfs tmp "$1/tmp"
exec chroot "$1" /.edge-postprocess
"#;

/// Runs a script in the tree without network, and without mounts or processes left behind.
pub fn run_script(root: &Path, arch: &str, script: &Script) -> Result<()> {
    let path = root.join(".edge-postprocess");
    rooted::put(&path, &script.text)?;
    rooted::set_mode(&path, 0o700)?;
    let ran = Cmd::new("unshare")
        .args([
            "--mount",
            "--net",
            "--ipc",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
        ])
        .args(["sh", "-ec", ENTER, "sh"])
        .arg(root)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .envs(foreign::environment(arch))
        .run();
    rooted::remove(&path)?;
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_gets_the_version_once() {
        let change = OsRelease {
            replace: "13".into(),
            version: "13.20261122.0".into(),
        };
        let text =
            "PRETTY_NAME=\"Debian 13 (trixie)\"\nVERSION_ID=\"13\"\nVERSION=\"13 (trixie)\"\n";
        let once = os_release(text, &change);
        assert_eq!(
            once,
            "PRETTY_NAME=\"Debian 13.20261122.0 (trixie)\"\nVERSION_ID=\"13\"\n\
             VERSION=\"13.20261122.0 (trixie)\"\nOSTREE_VERSION='13.20261122.0'\n"
        );
        assert_eq!(
            os_release(&once, &change).matches("OSTREE_VERSION").count(),
            1
        );
    }

    #[test]
    fn files_stay_inside_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        rooted::put(&root.join("usr/lib/x"), "").unwrap();
        rooted::link(&root.join("lib"), "/usr/lib").unwrap();
        assert_eq!(
            inside(root, "/lib/new/file").unwrap(),
            root.join("usr/lib/new/file")
        );
        assert_eq!(inside(root, "/lib").unwrap(), root.join("lib"));
        assert_eq!(
            inside(root, "/fresh/dir/file").unwrap(),
            root.join("fresh/dir/file")
        );
        assert!(inside(root, "relative").is_err());
        assert!(inside(root, "/..").is_err());
    }

    #[test]
    fn settings_and_groups() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        rooted::put(&root.join("etc/group"), "root:x:0:\nsudo:x:27:\n").unwrap();
        let node = Node {
            sysctls: BTreeMap::from([("kernel.panic".into(), "10".into())]),
            modules: vec!["overlay".into(), "br_netfilter".into()],
            etc_group_members: vec!["sudo".into()],
            ..Node::default()
        };
        apply(root, &node).unwrap();
        let read = |path: &str| rooted::read_text(&root.join(path)).unwrap();
        assert_eq!(read("usr/lib/sysctl.d/60-edge.conf"), "kernel.panic = 10\n");
        assert_eq!(
            read("usr/lib/modules-load.d/edge.conf"),
            "overlay\nbr_netfilter\n"
        );
        let node = Node {
            etc_group_members: vec!["wheel".into()],
            ..Node::default()
        };
        assert!(
            apply(root, &node)
                .unwrap_err()
                .to_string()
                .contains("no wheel")
        );
    }
}
