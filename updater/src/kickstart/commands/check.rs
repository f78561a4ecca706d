//! What the lines say together.

use super::Draft;
use crate::kickstart::{DiskName, Disks, Mistake, Var};

pub fn check(draft: &Draft) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let disks = &draft.kickstart.disks;
    let there = |name: &&str| draft.place(name).is_some();
    if let Some(other) = ["part", "partition", "reqpart"].into_iter().find(there) {
        if there(&"autopart") {
            let message = format!("autopart: with {other} it says the layout twice: leave one out");
            mistakes.push(draft.mistake("autopart", message));
        }
    }
    if let Some(message) = check_parts(disks) {
        let part = ["part", "partition"]
            .into_iter()
            .find(there)
            .unwrap_or("part");
        mistakes.push(draft.mistake(part, format!("{part}: {message}")));
    }
    if let Some(message) = check_target(disks) {
        mistakes.push(draft.mistake("ignoredisk", format!("ignoredisk: {message}")));
    }
    mistakes
}

/// Two partitions can't both end where a disk ends.
fn check_parts(disks: &Disks) -> Option<String> {
    let Var::Partition { grows, disk, .. } = &disks.var else {
        return None;
    };
    let shared = disk.is_none() || *disk == disks.target;
    match shared && *grows && disks.root.grows {
        true => {
            Some("/ and /var both grow on one disk: give one of them a --size and no --grow".into())
        }
        false => None,
    }
}

fn check_target(disks: &Disks) -> Option<String> {
    let of_var = match &disks.var {
        Var::Partition { disk, .. } => disk.as_ref(),
        Var::InRoot => None,
    };
    let used = disks.target.iter().chain(of_var);
    let mut plain = used.filter(|disk| !disk.is_pattern());
    let allows = |disk: &&DiskName| {
        let named = |names: &[DiskName]| names.iter().any(|name| name.matches(disk.as_str()));
        !named(&disks.ignore) && (disks.only.is_empty() || named(&disks.only))
    };
    let wrong = plain.find(|disk| !allows(disk) && all_alike(disks, disk))?;
    Some(format!(
        "{wrong} is the disk of a part or of the bootloader, and may not be used"
    ))
}

/// `sda` may be what a name in `disk/by-id` means: only names of one kind are compared.
fn all_alike(disks: &Disks, disk: &DiskName) -> bool {
    let kind = |name: &DiskName| name.as_str().contains('/');
    let mut names = disks.ignore.iter().chain(&disks.only);
    names.all(|name| kind(name) == kind(disk))
}
