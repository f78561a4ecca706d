use std::collections::BTreeSet;

use super::*;
use crate::kickstart::options::Takes;
use crate::kickstart::parse;

const PAGE: &str = include_str!("../../../../docs/provisioning/kickstart.md");

/// The words in backticks of a part of a line.
fn marked(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn usable(grammar: &Grammar) -> BTreeSet<&'static str> {
    let usable = grammar
        .options
        .iter()
        .filter(|(_, takes)| !matches!(takes, Takes::Refused(_)));
    usable.map(|(name, _)| *name).collect()
}

#[test]
fn the_page_has_every_command_with_its_options_and_no_other() {
    let mut known = BTreeSet::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let names = marked(columns[1]);
        let read = all().filter(|command| names.contains(command.name));
        for command in read {
            known.insert(command.name);
            match &command.meaning {
                Meaning::Read { grammar, .. } | Meaning::NoEffect(grammar) => {
                    // The table of files below /etc names commands too.
                    if columns.len() == 5 {
                        assert_eq!(marked(columns[2]), usable(grammar), "{}", command.name);
                    }
                }
                Meaning::Refused(_) => assert_eq!(columns.len(), 4, "{} is refused", command.name),
            }
        }
        let commands = names.iter().filter(|name| !name.starts_with('%'));
        for name in commands {
            assert!(
                all().any(|command| command.name == *name),
                "{name} is no command"
            );
        }
    }
    let all: BTreeSet<&str> = all().map(|command| command.name).collect();
    assert_eq!(known, all);
}

#[test]
fn the_file_of_the_page_is_read() {
    let (_, from) = PAGE.split_once("## Write one\n\n").unwrap();
    let block = from.lines().take_while(|line| line.starts_with("    "));
    let text: String = block.map(|line| format!("{}\n", line.trim())).collect();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let text = text.replace("ssh-ed25519 AAAA…", key);
    let read = parse("page", &text, &mut |_| anyhow::bail!("none")).unwrap();
    assert_eq!(read.accounts.ssh_keys.len(), 1);
    assert!(read.source.is_some() && read.finish.is_some());
}

#[test]
fn no_command_is_there_twice() {
    let mut names: Vec<&str> = all().map(|command| command.name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
