//! What went wrong when packages were installed, in one line with its remedy. apt has no other way to
//! say so than its messages; what is not known here is shown as the tool said it.

use std::path::Path;

use anyhow::{Error, anyhow};

use super::firmware::MISSING;

/// What packages are taken from.
#[derive(Debug, Clone, Copy)]
pub enum Offer {
    Suites,
    Lock,
}

/// Remembers the telling lines among all that a tool prints.
pub struct Explainer {
    offer: Offer,
    unknown: Vec<String>,
    unmet: Vec<String>,
    failed_fetch: Option<String>,
    firmware: Option<String>,
    disk_full: bool,
}

impl Explainer {
    pub fn of(offer: Offer) -> Self {
        Self {
            offer,
            unknown: Vec::new(),
            unmet: Vec::new(),
            failed_fetch: None,
            firmware: None,
            disk_full: false,
        }
    }

    pub fn line(&mut self, line: &str) {
        let text = line.trim();
        if let Some(package) = unknown_package(text) {
            self.unknown.push(package.to_owned());
        } else if text.contains("No space left on device") || text.contains("enough free space") {
            self.disk_full = true;
        } else if text.contains(" : Depends: ") || text.contains(" : Conflicts: ") {
            self.unmet
                .push(text.split_whitespace().collect::<Vec<_>>().join(" "));
        } else if let Some(what) = text.strip_prefix(MISSING) {
            self.firmware = Some(what.to_owned());
        } else if let Some((_, what)) = text.split_once("Failed to fetch ") {
            self.failed_fetch.get_or_insert_with(|| what.to_owned());
        }
    }

    /// The error to show in the place of `error`.
    pub fn explain(&self, treefile: &Path, work: &Path, error: Error) -> Error {
        let file = treefile.display();
        if self.disk_full {
            return anyhow!(
                "no space left for the work in {}: free some, or choose another folder",
                work.display()
            );
        }
        if let Some(what) = &self.firmware {
            return anyhow!("{what}");
        }
        if !self.unknown.is_empty() {
            let names = self.unknown.join("', '");
            return match self.offer {
                Offer::Suites => anyhow!(
                    "{file}: no package '{names}' in its suites: check the name, or add the repository that has it"
                ),
                Offer::Lock => anyhow!(
                    "{file}: no package '{names}' in the lock: make it anew with 'edge-build lock'"
                ),
            };
        }
        if !self.unmet.is_empty() {
            return anyhow!(
                "{file}: packages do not fit together: {}",
                self.unmet.join("; ")
            );
        }
        if let Some(what) = &self.failed_fetch {
            return anyhow!("{file}: fetching {what}; try again, or use another mirror");
        }
        error.context(format!("installing the packages of {file}"))
    }
}

fn unknown_package(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("E: ")?;
    if let Some(name) = rest.strip_prefix("Unable to locate package ") {
        return Some(name);
    }
    let name = rest
        .strip_prefix("Package '")?
        .strip_suffix("' has no installation candidate")?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_messages_become_one_line() {
        let table: &[(&[&str], &str)] = &[
            (
                &["E: Unable to locate package nosuch", "E: apt-get failed"],
                "t.yaml: no package 'nosuch' in its suites: check the name, or add the repository that has it",
            ),
            (
                &["E: Package 'old' has no installation candidate"],
                "t.yaml: no package 'old' in its suites: check the name, or add the repository that has it",
            ),
            (
                &["tar: ./x: Cannot write: No space left on device"],
                "no space left for the work in /w: free some, or choose another folder",
            ),
            (
                &[" a : Depends: b  but it is not installable"],
                "t.yaml: packages do not fit together: a : Depends: b but it is not installable",
            ),
            (
                &["E: Failed to fetch http://mirror.example/x.deb  Connection failed"],
                "t.yaml: fetching http://mirror.example/x.deb  Connection failed; try again, or use another mirror",
            ),
            (&["what?"], "installing the packages of t.yaml: tail"),
        ];
        for (lines, expected) in table {
            let mut explainer = Explainer::of(Offer::Suites);
            lines.iter().for_each(|line| explainer.line(line));
            let error = explainer.explain(Path::new("t.yaml"), Path::new("/w"), anyhow!("tail"));
            assert_eq!(format!("{error:#}"), *expected);
        }
        let mut explainer = Explainer::of(Offer::Lock);
        explainer.line("E: Unable to locate package new");
        let error = explainer.explain(Path::new("t.yaml"), Path::new("/w"), anyhow!("tail"));
        assert_eq!(
            format!("{error:#}"),
            "t.yaml: no package 'new' in the lock: make it anew with 'edge-build lock'"
        );
    }
}
