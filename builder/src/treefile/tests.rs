use super::*;
use anyhow::anyhow;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Files in a new folder; loads the first.
fn load_files(files: &[(&str, &str)]) -> Result<Treefile> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let result = load(&dir.path().join(files[0].0), "x86_64");
    let shown = format!("{}/", dir.path().display());
    result.map_err(|e| anyhow!("{}", format!("{e:#}").replace(&shown, "")))
}

fn check_error(files: &[(&str, &str)], expected: &str) {
    let error = load_files(files).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn includes_come_first_and_scalars_of_the_includer_win() {
    let node = "ref: edge/${releasever}/${basearch}/node\ninclude: [base.yaml, more.json]\npackages: [b]\n\
                units: [n.service]\nedge:\n  sysctls: {a: 2}\n  kernel-min-version: 5.4\n";
    let base = "ref: base\npackages: [a b]\npackages-x86_64: [x]\npackages-aarch64: [y]\n\
                units: [b.service]\ndefault-target: multi-user.target\nedge:\n  sysctls: {a: 1, c: 3}\n";
    let more = "{\"units\": [\"m.service\", \"b.service\"]}";
    let tree = load_files(&[
        ("node.yaml", node),
        ("base.yaml", base),
        ("more.json", more),
    ])
    .unwrap();
    assert_eq!(tree.reference.as_str(), "edge/13/x86_64/node");
    assert_eq!(
        tree.packages,
        BTreeSet::from(["a", "b", "x"].map(String::from))
    );
    // As in rpm-ostree, what a later file of a list brings comes before an earlier one's.
    assert_eq!(tree.units, ["m.service", "b.service", "n.service"]);
    assert_eq!(tree.default_target.as_deref(), Some("multi-user.target"));
    assert_eq!(
        tree.sysctls,
        BTreeMap::from([("a", "2"), ("c", "3")].map(|(k, v)| (k.into(), v.into())))
    );
    assert_eq!(tree.kernel_min_version.to_string(), "5.4.0");
    let names: Vec<_> = tree.suites.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["trixie", "trixie-updates", "trixie-security"]);
}

#[test]
fn errors_name_file_line_and_key() {
    check_error(
        &[("a.yaml", "ref: x\npakages: [y]\n")],
        "a.yaml:2: unknown key 'pakages' (did you mean 'packages'?)",
    );
    check_error(
        &[
            ("a.yaml", "include: b.yaml\n"),
            ("b.yaml", "\nunit: [x.service]\n"),
        ],
        "b.yaml:2: unknown key 'unit' (did you mean 'units'?)",
    );
    check_error(
        &[("a.json", "{\n \"ref\": x\n}")],
        "a.json:2: expected value at line 2 column 9",
    );
    check_error(
        &[("a.yaml", "ref: x\nadd-files:\n  - [f, usr/f]\n")],
        "a.yaml:3: file f: No such file or directory (os error 2)",
    );
    check_error(
        &[("a.yaml", "packages: [y]\n")],
        "a.yaml: key 'ref' is missing: give the name of the branch, edge/13/${basearch}/node",
    );
    check_error(
        &[("a.yaml", "ref: x\n")],
        "a.yaml: key 'packages' is missing or empty",
    );
    check_error(
        &[("a.yaml", "ref: x/${stream}\npackages: [y]\n")],
        "a.yaml:1: ref: unknown variable in 'x/${stream}' (known: ${basearch}, ${releasever})",
    );
    check_error(
        &[("a.txt", "")],
        "treefile a.txt must end in .yaml, .yml or .json",
    );
}

#[test]
fn loops_duplicates_and_absent_files_are_refused() {
    check_error(
        &[
            ("a.yaml", "include: b.yaml\n"),
            ("b.yaml", "include: a.yaml\n"),
        ],
        "b.yaml:1: include: a.yaml is included already",
    );
    check_error(
        &[("a.yaml", "include:\n- b.yaml\n- b.yaml\n"), ("b.yaml", "")],
        "a.yaml:3: include: b.yaml is included already",
    );
    check_error(
        &[("a.yaml", "ref: x\ninclude: none.yaml\n")],
        "a.yaml:2: include: opening treefile none.yaml: No such file or directory (os error 2)",
    );
    let names: Vec<String> = (0..60).map(|i| format!("{i}.yaml")).collect();
    let texts: Vec<String> = (0..60)
        .map(|i| format!("include: {}.yaml\n", i + 1))
        .collect();
    let files: Vec<_> = names
        .iter()
        .zip(&texts)
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    check_error(
        &files,
        "50.yaml:1: include: 51.yaml is more than 50 files deep",
    );
}

