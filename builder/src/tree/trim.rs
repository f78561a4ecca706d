//! `remove-from-packages`: files of packages that a tree does without, in a root file system that is not laid out yet.
//! dpkg's and RPM's databases stay as they are, as rpm-ostree's does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{node, rooted};
use crate::dpkg;
use crate::owners;
use crate::rpmdb;
use crate::treefile::RemoveFrom;

const INFO: &str = "var/lib/dpkg/info";

/// Removes what matches, with all below it, and the folders that are empty then. What another package has too stays.
/// Returns how many files that were.
pub fn apply(root: &Path, all: &[RemoveFrom]) -> Result<usize> {
    if all.is_empty() {
        return Ok(0);
    }
    let packages = paths_of_packages(root)?;
    let mut count = 0;
    for entry in all {
        count += remove(root, entry, &packages)
            .with_context(|| format!("remove-from-packages: {}", entry.package))?;
    }
    Ok(count)
}

/// Package to the paths that it brought.
fn paths_of_packages(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let info = root.join(INFO);
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in rooted::names(&info)? {
        if name.ends_with(".list") {
            let text = rooted::read_text(&info.join(&name))?;
            let package = packages.entry(dpkg::package_of_info(&name).to_owned());
            let paths = text.lines().filter(|line| *line != "/.");
            package.or_default().extend(paths.map(str::to_owned));
        }
    }
    for (package, path) in rpmdb::paths_of(root)? {
        packages.entry(package).or_default().insert(path);
    }
    Ok(packages)
}

fn remove(
    root: &Path,
    entry: &RemoveFrom,
    packages: &BTreeMap<String, BTreeSet<String>>,
) -> Result<usize> {
    let Some(paths) = packages.get(&entry.package) else {
        bail!("it is not installed: check the name, or add it to packages");
    };
    let others = packages.iter().filter(|(name, _)| **name != entry.package);
    let shared: BTreeSet<&String> = others.flat_map(|(_, paths)| paths).collect();
    let mut count = 0;
    // What a folder holds before the folder.
    for path in paths.iter().rev().filter(|path| !shared.contains(path)) {
        if !entry.matches(&owners::in_tree(path)) {
            continue;
        }
        let place = node::inside(root, path)?;
        match place.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {
                if rooted::names(&place)?.is_empty() {
                    rooted::remove(&place)?;
                }
            }
            Ok(_) => {
                rooted::remove(&place)?;
                count += 1;
            }
            // Documentation was not unpacked.
            Err(_) => {}
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entry(package: &str, patterns: &[&str]) -> RemoveFrom {
        RemoveFrom {
            package: package.to_owned(),
            patterns: patterns.iter().map(|p| p.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn files_of_one_package_go() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let put = |path: &str, text: &str| rooted::put(&root.join(path), text).unwrap();
        rooted::link(&root.join("bin"), "usr/bin").unwrap();
        let files = [
            "usr/bin/a",
            "usr/bin/a-extra",
            "usr/bin/b",
            "usr/share/a/one",
            "usr/share/a/deep/two",
            "usr/share/a-own",
            "etc/a.conf",
            "etc/shared",
        ];
        files.iter().for_each(|path| put(path, ""));
        put(
            &format!("{INFO}/a:amd64.list"),
            "/.\n/bin\n/bin/a\n/bin/a-extra\n/etc\n/etc/a.conf\n/etc/shared\n/usr\n/usr/share\n\
             /usr/share/a\n/usr/share/a/deep\n/usr/share/a/deep/two\n/usr/share/a/one\n/usr/share/doc/a\n",
        );
        put(
            &format!("{INFO}/b.list"),
            "/.\n/etc\n/etc/shared\n/usr\n/usr/bin\n/usr/bin/b\n/usr/share\n",
        );
        let all = [
            entry("a", &["/usr/bin/.*-", "/etc/.*"]),
            entry("a", &["^/usr/share/a$"]),
        ];
        assert_eq!(apply(root, &all).unwrap(), 4);
        let left: Vec<bool> = files.iter().map(|path| root.join(path).exists()).collect();
        let expected = [true, false, true, false, false, true, false, true];
        assert_eq!(left, expected);
        assert!(!root.join("usr/share/a").exists() && root.join("usr/share").exists());
        assert!(fs::read_to_string(root.join(INFO).join("a:amd64.list")).is_ok());

        let error = apply(root, &[entry("none", &["x"])]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "remove-from-packages: none: it is not installed: check the name, or add it to packages"
        );
    }
}
