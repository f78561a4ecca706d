//! `edge-build kickstart` as pipelines call it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edge_build::key;
use edge_build::release::{self, Terms};
use edge_ota::channel::Release;
use serde_json::Value;

const NOW: u64 = 1_790_000_000;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn edge_build(args: &str, dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edge-build"))
        .arg("--boards")
        .arg(project().join("boards"))
        .arg("kickstart")
        .args(args.split(' '))
        .current_dir(dir)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned()
}

fn publish(dir: &Path) {
    let keys = dir.join("keys");
    key::generate(&keys, &mut key::system_random).unwrap();
    let signer = key::load_secret(&key::secret_path(&keys, "channel")).unwrap();
    let offered = Release {
        board: "x86_64".parse().unwrap(),
        channel: "stable".parse().unwrap(),
        version: "13.20261122.0".to_owned(),
        commit: "c".repeat(64).parse().unwrap(),
        r#ref: "edge/13/x86_64/node".parse().unwrap(),
    };
    release::publish(
        &dir.join("site"),
        &keys,
        &[signer],
        offered,
        &Terms::default(),
        NOW,
    )
    .unwrap();
    fs::create_dir_all(dir.join("site/repo")).unwrap();
}

#[test]
fn anaconda_is_told_what_the_channel_offers() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path());
    let made = "generate --for rhel9 --url http://updates.example --board x86_64 --disk sda --repo site/repo --keys keys";
    let output = edge_build(made, dir.path());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(text.contains(" --ref=edge/13/x86_64/node "), "{text}");
    let output = edge_build(&format!("{made} --channel canary"), dir.path());
    assert_eq!(
        said(&output),
        "edge-build: channel canary offers nothing for x86_64"
    );
}

#[test]
fn what_is_made_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("post"), "#!/bin/bash\necho done\n").unwrap();
    let made = "generate --for edge --url http://updates.example --board x86_64 --kickstart-post post --out n.ks";
    let output = edge_build(&format!("{made} --json"), dir.path());
    assert!(output.status.success(), "{}", said(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["for"], &summary["artefact"]["path"]),
        (&"edge".into(), &"n.ks".into())
    );

    let output = edge_build("check n.ks --json", dir.path());
    assert!(output.status.success(), "{}", said(&output));
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kickstart = &checked[0]["kickstart"];
    assert_eq!(kickstart["source"]["channel"], "stable");
    assert_eq!(kickstart["scripts"]["post"][0]["interpreter"], "/bin/bash");
}

#[test]
fn mistakes_of_all_files_are_named_and_the_good_ones_shown() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("good.ks"),
        "reboot\n%include http://h.example/part\n",
    )
    .unwrap();
    fs::write(dir.path().join("bad.ks"), "lang\n\nvnc\n").unwrap();
    let output = edge_build("check bad.ks good.ks", dir.path());
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.starts_with("good.ks: good\n"), "{shown}");
    assert!(
        shown.ends_with("http://h.example/part: it is not here\n"),
        "{shown}"
    );
    assert_eq!(
        said(&output),
        "bad.ks:1: lang: a language such as en_US.UTF-8 is missing\n\
         bad.ks:3: vnc: the installer lets nobody in: it reports on the console and by HTTP\n\
         edge-build: 1 of 2 kickstart files are not good"
    );
}
