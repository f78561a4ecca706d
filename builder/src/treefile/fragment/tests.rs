use super::*;

fn check_error(text: &str, expected: &str) {
    let error = parse(text, Path::new("d")).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
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
            "1: unknown architecture 'x86_46' in key 'packages-x86_46' (known: x86_64, aarch64, armv7hl, armhfp, i386, ppc64le, riscv64, s390x)",
        ),
        (
            "edge:\n  sysctl: {}\n",
            "2: unknown key 'sysctl' (did you mean 'sysctls'?)",
        ),
        (
            "edge:\n  suites:\n    - suit: x\n",
            "3: unknown key 'suit' (did you mean 'suite'?)",
        ),
        (
            "edge:\n  suites:\n    - components: [main]\n",
            "3: a suite needs the key 'suite'",
        ),
        ("packages: zlib\n", "1: a list is expected here"),
        (
            "packages:\n  - ok\n  - 'a;b'\n",
            "3: 'a;b' is not a package name",
        ),
        (
            "units:\n  - sshd\n",
            "2: 'sshd' is not a unit: write 'sshd.service'",
        ),
        (
            "default-target: multi-user\n",
            "1: 'multi-user' is not a target: write 'multi-user.target'",
        ),
        (
            "remove-files:\n  - ../etc\n",
            "2: '../etc' is not a path inside the tree",
        ),
        (
            "remove-files:\n  - /\n",
            "2: '/' is not a path inside the tree",
        ),
        (
            "add-files:\n  - [a]\n",
            "2: add-files takes pairs: [source, target]",
        ),
        (
            "repos: [a/b]\n",
            "1: repository 'a/b' must be the name of a file beside the treefile, without '.sources'",
        ),
        (
            "edge:\n  kernel-options: [CPUSETS]\n",
            "2: 'CPUSETS' is not a kernel option: write CONFIG_X, or CONFIG_X=y",
        ),
        (
            "edge:\n  kernel-modules: [fs/nls]\n",
            "2: 'fs/nls' is not a module or a folder: write 'ext4', or 'fs/nls/'",
        ),
        ("ref: [a]\n", "1: a text is expected here"),
        ("- a\n", "1: keys and values are expected here"),
    ];
    for (text, expected) in table {
        check_error(text, expected);
    }
}

#[test]
fn every_key_arrives() {
    let text = "\
ref: edge/13/x/y
releasever: 13.10
packages: [a b, c]
packages-x86_64: [d]
repos: [k8s]
include: base.yaml
units: [a.service]
default-target: multi-user.target
postprocess: ['#!/bin/sh']
postprocess-script: post.sh
remove-files: [/etc/x]
add-files: [[f, /usr/f]]
etc-group-members: [sudo]
mutate-os-release: '13'
automatic-version-prefix: 13.<date:%Y%m%d>
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
    let f = parse(text, Path::new("d")).unwrap();
    assert_eq!(f.releasever.as_deref(), Some("13.10"));
    assert_eq!(
        f.packages,
        BTreeSet::from(["a", "b", "c"].map(String::from))
    );
    assert_eq!(f.arch_packages["x86_64"], BTreeSet::from(["d".to_owned()]));
    assert_eq!(
        f.repos,
        [At {
            line: 5,
            value: "d/k8s.sources".into()
        }]
    );
    assert_eq!(
        f.include,
        [At {
            line: 6,
            value: "d/base.yaml".into()
        }]
    );
    assert_eq!(f.remove_files, [PathBuf::from("etc/x")]);
    assert_eq!(
        f.add_files[0].value,
        AddFile {
            source: "d/f".into(),
            target: "usr/f".into()
        }
    );
    let suite = &f.edge.suites[0].value;
    assert_eq!(
        suite.mirror.as_deref(),
        Some("http://mirror.example/debian")
    );
    assert_eq!(
        (suite.components.len(), suite.signed_by.as_deref()),
        (1, Some(Path::new("d/k.gpg")))
    );
    assert_eq!(f.edge.sysctls["vm.max_map_count"], "262144");
    assert_eq!(f.edge.kernel_modules, ["ext4", "fs/nls/", "veth"]);
    assert_eq!(f.edge.kernel_min_version.unwrap().to_string(), "5.10.0");
    assert_eq!(f.edge.initramfs, Some(InitramfsMaker::Dracut));
}

#[test]
fn every_known_key_is_parsed() {
    for key in keys::TOP {
        let error = parse(&format!("{key}: \n"), Path::new("d")).err();
        assert!(
            error.is_none_or(|e| !e.message.contains("unknown")),
            "{key}"
        );
    }
}
