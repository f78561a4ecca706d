//! `/var` belongs to the machine, not to the tree: what packages put there becomes lines for
//! systemd-tmpfiles, which makes it on each machine.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

use super::rooted;

const TMPFILES: &str = "usr/lib/tmpfiles.d";
const OURS: &str = "usr/lib/tmpfiles.d/edge-var.conf";
/// Where systemd-tmpfiles expects the files that it copies.
const FACTORY: &str = "usr/share/factory";

/// Where the top-level folders that belong to the machine live.
pub const MOVED: &[(&str, &str)] = &[
    ("home", "var/home"),
    ("mnt", "var/mnt"),
    ("opt", "var/opt"),
    ("root", "var/roothome"),
    ("srv", "var/srv"),
    ("usr/local", "var/usrlocal"),
];

/// What package managers note about an installation; it means nothing on a machine.
const BOOKKEEPING: &[&str] = &[
    "var/backups",
    "var/cache/apt",
    "var/cache/debconf",
    "var/cache/dnf",
    "var/cache/ldconfig",
    "var/lib/apt",
    "var/lib/dnf",
    "var/lib/dpkg",
    "var/lib/rpm",
    "var/lib/systemd/deb-systemd-helper-enabled",
    "var/lib/systemd/deb-systemd-user-helper-enabled",
    "var/lib/ucf",
    "var/log/apt",
];

/// Empties `/var` and writes the lines that rebuild it. `shipped` are the files (`/var/...`) that
/// packages own and that are copied onto each machine once. Returns the files that were dropped.
pub fn to_tmpfiles(root: &Path, shipped: &BTreeSet<String>) -> Result<Vec<String>> {
    let known = known_paths(root)?;
    let mut out = Lines {
        root,
        shipped,
        known: &known,
        lines: Vec::new(),
        dropped: Vec::new(),
    };
    out.folder("var")?;
    rooted::clear(&root.join("var"))?;
    rooted::set_mode(&root.join("var"), 0o755)?;
    out.lines
        .push("L /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg\n".to_owned());
    out.lines.sort();
    rooted::put(&root.join(OURS), out.lines.concat())?;
    Ok(out.dropped)
}

/// Makes the lines that packages ship for `/home`, `/root` and their like point to where these are
/// now: a line for a path that is a link would fail or replace the link.
pub fn move_tmpfiles(root: &Path) -> Result<()> {
    let dir = root.join(TMPFILES);
    for name in rooted::names(&dir)? {
        let path = dir.join(&name);
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            let old = rooted::read_text(&path)?;
            let new: String = old.split_inclusive('\n').map(moved_line).collect();
            if new != old {
                fs::write(&path, new).with_context(|| format!("writing {}", path.display()))?;
            }
        }
    }
    Ok(())
}

fn moved_line(line: &str) -> String {
    let Some(path) = tmpfiles_path(line) else {
        return line.to_owned();
    };
    for (from, to) in MOVED {
        let rest = path.strip_prefix('/').and_then(|p| p.strip_prefix(from));
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            return line.replacen(path, &format!("/{to}{rest}"), 1);
        }
    }
    line.to_owned()
}

/// The second word of a line that is not a comment.
fn tmpfiles_path(line: &str) -> Option<&str> {
    if line.starts_with('#') {
        return None;
    }
    line.split_whitespace()
        .nth(1)
        .filter(|path| path.starts_with('/'))
}

/// Every path that a package's own tmpfiles.d makes.
fn known_paths(root: &Path) -> Result<BTreeSet<String>> {
    let dir = root.join(TMPFILES);
    let mut known = BTreeSet::new();
    for name in rooted::names(&dir)? {
        if dir.join(&name).is_file() {
            let text = rooted::read_text(&dir.join(&name))?;
            known.extend(
                text.lines()
                    .filter(|l| makes(l))
                    .filter_map(tmpfiles_path)
                    .map(String::from),
            );
        }
    }
    Ok(known)
}

/// Lines of other types only adjust or remove what is there.
fn makes(line: &str) -> bool {
    line.starts_with(['d', 'D', 'v', 'q', 'Q', 'L', 'C', 'f'])
}

