use std::fs;
use std::path::{Path, PathBuf};

use edge_ota::cmd::Cmd;
use edge_ota::kickstart::pre_scripts;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f op@site";

const READERS: [(Reader, &str); 5] = [
    (Reader::F40, "F40"),
    (Reader::F44, "F44"),
    (Reader::Rhel8, "RHEL8"),
    (Reader::Rhel9, "RHEL9"),
    (Reader::Rhel10, "RHEL10"),
];

struct Names {
    channel: ChannelName,
    board: BoardName,
    reference: RefName,
}

fn names() -> Names {
    Names {
        channel: "stable".parse().unwrap(),
        board: "x86_64".parse().unwrap(),
        reference: "edge/13/x86_64/node".parse().unwrap(),
    }
}

fn request(names: &Names, reader: Reader) -> Request<'_> {
    Request {
        reader,
        url: "http://updates.example/fleet",
        channel: &names.channel,
        board: &names.board,
        reference: (reader != Reader::Edge).then_some(&names.reference),
        disk: Some("sda"),
        hostname: None,
        ssh_keys: &[],
        post: None,
    }
}

/// What is wrong with each text for its version of pykickstart, by the same questions as those of our reader's tests.
fn pykickstart(questions: &[(String, &str)]) -> Vec<Value> {
    let exe = std::env::current_exe().unwrap();
    let mut places = exe
        .ancestors()
        .map(|dir| dir.join("pykickstart/bin/python"));
    let python = places
        .find(|path| path.exists())
        .expect("there is no pykickstart: run 'make pykickstart'");
    let oracle = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../updater/tests/kickstart/oracle.py"
    );
    let asked: Vec<Value> = questions
        .iter()
        .map(|(text, version)| json!({"read": text, "as": [version]}))
        .collect();
    let input = serde_json::to_vec(&asked).unwrap();
    let answers = Cmd::new(python)
        .arg(oracle)
        .output_with_input(input)
        .unwrap();
    let answers: Vec<Value> = serde_json::from_slice(&answers).unwrap();
    answers
        .into_iter()
        .zip(questions)
        .map(|(answer, (_, version))| answer[version].clone())
        .collect()
}

#[test]
fn every_anaconda_reads_what_is_made_for_it() {
    let names = names();
    let keys = [KEY.to_owned()];
    let mut questions = Vec::new();
    for (reader, version) in READERS {
        let plain = request(&names, reader);
        let full = Request {
            hostname: Some("node7.site.example"),
            ssh_keys: &keys,
            post: Some("#!/usr/bin/python3\nprint('%d')\n"),
            disk: Some("disk/by-id/ata-X"),
            ..request(&names, reader)
        };
        questions.push((generate(&plain).unwrap(), version));
        questions.push((generate(&full).unwrap(), version));
    }
    // Ours means the same words, read by what is newest.
    questions.push((generate(&request(&names, Reader::Edge)).unwrap(), "F44"));
    questions.push(("frobnicate\n".into(), "F44"));
    let mut answers = pykickstart(&questions);
    assert!(
        answers.pop().unwrap().is_string(),
        "pykickstart takes everything"
    );
    for (answer, (text, version)) in answers.iter().zip(&questions) {
        assert!(answer.is_null(), "{version}: {answer}\n{text}");
    }
}

fn ready(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../kickstart")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn ready_files_for_anaconda_are_what_is_made() {
    let names = names();
    for (name, reader) in [
        ("anaconda-f44.ks", Reader::F44),
        ("anaconda-rhel9.ks", Reader::Rhel9),
    ] {
        let made = generate(&Request {
            url: "http://updates.example",
            ..request(&names, reader)
        })
        .unwrap();
        assert_eq!(ready(name), made, "{name}");
    }
}

#[test]
fn ready_files_for_our_installer_are_read_by_all() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kickstart");
    let files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let own = |name: &String| name.ends_with(".ks") && !name.starts_with("anaconda-");
    let names: Vec<String> = files.iter().map(name).filter(own).collect();
    assert!(names.len() >= 3, "{names:?}");
    let mut questions = Vec::new();
    for name in &names {
        let text = ready(name);
        let read = parse(name, &text, &mut |_| Ok(String::new())).unwrap_or_else(|e| panic!("{e}"));
        assert!(read.source.is_some() && read.finish.is_some(), "{name}");
        let whole: String = text
            .lines()
            .filter(|line| !line.starts_with("%include"))
            .map(|line| format!("{line}\n"))
            .collect();
        questions.extend(["F44", "RHEL9", "RHEL10"].map(|version| (whole.clone(), version)));
    }
    for (answer, (text, version)) in pykickstart(&questions).iter().zip(&questions) {
        assert!(answer.is_null(), "{version}: {answer}\n{text}");
    }
}

