//! What the lines say together.

use super::Draft;
use crate::kickstart::{DiskName, Disks, Mistake};

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
    if let Some(message) = check_target(disks) {
        mistakes.push(draft.mistake("ignoredisk", format!("ignoredisk: {message}")));
    }
    mistakes
}

fn check_target(disks: &Disks) -> Option<String> {
    let mut plain = disks.target.iter().filter(|disk| !disk.is_pattern());
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
