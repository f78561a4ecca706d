//! What one commit changes of another, on real commits.

// clippy lets test functions unwrap, not what they call.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;

use edge_build::diff;
use edge_build::repo::{Description, Repo};
use edge_build::tree::rooted;
use edge_ota::cmd::Cmd;

mod common;

use common::{RELEASE, description, lay_out};

const STATUS: &str = "usr/lib/sysimage/dpkg/status";
const LIST: &str = "usr/lib/sysimage/dpkg/info/tool.list";

#[test]
fn a_reviewer_sees_what_changes() {
    let (dir, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = dir.path().join("root");
    let put = |path: &str, text: &str| rooted::put(&root.join(path), text).unwrap();
    let installed = |version: &str| {
        format!("Package: tool\nStatus: install ok installed\nVersion: {version}\n")
    };
    lay_out(&root, roots.path());
    put(STATUS, &installed("1.0"));
    put(
        LIST,
        "/usr\n/usr/bin/tool\n/usr/share/doc/tool/changelog.Debian.gz\n",
    );
    put("usr/bin/tool", "one");
    put("usr/bin/gone", "x");
    put("usr/bin/su", "x");
    put(
        "usr/etc/passwd",
        "root:x:0:0::/:/bin/sh\nold:x:100:100::/:/bin/sh\n",
    );
    put("usr/lib/sysctl.d/60-edge.conf", "vm.max_map_count = 1\n");

    let repo = Repo::open_or_create(&dir.path().join("repo")).unwrap();
    let name = "edge/13/x86_64/node".parse().unwrap();
    let commit = |version: &str| {
        let description = Description {
            version: version.to_owned(),
            ..description()
        };
        repo.commit(&root, &name, &description, &BTreeMap::new())
            .unwrap()
    };
    let first = commit("13.1");
    put(STATUS, &installed("2.0"));
    put("usr/bin/tool", "three");
    let changelog = "tool (2.0) x; y\n\n  * less <rights>\n\ntool (1.0) x; y\n\n  * first\n";
    let packed = Cmd::new("gzip")
        .output_with_input(changelog.into())
        .unwrap();
    put("usr/share/doc/tool/changelog.Debian.gz", "");
    fs::write(root.join("usr/share/doc/tool/changelog.Debian.gz"), packed).unwrap();
    rooted::remove(&root.join("usr/bin/gone")).unwrap();
    rooted::set_mode(&root.join("usr/bin/su"), 0o4755).unwrap();
    put("usr/bin/<new>", "xx");
    put(
        "usr/etc/passwd",
        "root:x:0:0::/:/bin/sh\nnew:x:101:101::/:/bin/sh\n",
    );
    put("usr/lib/sysctl.d/60-edge.conf", "vm.max_map_count = 2\n");
    put(
        &format!("usr/lib/modules/{RELEASE}/config"),
        "CONFIG_CPUSETS=y\nCONFIG_BPF=y\n",
    );
    rooted::link(
        &root.join("usr/etc/systemd/system/multi-user.target.wants/b.service"),
        "/x",
    )
    .unwrap();
    let second = commit("13.2");

    let diff = diff::between(&repo, &first, &second).unwrap();
    let text = diff::text(&diff, 40);
    let expected = format!(
        "version  13.1 → 13.2\ncommit   {} → {}\nkernel   {RELEASE}\nsize     0.0 MB\n\n\
         packages:\n\x20   tool 1.0 → 2.0\n\n\
         kernel options:\n  + CONFIG_BPF y\n\n\
         sysctls:\n\x20   vm.max_map_count 1 → 2\n\n\
         enabled units:\n  + b.service multi-user.target\n\n\
         users:\n  + new 101\n  - old 100\n\n\
         changelog of tool:\n  tool (2.0) x; y\n\n    * less <rights>\n\n\
         files: 10 differ, 8 of them of no package that changed\n\
         \x20 + /usr/bin/<new> (+2 B)\n\
         \x20 - /usr/bin/gone (-1 B)\n\
         \x20   /usr/bin/su (+0 B, 0644 0:0 → 4755 0:0)\n\
         \x20   /usr/etc/passwd (+0 B)\n\
         \x20 + /usr/etc/systemd/system/multi-user.target.wants/b.service (+0 B)\n\
         \x20   /usr/lib/modules/{RELEASE}/config (+13 B)\n\
         \x20   /usr/lib/sysctl.d/60-edge.conf (+0 B)\n\
         \x20   /usr/lib/sysimage/dpkg/status (+0 B)\n",
        first.short(),
        second.short()
    );
    assert_eq!(text, expected);
    let short = diff::text(&diff, 2);
    assert!(
        short.ends_with("/usr/bin/gone (-1 B)\n    (6 more)\n"),
        "{short}"
    );

    let page = diff::page(&diff);
    assert!(page.contains("<td>/usr/bin/&lt;new&gt;</td>"), "{page}");
    assert!(
        page.contains("class=\"rights\"") && page.contains("<td>tool</td><td>1.0</td><td>2.0</td>")
    );
    assert!(page.contains("* less &lt;rights&gt;</pre>"), "{page}");
    let json = serde_json::to_value(&diff).unwrap();
    assert_eq!(json["packages"]["changed"]["tool"][1], "2.0");

    let none = diff::text(&diff::between(&repo, &second, &second).unwrap(), 40);
    assert!(
        none.ends_with("files: 0 differ, 0 of them of no package that changed\n"),
        "{none}"
    );
}
