use super::*;

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
    assert_eq!(tree.units, ["b.service", "m.service", "n.service"]);
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
        "a.yaml: key 'ref': unknown variable in 'x/${stream}' (known: ${basearch}, ${releasever})",
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
        "b.yaml:1: include: treefile a.yaml includes itself",
    );
    check_error(
        &[("a.yaml", "include:\n- b.yaml\n- b.yaml\n"), ("b.yaml", "")],
        "a.yaml:3: include: treefile b.yaml is included twice",
    );
    check_error(
        &[("a.yaml", "ref: x\ninclude: none.yaml\n")],
        "a.yaml:2: include: opening treefile none.yaml: No such file or directory (os error 2)",
    );
    let names: Vec<String> = (0..20).map(|i| format!("{i}.yaml")).collect();
    let texts: Vec<String> = (0..20)
        .map(|i| format!("include: {}.yaml\n", i + 1))
        .collect();
    let files: Vec<_> = names
        .iter()
        .zip(&texts)
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    check_error(
        &files,
        "15.yaml:1: include: treefile 16.yaml is included more than 16 files deep",
    );
}

#[test]
fn the_projects_own_treefiles_load() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../treefiles");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            load(&path, "x86_64").unwrap();
            count += 1;
        }
    }
    assert!(count >= 2);
}
