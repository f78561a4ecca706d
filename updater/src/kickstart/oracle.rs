//! What we read, pykickstart reads too: it is the reader of Fedora and RHEL. 'make pykickstart' installs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::commands::{self, Meaning};
use super::options::{Grammar, Takes, Words};
use super::{parse, words};
use crate::cmd::Cmd;

const VERSIONS: [&str; 3] = ["F44", "RHEL9", "RHEL10"];

/// Of each kind of value some that are right, and some that are not.
const VALUES: &[(&str, &[&str])] = &[
    ("--append", &["quiet", "\"a=b c\"", "'x=1,2'"]),
    ("--boot-drive", &["sda", "/dev/vda", "disk/by-id/ata-X"]),
    ("--bootproto", &["static", "dhcp", "bootp"]),
    (
        "--device",
        &["eth0", "52:54:00:12:34:56", "link", "bootif", "enp1s0"],
    ),
    ("--dir", &["/", "/edge"]),
    ("--disabled", &["a", "a,b.timer"]),
    ("--disklabel", &["gpt"]),
    ("--drives", &["sda", "sda,sdb", "disk/by-id/ata-*"]),
    ("--enabled", &["a", "getty@tty1.service"]),
    ("--fstype", &["ext4"]),
    ("--gateway", &["192.0.2.1"]),
    ("--gecos", &["\"A B\"", "''"]),
    ("--gid", &["1000", "2000"]),
    ("--groups", &["sudo", "sudo,ops", "ops(2000)"]),
    ("--homedir", &["/home/x", "/var/x"]),
    ("--hostname", &["node7", "node7.site.example"]),
    ("--interfacename", &["back", "vlan7"]),
    ("--ip", &["192.0.2.7"]),
    ("--ipv4-dns-search", &["a.example,b.example"]),
    ("--ipv6", &["auto", "dhcp", "2001:db8::7/64", "2001:db8::7"]),
    ("--ipv6-dns-search", &["a.example"]),
    ("--ipv6gateway", &["fe80::1"]),
    ("--location", &["mbr"]),
    ("--mtu", &["1400"]),
    ("--name", &["op", "x-1"]),
    ("--nameserver", &["192.0.2.1", "192.0.2.1,2001:db8::1"]),
    ("--netmask", &["255.255.255.0", "255.255.255.255"]),
    ("--ntp-server", &["ntp.example"]),
    ("--onboot", &["yes", "no", "off"]),
    ("--ondisk", &["sda", "/dev/vda"]),
    ("--ondrive", &["sda"]),
    ("--only-use", &["sda", "sd*,vda"]),
    ("--osname", &["edge"]),
    ("--partition", &["LABEL=EDGE", "/dev/sdb1", "sdb1"]),
    ("--password", &[CRYPT]),
    ("--port", &["22:tcp", "53:udp,80", "30000-32767:tcp", "514"]),
    ("--ref", &["channel:stable", "edge/13/x86_64/node"]),
    ("--remote", &["edge"]),
    ("--service", &["ssh", "ssh,http"]),
    ("--shell", &["/bin/bash"]),
    ("--size", &["512", "4096"]),
    ("--trust", &["cni0", "eth0,eth1"]),
    ("--type", &["plain"]),
    ("--uid", &["1000", "59999"]),
    (
        "--url",
        &[
            "http://u.example/f",
            "https://u.example/repo",
            "file:///run/x",
        ],
    ),
    ("--username", &["root", "op"]),
    ("--vckeymap", &["de", "us"]),
    ("--vlanid", &["7", "4094"]),
];

const WORDS: &[(&str, &[&str])] = &[
    ("part", &["/"]),
    ("partition", &["/"]),
    ("timezone", &["UTC", "Europe/Berlin"]),
    ("lang", &["en_US.UTF-8", "C"]),
    ("keyboard", &["us", ""]),
    ("rootpw", &[CRYPT, ""]),
    (
        "sshkey",
        &[
            "\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b\"",
        ],
    ),
];

const CRYPT: &str = "'$6$saltsalt$8RWsOfwR6M6PpnoeQiEiWzNTPo1f0HjVYjDnLZhGx16aBFRkeqiHAzfXP/LgrOWMBMXqiU2pLrXsSOHNUyUm91'";

fn of<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> &'a [&'a str] {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map_or(&[], |(_, values)| *values)
}