#[test]
fn what_cannot_be_done_says_why() {
    let table = [
        (
            "selinux: true",
            "'selinux' cannot be done here: no tree is labelled here; Debian's packages bring no policy that covers a whole host (only 'false' is possible)",
        ),
        (
            "check-passwd: {type: file, filename: none}",
            "file none: No such file or directory (os error 2)",
        ),
        (
            "rpmdb: sqlite",
            "'rpmdb' cannot be done here: it is about trees of RPMs, and this one is of Debian's packages: its 'repos' name no .repo file",
        ),
        ("basearch: s390x", "basearch is x86_64, by the board"),
        (
            "units: [sshd]",
            "'sshd' is not a unit: write 'sshd.service'",
        ),
        (
            "default-target: multi-user",
            "'multi-user' is not a target: write 'multi-user.target'",
        ),
        (
            "remove-files: [../etc]",
            "'../etc' is not a path inside the tree",
        ),
        ("remove-files: [/]", "'/' is not a path inside the tree"),
        (
            "repos: [a/b]",
            "repository 'a/b' must be the name of a file beside the treefile, without '.sources', or of a section of a .repo file there",
        ),
        (
            "add-files: [[a.yaml, /var/x]]",
            "add-files: /var/x is no part of a release: it must be in /usr (but not /usr/local) or /etc",
        ),
        (
            "remove-from-packages: [[]]",
            "remove-from-packages takes lists: [package, regular expression, …]",
        ),
        (
            "remove-from-packages: [[cpio, '(']]",
            "'(' is not a regular expression",
        ),
        (
            "add-files: [[a.yaml, /usr/local/x]]",
            "add-files: /usr/local/x is no part of a release: it must be in /usr (but not /usr/local) or /etc",
        ),
        (
            "automatic-version-suffix: '--'",
            "automatic-version-suffix is one ASCII character, not '--'",
        ),
        (
            "add-commit-metadata: {version: '1'}",
            "add-commit-metadata: 'version' is filled in by edge-build",
        ),
        ("packages-x86_64: ['a;b']", "'a;b' is not a package name"),
        (
            "packages-x86_64: [\"'a >= 1'\"]",
            "'a >= 1' asks for a range of versions: apt takes one, 'a=VERSION'",
        ),
        (
            "install-langs: ['*']",
            "'*' is not a language: write 'de' or 'pt_BR'",
        ),
        (
            "edge: {kernel-options: [CPUSETS]}",
            "'CPUSETS' is not a kernel option: write CONFIG_X, or CONFIG_X=y",
        ),
        (
            "edge: {kernel-modules: [fs/nls]}",
            "'fs/nls' is not a module or a folder: write 'ext4', or 'fs/nls/'",
        ),
        (
            "edge: {suites: [{suit: x}]}",
            "unknown key 'suit' (did you mean 'suite'?)",
        ),
        (
            "edge: {suites: [{components: main}]}",
            "a suite needs the key 'suite'",
        ),
    ];
    for (line, expected) in table {
        let text = format!("ref: x\npackages: [y]\n{line}\n");
        check_error(&[("a.yaml", &text)], &format!("a.yaml:3: {expected}"));
    }
    for (line, expected) in [
        (
            "initramfs-args: [-x]",
            "initramfs-args are for dracut: set 'initramfs: dracut' under 'edge'",
        ),
        (
            "exclude-packages: [y]",
            "'y' is in packages and in exclude-packages",
        ),
    ] {
        let text = format!("ref: x\npackages: [y]\n{line}\n");
        check_error(&[("a.yaml", &text)], &format!("a.yaml: {expected}"));
    }
}

