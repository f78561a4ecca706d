//! Trees that should be the same and are not: each difference with what made it.

// clippy lets test functions unwrap, not what they call.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use edge_build::repo::{Description, Repo};
use edge_build::tree::rooted;
use edge_build::verify::{self, Side};
use edge_build::{succession, treefile};
use edge_ota::types::CommitChecksum;

mod common;

use common::{RELEASE, description, lay_out};

const TREEFILE: &str = "\
ref: edge/13/x86_64/node
packages: [tool]
add-files: [[extra, /etc/extra.conf]]
remove-files: [/usr/share/gone]
remove-from-packages: [[tool, /usr/share/tool$]]
mutate-os-release: '13'
edge: {sysctls: {vm.max_map_count: 2}}
";

/// What a package manager would have left of one package.
fn install(root: &Path, version: &str) {
    let put = |path: &str, text: &str| rooted::put(&root.join(path), text).unwrap();
    let status = format!("Package: tool\nStatus: install ok installed\nVersion: {version}\n");
    put("usr/lib/sysimage/dpkg/status", &status);
    put(
        "usr/lib/sysimage/dpkg/info/tool.list",
        "/usr\n/bin/tool\n/usr/share/tool\n",
    );
    put("usr/bin/tool", version);
    put("usr/etc/passwd", "root:x:0:0::/:/bin/sh\n");
    put("usr/lib/sysctl.d/60-edge.conf", "vm.max_map_count = 1\n");
    put("usr/share/gone", "");
    put("usr/share/tool", "");
}

fn commit(repo: &Path, root: &Path, kernel_size: u64) -> CommitChecksum {
    let name = "edge/13/x86_64/node".parse().unwrap();
    let description = Description {
        kernel_size,
        ..description()
    };
    let repo = Repo::open_or_create(repo).unwrap();
    repo.commit(root, &name, &description, &BTreeMap::new())
        .unwrap()
}

#[test]
fn each_difference_names_what_made_it() {
    let (dir, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, path) = (dir.path().join("root"), dir.path().join("node.yaml"));
    let put = |path: &str, text: &str| rooted::put(&root.join(path), text).unwrap();
    fs::write(dir.path().join("extra"), "").unwrap();
    fs::write(&path, TREEFILE).unwrap();
    let treefile = treefile::load(&path, "x86_64").unwrap();
    let [old, same, new] = ["old", "same", "new"].map(|name| dir.path().join(name));
    lay_out(&root, roots.path());
    install(&root, "1");
    let before = commit(&old, &root, 6);
    let compare = |after: &CommitChecksum, place: &Path| {
        let (old, new) = (Repo::open(&old).unwrap(), Repo::open(place).unwrap());
        let side = |repo, commit| Side { repo, commit };
        let (old, new) = (side(&old, &before), side(&new, after));
        verify::compare(old, new, &treefile).unwrap()
    };

    let verdict = compare(&commit(&same, &root, 6), &same);
    assert_eq!(verify::text(&verdict), "identical\n");
    assert_eq!(verdict.complaint(), None);

    install(&root, "2");
    put("usr/lib/sysctl.d/60-edge.conf", "vm.max_map_count = 2\n");
    put("usr/etc/extra.conf", "x");
    put("usr/etc/passwd", "root:x:0:0::/:/bin/bash\n");
    put("usr/lib/os-release", "another");
    put("usr/share/cache", "x");
    put(&format!("usr/lib/modules/{RELEASE}/modules.dep"), "x");
    put(&format!("usr/lib/modules/{RELEASE}/initramfs.img"), "x");
    rooted::remove(&root.join("usr/share/gone")).unwrap();
    rooted::remove(&root.join("usr/share/tool")).unwrap();
    rooted::set_mode(&root.join("usr/bin/edge-ota"), 0o4755).unwrap();
    rooted::set_mode(&root.join("usr/share"), 0o700).unwrap();
    let after = commit(&new, &root, 7);
    let verdict = compare(&after, &new);
    let expected =
        "packages:\n    tool 1 → 2\nmetadata:\n    edge-ota.kernel-size 6 → 7\n    ostree.sizes ";
    let text = verify::text(&verdict);
    assert!(text.starts_with(expected), "{text}");
    let (_, files) = text.split_once("files:\n").unwrap();
    let expected = format!(
        "\x20 /usr/bin/edge-ota: mode 0644 → 4755 (a package's installation script)
  /usr/bin/tool: content (package tool)
  /usr/etc/extra.conf: added (add-files)
  /usr/etc/passwd: content (users and groups)
  /usr/lib/modules/{RELEASE}/initramfs.img: content (initramfs)
  /usr/lib/modules/{RELEASE}/modules.dep: content (depmod)
  /usr/lib/os-release: content (mutate-os-release)
  /usr/lib/sysctl.d/60-edge.conf: content (edge.sysctls)
  /usr/lib/sysimage/dpkg/status: content (dpkg's database)
  /usr/share: mode 0755 → 0700 (a package's installation script)
  /usr/share/cache: added (a package's installation script)
  /usr/share/gone: removed (remove-files)
  /usr/share/tool: removed (remove-from-packages)
"
    );
    assert_eq!(files, expected);
    let complaint = verdict.complaint().unwrap();
    assert!(
        complaint.contains("differing files: 13, packages: 1"),
        "{complaint}"
    );
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["files"][0]["differs"][0]["mode"][1], 0o4755);
    assert_eq!(json["files"][1]["made_by"]["package"], "tool");
}

#[test]
fn a_commit_goes_on_from_what_it_went_on_from() {
    let (dir, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, place) = (dir.path().join("root"), dir.path().join("repo"));
    lay_out(&root, roots.path());
    let (first, second) = (commit(&place, &root, 6), commit(&place, &root, 7));
    let repo = Repo::open(&place).unwrap();
    let of = |commit: &CommitChecksum| {
        let of = succession::of(&repo, commit).unwrap();
        (of.parent, of.accounts, of.version)
    };
    assert_eq!(of(&first), (None, None, "13.1".to_owned()));
    let parent = Some(first.clone());
    assert_eq!(of(&second), (parent.clone(), parent.clone(), "13.1".into()));
    let object = format!(
        "objects/{}/{}.commit",
        &first.as_str()[..2],
        &first.as_str()[2..]
    );
    fs::remove_file(place.join(object)).unwrap();
    assert_eq!(of(&second), (parent, Some(second.clone()), "13.1".into()));
}