struct Lines<'a> {
    root: &'a Path,
    shipped: &'a BTreeSet<String>,
    known: &'a BTreeSet<String>,
    lines: Vec<String>,
    dropped: Vec<String>,
}

impl Lines<'_> {
    fn folder(&mut self, dir: &str) -> Result<()> {
        for name in rooted::names(&self.root.join(dir))? {
            let path = format!("{dir}/{name}");
            if BOOKKEEPING.contains(&path.as_str()) {
                continue;
            }
            let meta = fs::symlink_metadata(self.root.join(&path))
                .with_context(|| format!("looking at /{path}"))?;
            let (mode, uid, gid) = (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid());
            let at = escape(&format!("/{path}"));
            if meta.is_dir() {
                self.line(&path, format!("d {at} {mode:04o} {uid} {gid} -\n"));
                self.folder(&path)?;
            } else if meta.is_symlink() {
                let target = fs::read_link(self.root.join(&path))
                    .with_context(|| format!("reading the link /{path}"))?;
                self.line(
                    &path,
                    format!("L {at} - - - - {}\n", escape(&target.to_string_lossy())),
                );
            } else if meta.is_file() && self.keeps(&path) {
                rooted::rename(&self.root.join(&path), &self.root.join(FACTORY).join(&path))?;
                self.line(&path, format!("C {at} {mode:04o} {uid} {gid} -\n"));
            } else {
                self.dropped.push(format!("/{path}"));
            }
        }
        Ok(())
    }

    fn line(&mut self, path: &str, line: String) {
        if !self.known.contains(&format!("/{path}")) {
            self.lines.push(line);
        }
    }

    fn keeps(&self, path: &str) -> bool {
        self.shipped.contains(&format!("/{path}"))
            || MOVED.iter().any(|(_, to)| Path::new(path).starts_with(to))
    }
}

/// As tmpfiles.d(5) wants it: `%` starts a specifier, white space ends a field.
fn escape(path: &str) -> String {
    path.replace('%', "%%")
        .replace(' ', "\\x20")
        .replace('\t', "\\x09")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_packages_follow_the_links() {
        let check = |line: &str, expected: &str| assert_eq!(moved_line(line), expected);
        check("Q /home 0755 - - -\n", "Q /var/home 0755 - - -\n");
        check(
            "d- /root/.ssh :0700 root :root -\n",
            "d- /var/roothome/.ssh :0700 root :root -\n",
        );
        check("d /usr/local/x - - - -", "d /var/usrlocal/x - - - -");
        check("d /homestead - - - -\n", "d /homestead - - - -\n");
        check("# d /home\n", "# d /home\n");
        check("\n", "\n");
    }

    #[test]
    fn var_becomes_lines() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let put = |path: &str| rooted::put(&root.join(path), "x").unwrap();
        put("var/lib/dpkg/status");
        put("var/lib/tool/seed");
        put("var/lib/tool/cache.db");
        put("var/roothome/.profile");
        put("var/log/some log");
        rooted::link(&root.join("var/run"), "../run").unwrap();
        rooted::put(
            &root.join("usr/lib/tmpfiles.d/var.conf"),
            "d /var/log 0755 - - -\n",
        )
        .unwrap();
        rooted::set_mode(&root.join("var/lib/tool"), 0o1730).unwrap();
        let shipped = BTreeSet::from(["/var/lib/tool/seed".to_owned()]);
        let dropped = to_tmpfiles(root, &shipped).unwrap();
        assert_eq!(dropped, ["/var/lib/tool/cache.db", "/var/log/some log"]);
        let meta = fs::metadata(root).unwrap();
        let own = format!("{} {}", meta.uid(), meta.gid());
        let expected = format!(
            "C /var/lib/tool/seed 0644 {own} -\nC /var/roothome/.profile 0644 {own} -\n\
             L /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg\nL /var/run - - - - ../run\n\
             d /var/lib 0755 {own} -\nd /var/lib/tool 1730 {own} -\nd /var/roothome 0755 {own} -\n"
        );
        assert_eq!(rooted::read_text(&root.join(OURS)).unwrap(), expected);
        assert!(rooted::names(&root.join("var")).unwrap().is_empty());
        assert!(root.join("usr/share/factory/var/lib/tool/seed").exists());
    }
}