#[test]
fn every_key_that_can_be_done_arrives() {
    let text = "\
ref: edge/${releasever}/${stream}/y
releasever: 13.10
variables: {stream: next, level: 3}
metadata: {title: 'of ${stream}'}
packages: [a b, c]
exclude-packages: [python3]
recommends: true
documentation: true
install-langs: [de]
repos: [k8s]
units: [a.service]
default_target: multi-user.target
postprocess: ['#!/bin/sh']
postprocess-script: post.sh
remove-files: [/etc/x]
remove-from-packages: [[cpio, '/usr/share/.*', ^/usr/bin/]]
add-files: [[f, /usr/f], [f, lib/f]]
readonly-executables: true
etc-group-members: [sudo]
mutate-os-release: '${releasever}'
automatic-version-prefix: ${releasever}.<date:%Y%m%d>
automatic-version-suffix: '-'
add-commit-metadata: {production: false, level: 3, stream: '${stream}'}
initramfs-args: ['--add', lvm]
edition: 2024
opt-usrlocal: var
selinux: false
edge:
  suites: [{suite: trixie, components: main, mirror: 'http://mirror.example/debian/', signed-by: k.gpg}]
  sysctls: {vm.max_map_count: 262144}
  kernel-arguments: [quiet]
  kernel-options: [CONFIG_CPUSETS=y]
  kernel-min-version: 5.10
  initramfs: dracut
  kernel-modules: [ext4 fs/nls/, veth]
  modules-load: [overlay]
  health-units: [ssh.service]
";
    let beside = ["k8s.sources", "post.sh", "f", "k.gpg"].map(|name| (name, ""));
    let files: Vec<_> = [("a.yaml", text)].into_iter().chain(beside).collect();
    let tree = load_files(&files).unwrap();
    assert_eq!(tree.reference.as_str(), "edge/13.10/next/y");
    assert_eq!(tree.releasever, "13.10");
    assert_eq!(
        tree.packages,
        BTreeSet::from(["a", "b", "c"].map(String::from))
    );
    assert_eq!(
        (
            tree.recommends,
            tree.documentation,
            tree.readonly_executables
        ),
        (true, true, true)
    );
    assert_eq!(
        (tree.exclude_packages, tree.install_langs),
        (vec!["python3".into()], vec!["de".into()])
    );
    assert!(tree.repos[0].ends_with("k8s.sources") && tree.postprocess_script.is_some());
    assert_eq!(tree.remove_files, [PathBuf::from("etc/x")]);
    let removal = &tree.remove_from_packages[0];
    assert_eq!(
        (removal.package.as_str(), removal.patterns.len()),
        ("cpio", 2)
    );
    assert_eq!(tree.add_files[1].target, PathBuf::from("lib/f"));
    assert_eq!(tree.mutate_os_release.as_deref(), Some("13.10"));
    assert_eq!(
        tree.automatic_version_prefix.as_deref(),
        Some("13.10.<date:%Y%m%d>")
    );
    assert_eq!(tree.automatic_version_suffix, '-');
    let metadata = BTreeMap::from([
        ("production".to_owned(), Metadata::Truth(false)),
        ("level".to_owned(), Metadata::Number(3)),
        ("stream".to_owned(), Metadata::Text("next".to_owned())),
    ]);
    assert_eq!(tree.commit_metadata, metadata);
    assert_eq!(
        tree.suites[0].mirror.as_deref(),
        Some("http://mirror.example/debian")
    );
    assert!(tree.suites[0].signed_by.is_some());
    assert_eq!(tree.sysctls["vm.max_map_count"], "262144");
    assert_eq!(tree.kernel_modules, ["ext4", "fs/nls/", "veth"]);
    assert_eq!(tree.kernel_min_version.to_string(), "5.10.0");
    assert_eq!(tree.initramfs, InitramfsMaker::Dracut);
    assert_eq!(tree.initramfs_arguments, ["--add", "lvm"]);
}