/// The script runs here, with the folders of a machine in the place of its own.
#[test]
fn a_serial_number_becomes_the_hostname() {
    let text = ready("bmc-serial.ks");
    let scripts = pre_scripts("ks", &text, &mut |_| bail!("not there yet")).unwrap();
    let check = |file: &str, serial: &str, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let machine = dir.path().display().to_string();
        fs::write(dir.path().join(file), serial).unwrap();
        // First, for the folder is below /tmp too.
        let script = scripts[0].text.replace("/tmp/", &format!("{machine}/"));
        let script = script.replace("/sys/class/dmi/id", &machine);
        let script = script.replace("/proc/device-tree", &machine);
        Cmd::new("sh").args(["-c", &script]).run().unwrap();
        let mut include = |target: &str| Ok(fs::read_to_string(target.replace("/tmp", &machine))?);
        let read = parse("ks", &text, &mut include).unwrap();
        assert_eq!(read.network.hostname.unwrap().as_str(), expected);
    };
    check("product_serial", "ABC-123 4\n", "node-abc-1234");
    check("serial-number", "3216BBBK\0", "node-3216bbbk");
}

#[test]
fn anaconda_is_told_what_adopt_needs() {
    let names = names();
    let text = generate(&request(&names, Reader::Rhel9)).unwrap();
    for line in [
        "ostreesetup --osname=edge --remote=edge --url=http://updates.example/fleet/repo --ref=edge/13/x86_64/node --nogpg",
        "clearpart --all --drives=sda --initlabel --disklabel=gpt",
        "part biosboot --fstype=biosboot --size=1 --ondisk=sda",
        "edge-ota adopt --url http://updates.example/fleet --channel stable --board x86_64",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
}

#[test]
fn what_cannot_be_made_is_said() {
    let names = names();
    let keys = ["not a key".to_owned()];
    let base = |reader| request(&names, reader);
    let table = [
        (
            Request {
                reference: None,
                ..base(Reader::F44)
            },
            "Anaconda knows no channels: name what the channel's release is of by --ref, or by --repo and --keys",
        ),
        (
            Request {
                disk: None,
                ..base(Reader::F44)
            },
            "--disk is missing: Anaconda would erase every disk there is",
        ),
        (
            Request {
                url: "updates.example",
                ..base(Reader::Edge)
            },
            "ostreesetup: --url: 'updates.example' does not begin with http://, https:// or file:///",
        ),
        (
            Request {
                hostname: Some("a_b"),
                ..base(Reader::F44)
            },
            "network: --hostname: 'a_b' is not a host name: letters, digits and '-' in parts joined by '.', at most 64 \
             in all, no part beginning or ending with '-'",
        ),
        (
            Request {
                ssh_keys: &keys,
                ..base(Reader::F44)
            },
            "sshkey: this is not a public key, such as \"ssh-ed25519 AAAA… name\"",
        ),
        (
            Request {
                post: Some("true\n%end\nlang C x\n"),
                ..base(Reader::F44)
            },
            "--kickstart-post: lang: 'x' is one word too many; %end without a section",
        ),
    ];
    for (request, expected) in table {
        assert_eq!(format!("{:#}", generate(&request).unwrap_err()), expected);
    }
}

#[test]
fn a_url_is_one_word_for_the_shell() {
    for (text, expected) in [
        ("http://h/a-b_c.d:1", "http://h/a-b_c.d:1"),
        ("http://h/?a=$(x)&'", r"'http://h/?a=$(x)&'\'''"),
    ] {
        assert_eq!(shell_quote(text), expected);
        let echoed = Cmd::new("sh")
            .args(["-c", &format!("printf %s {expected}")])
            .text()
            .unwrap();
        assert_eq!(echoed, text);
    }
}

proptest! {
    /// What is made for our installer says to it what was asked for.
    #[test]
    fn what_is_made_is_read_again(
        path in "[a-zA-Z0-9._~?&=%$'\"#;-]{0,12}",
        channel in "[a-z][a-z0-9.-]{0,8}",
        disk in prop::option::of("[a-z]{1,4}|disk/by-id/[a-z][a-zA-Z0-9._:-]{0,12}"),
        hostname in prop::option::of("[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z]{1,5})?"),
        script in prop::option::of("(#!/bin/bash\n)?[ a-z$;&|~-]{1,20}\n"),
    ) {
        let channel: ChannelName = channel.parse().unwrap();
        let board: BoardName = "x86_64".parse().unwrap();
        let url = format!("http://h.example/{path}x");
        let keys = [KEY.to_owned()];
        let request = Request {
            reader: Reader::Edge,
            url: &url,
            channel: &channel,
            board: &board,
            reference: None,
            disk: disk.as_deref(),
            hostname: hostname.as_deref(),
            ssh_keys: &keys,
            post: script.as_deref(),
        };
        let read = parse("ks", &generate(&request).unwrap(), &mut |_| bail!("none")).unwrap();
        let source = read.source.unwrap();
        prop_assert_eq!((source.url, source.channel, source.reference), (url.clone(), channel.clone(), None));
        prop_assert_eq!(read.disks.target.as_ref().map(|disk| disk.as_str()), disk.as_deref());
        prop_assert_eq!(read.network.hostname.as_ref().map(|name| name.as_str()), hostname.as_deref());
        prop_assert_eq!(&read.accounts.ssh_keys[0].key, KEY);
        let posts: Vec<&str> = read.scripts.post.iter().map(|post| post.text.as_str()).collect();
        let wanted: Vec<&str> = script.as_deref().filter(|text| !text.trim().is_empty()).into_iter().collect();
        prop_assert_eq!(posts, wanted);
    }
}