/// A line of a command with some of its options, as often as not one that means something.
fn line(name: &'static str, grammar: &'static Grammar) -> impl Strategy<Value = String> {
    let usable = grammar
        .options
        .iter()
        .filter(|(_, takes)| !matches!(takes, Takes::Refused(_)));
    let options: Vec<BoxedStrategy<String>> = usable
        .map(|(option, takes)| match takes {
            Takes::Nothing => Just((*option).to_owned()).boxed(),
            _ => {
                let values = of(VALUES, option);
                assert!(!values.is_empty(), "{option} has no values here");
                let form = prop::sample::select(&["=", " "][..]);
                (prop::sample::select(values), form)
                    .prop_map(move |(value, form)| format!("{option}{form}{value}"))
                    .boxed()
            }
        })
        .map(|option| {
            prop::option::weighted(0.4, option)
                .prop_map(Option::unwrap_or_default)
                .boxed()
        })
        .collect();
    let word = match grammar.words {
        Words::None => Just("").boxed(),
        _ => prop::sample::select(of(WORDS, name)).boxed(),
    };
    (options, word).prop_map(move |(options, word)| format!("{name} {word} {}", options.join(" ")))
}

fn lines() -> Vec<BoxedStrategy<String>> {
    let grammars = commands::all().filter_map(|command| match &command.meaning {
        Meaning::Read { grammar, .. } | Meaning::NoEffect(grammar) => {
            Some(line(command.name, grammar).boxed())
        }
        Meaning::Refused(_) => None,
    });
    grammars.collect()
}

/// Files that we read, each with as many commands as go together, in different orders.
fn accepted() -> Vec<String> {
    const FILES: usize = 100;
    let mut runner = TestRunner::deterministic();
    let good = |text: &str| parse("ks", text, &mut |_| bail!("none")).is_ok();
    let mut kinds: Vec<Vec<String>> = Vec::new();
    for line in lines() {
        let mut made: Vec<String> = (0..8 * FILES)
            .map(|_| line.new_tree(&mut runner).unwrap().current())
            .collect();
        let example = made.first().cloned();
        made.sort();
        made.dedup();
        made.retain(|text| good(text));
        assert!(!made.is_empty(), "no line was read like {example:?}");
        kinds.push(made);
    }
    let file = |number: usize| {
        let mut text = String::new();
        for place in 0..kinds.len() {
            let lines = &kinds[(place + number) % kinds.len()];
            // Spread over all of them, for the options of neighbours are alike.
            let longer = format!("{text}{}\n", lines[number * lines.len() / FILES]);
            if good(&longer) {
                text = longer;
            }
        }
        text
    };
    (0..FILES).map(file).collect()
}

fn target() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let is_target = |dir: &&Path| dir.join("pykickstart/bin/python").exists();
    let found = exe.ancestors().find(is_target);
    found
        .map(Path::to_owned)
        .context("there is no pykickstart: run 'make pykickstart'")
}

fn ask(questions: Vec<Value>) -> Vec<Value> {
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kickstart/oracle.py");
    let python = target().unwrap().join("pykickstart/bin/python");
    let input = serde_json::to_vec(&questions).unwrap();
    let answers = Cmd::new(python)
        .arg(oracle)
        .output_with_input(input)
        .unwrap();
    serde_json::from_slice(&answers).unwrap()
}

#[test]
fn what_is_read_pykickstart_reads_too() {
    let texts = accepted();
    let questions = texts
        .iter()
        .map(|text| json!({"read": text, "as": VERSIONS}))
        .collect();
    let mut wrong = BTreeSet::new();
    for (text, answer) in texts.iter().zip(ask(questions)) {
        for version in VERSIONS.iter().filter(|version| !answer[version].is_null()) {
            wrong.insert(format!("{version}: {}", shown(&answer[version], text)));
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What pykickstart says, and of which line.
fn shown(answer: &Value, text: &str) -> String {
    let answer = answer.as_str().unwrap();
    let number = answer
        .split_once("on line ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
    let line = number.and_then(|number| text.lines().nth(number - 1));
    format!(
        "{}: {}",
        line.unwrap_or(text),
        answer.lines().last().unwrap_or_default()
    )
}

#[test]
fn lines_are_split_as_python_does() {
    let mut runner = TestRunner::deterministic();
    let line = "[a# \\\\'\"=\t-]{0,12}";
    let line = line.prop_map(|line| line.to_owned());
    let lines: Vec<String> = (0..3000)
        .map(|_| line.new_tree(&mut runner).unwrap().current())
        .collect();
    let questions = lines.iter().map(|line| json!({"split": line})).collect();
    let mut read = 0;
    for (line, answer) in lines.iter().zip(ask(questions)) {
        match words::split(line) {
            Ok(words) => {
                read += 1;
                assert_eq!(json!(words), answer, "{line:?}");
            }
            Err(_) => assert!(answer.is_null(), "{line:?}: {answer}"),
        }
    }
    assert!(read > lines.len() / 3, "only {read} lines were whole");
}