/// A table of treefiles and what each flattens to.
#[test]
fn treefiles_flatten() {
    let table: &[(&[(&str, &str)], &str)] = &[
        // lists: the last included first; packages sorted; scalars of the includer
        (
            &[
                (
                    "m.yaml",
                    "include: [k.yaml, b.yaml]\npostprocess: [foo]\nref: m\npackages: [z a]\n",
                ),
                ("k.yaml", "postprocess: [bar]\nref: k\npackages: [k]\n"),
                ("b.yaml", "postprocess: [baz]\nreleasever: 40\n"),
            ],
            r#"{"packages":["a","k","z"],"postprocess":["baz","bar","foo"],"ref":"m","releasever":40}"#,
        ),
        // include, then arch-include, then what a condition asks for; inline before files
        (
            &[
                (
                    "m.yaml",
                    "variables: {dev: true, stream: \"next\"}\nreleasever: 35\nunits: [m]\n\
                     arch-include: {x86_64: a.yaml, aarch64: none.yaml}\ninclude: i.yaml\n\
                     conditional-include:\n\
                     - if: [dev == true, releasever >= 35]\n  include: c.yaml\n\
                     - if: stream != \"next\"\n  include: none.yaml\n\
                     - if: basearch == \"x86_64\"\n  include: {packages: [inline], units: [n]}\n",
                ),
                ("i.yaml", "units: [i]\n"),
                ("a.yaml", "units: [a]\n"),
                ("c.yaml", "units: [c]\n"),
            ],
            r#"{"packages":["inline"],"releasever":35,"units":["c","a","i","n","m"],"variables":{"dev":true,"stream":"next"}}"#,
        ),
        // variables: an included file sees those of its includer, which win
        (
            &[
                (
                    "m.yaml",
                    "variables: {s: \"x\"}\nref: a/${s}/${basearch}\ninclude: i.yaml\n",
                ),
                (
                    "i.yaml",
                    "variables: {s: \"y\"}\nconditional-include:\n- if: s == \"x\"\n  include: {units: [seen]}\n",
                ),
            ],
            r#"{"ref":"a/x/x86_64","units":["seen"],"variables":{"s":"x"}}"#,
        ),
        // no substitution in packages and scripts; text in metadata, other values stay
        (
            &[(
                "m.yaml",
                "variables: {v: 1}\npackages: [a]\npostprocess: ['echo ${v}']\n\
                 metadata: {t: '${v}', n: 2, l: [a]}\nadd-commit-metadata: {p: false, t: 'x${v}'}\n",
            )],
            r#"{"add-commit-metadata":{"p":false,"t":"x1"},"metadata":{"l":["a"],"n":2,"t":"1"},"packages":["a"],"postprocess":["echo ${v}"],"variables":{"v":1}}"#,
        ),
        // JSON with a key of another program; older forms; what is for RPMs is flattened all the same
        (
            &[(
                "m.json",
                r#"{"x-other": 1, "gpg_key": "k", "repo-packages": [{"repo": "r", "packages": ["p"]}],
                    "remove-from-packages": [["cpio", "/usr/share/.*"]], "selinux": true,
                    "check-passwd": {"type": "data", "entries": {"bin": 1, "adm": [3, 4]}}}"#,
            )],
            r#"{"check-passwd":{"entries":{"adm":[3,4],"bin":1},"type":"data"},"gpg-key":"k","remove-from-packages":[["cpio","/usr/share/.*"]],"repo-packages":[{"packages":["p"],"repo":"r"}],"selinux":true}"#,
        ),
        // ours, merged as the others are
        (
            &[
                (
                    "m.yaml",
                    "include: i.yaml\nedge: {sysctls: {a: 2}, kernel-modules: [x y]}\n",
                ),
                (
                    "i.yaml",
                    "edge: {sysctls: {a: 1, b: 1}, kernel-modules: [fs/]}\n",
                ),
            ],
            r#"{"edge":{"kernel-modules":["fs/","x","y"],"sysctls":{"a":2,"b":1}}}"#,
        ),
    ];
    for (files, expected) in table {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in *files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let flat = flatten(&dir.path().join(files[0].0), "x86_64");
        let flat = flat.unwrap_or_else(|e| panic!("{expected}: {e:#}"));
        assert_eq!(flat.to_string(), *expected);
    }
}

#[test]
fn programs_of_finalize_d_are_found_beside_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    put(
        "a.yaml",
        "ref: x\npackages: [y]\ninclude: sub/b.yaml\n",
        0o644,
    );
    put("sub/b.yaml", "", 0o644);
    put("finalize.d/20-a", "#!/bin/sh\n", 0o755);
    put("finalize.d/README", "", 0o644);
    put("sub/finalize.d/10-b", "#!/bin/sh\n", 0o755);
    let tree = load(&dir.path().join("a.yaml"), "x86_64").unwrap();
    let expected = ["sub/finalize.d/10-b", "finalize.d/20-a"];
    assert_eq!(tree.finalize, expected.map(|name| dir.path().join(name)));
}

