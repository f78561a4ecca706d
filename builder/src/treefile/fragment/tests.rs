use super::*;

fn values(text: &str) -> Values {
    let parsed = parse(text, 0, "x86_64", UnknownKeys::Refused);
    parsed.unwrap_or_else(|e| panic!("{text}: {e}")).values
}

fn check_error(text: &str, expected: &str) {
    let error = parse(text, 0, "x86_64", UnknownKeys::Refused).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

fn names(values: &Values, key: &str) -> Vec<String> {
    let items = values[key].items().unwrap().iter();
    items.map(|item| item.text().unwrap().to_owned()).collect()
}

#[test]
fn errors_are_one_line_with_the_remedy() {
    let table = [
        (
            "ref: x\npakages: [a]\n",
            "2: unknown key 'pakages' (did you mean 'packages'?)",
        ),
        (
            "packages-x86_46: [a]\n",
            "1: unknown architecture 'x86_46' in key 'packages-x86_46' (known: x86_64, aarch64, armv7hl, armhfp, i386, i686, ppc64le, riscv64, s390x)",
        ),
        (
            "edge:\n  sysctl: {}\n",
            "2: unknown key 'sysctl' (did you mean 'sysctls'?)",
        ),
        (
            "edge.sysctls: {}\n",
            "1: unknown key 'edge.sysctls' (known: ",
        ),
        ("packages: zlib\n", "1: a list is expected here"),
        (
            "packages: [\"'a >= 1\"]\n",
            "1: a quote is missing in 'a >= 1",
        ),
        ("packages-aarch64: x\n", "1: a list is expected here"),
        (
            "add-files:\n  - [a]\n",
            "2: add-files takes pairs: [source, target]",
        ),
        ("ref: [a]\n", "1: a text is expected here"),
        ("- a\n", "1: keys and values are expected here"),
        ("selinux: yes\n", "1: selinux is true or false"),
        ("selinux: 'true'\n", "1: selinux is true or false"),
        (
            "selinux-label-version: x\n",
            "1: selinux-label-version is a number",
        ),
        (
            "boot-location: old\n",
            "1: boot-location is one of new, modules, kernel-install, not 'old'",
        ),
        (
            "default-target: a.target\ndefault_target: b.target\n",
            "2: 'default-target' and 'default_target' are one key: write one of them",
        ),
        (
            "variables: {basearch: x}\n",
            "1: the variable 'basearch' is filled in by edge-build",
        ),
        (
            "conditional-include:\n  - include: a.yaml\n",
            "2: a conditional include needs 'if' and 'include'",
        ),
        (
            "conditional-include:\n  - if: x\n    include: a.yaml\n",
            "2: 'x' is not a condition: write VARIABLE OPERATOR VALUE, such as releasever >= 13 or stream == \"stable\"",
        ),
        (
            "conditional-include:\n  - if: a == 1\n    include: {add-files: [[a, /usr/a]]}\n",
            "3: 'add-files' names files: it must stand in a file of its own",
        ),
        (
            "arch-include: {x86: a.yaml}\n",
            "1: unknown architecture 'x86' in key 'x86' (known: x86_64, aarch64, armv7hl, armhfp, i386, i686, ppc64le, riscv64, s390x)",
        ),
    ];
    for (text, expected) in table {
        let error = parse(text, 0, "x86_64", UnknownKeys::Refused).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    check_error("ref: [a]\n", "1: a text is expected here");
}

#[test]
fn json_may_hold_keys_of_others() {
    let text = "{\"ref\": \"x\", \"of-others\": 1}";
    let parsed = parse(text, 0, "x86_64", UnknownKeys::Ignored).unwrap();
    assert_eq!(parsed.values.keys().collect::<Vec<_>>(), [&"ref"]);
    check_error(
        text,
        &format!("1: {}", schema::unknown("of-others", &schema::top_names())),
    );
}

#[test]
fn packages_are_one_set() {
    let found = values(
        "packages: [b a, \"'podman >= 4.1' c\", a]\nbootstrap_packages: [boot]\n\
         packages-x86_64: [x]\npackages-aarch64: [y]\n",
    );
    let expected = ["b", "a", "podman >= 4.1", "c", "boot", "x"];
    assert_eq!(names(&found, "packages"), expected);
}

#[test]
fn older_forms_are_the_newer_ones() {
    let found = values("default_target: a.target\nboot_location: modules\ngpg_key: k\n");
    let keys: Vec<_> = found.keys().copied().collect();
    assert_eq!(keys, ["boot-location", "default-target", "gpg-key"]);
}

#[test]
fn editions_and_containers_imply_values() {
    let found = values("edition: 2024\n");
    assert_eq!(found["tmp-is-dir"].text(), Ok("true"));
    assert_eq!(found["boot-location"].text(), Ok("modules"));
    assert!(!values("edition: 2014\n").contains_key("tmp-is-dir"));
    let found = values("edition: '2024'\ntmp-is-dir: false\n");
    assert_eq!(found["tmp-is-dir"].text(), Ok("false"));
    let found = values("container: true\nselinux: true\n");
    assert_eq!(found["selinux"].text(), Ok("false"));
}

#[test]
fn included_files_stand_in_their_order() {
    let text = "arch-include: {x86_64: [x.yaml], aarch64: y.yaml}\ninclude: [a.yaml, b.yaml]\n";
    let parsed = parse(text, 0, "x86_64", UnknownKeys::Refused).unwrap();
    let files: Vec<_> = parsed.includes.iter().map(|at| at.value.as_str()).collect();
    assert_eq!(files, ["a.yaml", "b.yaml", "x.yaml"]);
}

#[test]
fn single_values_of_the_includer_win_and_its_lists_come_last() {
    let mut over = values(
        "ref: over\npackages: [b]\nunits: [o.service]\nvariables: {a: 1, b: 2}\nedge: {sysctls: {x: 1}}\n",
    );
    let included = values(
        "ref: base\nselinux: true\npackages: [a b]\nunits: [i.service, o.service]\nvariables: {b: 3, c: 4}\n\
         edge: {sysctls: {x: 2, y: 3}}\nignore-removed-users: [u]\n",
    );
    merge(&mut over, included).unwrap();
    assert_eq!(over["ref"].text(), Ok("over"));
    assert_eq!(over["selinux"].text(), Ok("true"));
    assert_eq!(names(&over, "packages"), ["a", "b"]);
    assert_eq!(
        names(&over, "units"),
        ["i.service", "o.service", "o.service"]
    );
    let map = |key: &str| -> BTreeMap<String, String> {
        let entries = over[key].entries().unwrap().iter();
        let pair = |(k, v): &(At<String>, Node)| (k.value.clone(), v.text().unwrap().to_owned());
        entries.map(pair).collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    assert_eq!(
        map("variables"),
        pairs(&[("a", "1"), ("b", "2"), ("c", "4")])
    );
    assert_eq!(map("edge.sysctls"), pairs(&[("x", "1"), ("y", "3")]));
}

/// A value of the right shape for each key: none is forgotten by the reader.
#[test]
fn every_key_is_taken() {
    for key in schema::all() {
        let value = match key.shape {
            Shape::Text | Shape::Version => "x".to_owned(),
            Shape::Truth => "true".to_owned(),
            Shape::Number => "1".to_owned(),
            Shape::Choice(words) => format!("'{}'", words[0]),
            Shape::Object | Shape::Map => "{a: b}".to_owned(),
            Shape::Texts | Shape::Words | Shape::Set | Shape::Packages => "[a]".to_owned(),
            Shape::Pairs => "[[a, b]]".to_owned(),
            Shape::Lists => "[[a, b, c]]".to_owned(),
            Shape::Objects => "[{a: b}]".to_owned(),
            Shape::Include => continue,
        };
        let text = match key.name.split_once('.') {
            Some((space, name)) => format!("{space}: {{{name}: {value}}}\n"),
            None => format!("{}: {value}\n", key.name),
        };
        let stored = if key.shape == Shape::Packages {
            "packages"
        } else {
            key.name
        };
        assert!(values(&text).contains_key(stored), "{text}");
    }
}