#[test]
fn conditions_that_ask_wrongly_are_located() {
    check_error(
        &[(
            "a.yaml",
            "conditional-include:\n- if:\n  - releasever == 13\n  - dev == true\n  include: x.yaml\n",
        )],
        "a.yaml:3: there is no variable 'releasever'",
    );
    check_error(
        &[(
            "a.yaml",
            "releasever: 13\nconditional-include:\n- if: releasever == \"13\"\n  include: x.yaml\n",
        )],
        "a.yaml:3: variable 'releasever' is '13', which is of another type than '13'",
    );
}

#[test]
fn every_key_is_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/treefile.md");
    let page = fs::read_to_string(page).unwrap();
    for key in schema::all() {
        for name in [Some(key.name), key.alias].into_iter().flatten() {
            let name = name.strip_prefix("edge.").unwrap_or(name);
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn the_projects_own_treefiles_load() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../treefiles");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("common.yaml") {
            flatten(&path, "x86_64").unwrap();
        } else if path.extension().is_some_and(|e| e == "yaml") {
            load(&path, "x86_64").unwrap();
            count += 1;
        }
    }
    assert!(count >= 2);
}

const REPO: &str = "[one]\nbaseurl=http://mirror.example/1\ngpgcheck=1\ngpgkey=k\n[two]\nbaseurl=http://mirror.example/2\n\
                    gpgcheck=1\ngpgkey=k\n[loose]\nbaseurl=http://mirror.example/3\n";

#[test]
fn a_tree_of_rpms() {
    let text = "ref: a\nreleasever: 42\nrepos: [one, two]\npackages: [\"'kernel >= 6'\", '@core']\n\
                repo-packages: [{repo: two, packages: [glibc glibc-common]}]\nrepovars: {stream: stable}\n\
                rpmdb: sqlite\nrpmdb-normalize: true\nlockfile-repos: [two]\n";
    let tree = load_files(&[("a.yaml", text), ("x.repo", REPO)]).unwrap();
    let rpms = tree.rpms.unwrap();
    let ids: Vec<&str> = rpms.repos.iter().map(|repo| repo.id.as_str()).collect();
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(rpms.packages_of["two"], ["glibc", "glibc-common"]);
    assert_eq!(rpms.vars["stream"], "stable");
    assert!(tree.packages.contains("kernel >= 6") && tree.packages.contains("@core"));
}

#[test]
fn a_tree_of_rpms_that_is_none_says_why() {
    let table = [
        (
            "repos: [three]",
            "a.yaml:2: repository 'three': there is no three.sources and no .repo file with [three]",
        ),
        (
            "repos: [loose]",
            "x.repo: repository 'loose': packages must be signed: set gpgcheck=1 and gpgkey",
        ),
        (
            "repos: [deb, one]",
            "a.yaml:2: a tree is made of RPMs or of Debian's packages, not of both",
        ),
        (
            "repos: [one]\nedge: {suites: [{suite: trixie}]}",
            "a.yaml:3: 'edge.suites' are Debian's",
        ),
        (
            "repos: [one]\nrepo-packages: [{repo: two, packages: [a]}]",
            "a.yaml:3: repo-packages: 'two' is not in 'repos'",
        ),
        (
            "repos: [one]\nrpmdb: bdb",
            "a.yaml:3: rpmdb is one of target, host, sqlite, not 'bdb'",
        ),
        (
            "repos: [one]\nselinux: true",
            "'selinux' cannot be done here",
        ),
        (
            "repos: [one]\npackages: [\"'--setopt=x'\"]",
            "a.yaml:3: '--setopt=x' is not a package name",
        ),
        ("repos: [one]\npackages: [a]", "key 'releasever' is missing"),
    ];
    for (text, expected) in table {
        let text = format!("ref: a\n{text}\n");
        let files = [
            ("a.yaml", text.as_str()),
            ("x.repo", REPO),
            ("deb.sources", ""),
        ];
        let error = format!("{:#}", load_files(&files).unwrap_err());
        assert!(error.contains(expected), "{text}: {error}");
    }
}
