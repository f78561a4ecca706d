//! Licences from a Debian copyright file, when it is written for machines.

use std::collections::BTreeSet;

/// SPDX ids, and `LicenseRef-…` for others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Licences(pub BTreeSet<String>);

/// Begins a file in the machine-readable format 1.0, whatever the address looked like at the time.
const FORMAT: &str = "copyright-format/1.0";

/// What the format's short names (section 7.1 there, and common others) are in SPDX's list.
const NAMES: &[(&str, &str)] = &[
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic", "Artistic-1.0-Perl"),
    ("Artistic-2.0", "Artistic-2.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("CC0-1.0", "CC0-1.0"),
    ("Expat", "MIT"),
    ("FSFAP", "FSFAP"),
    ("ISC", "ISC"),
    ("MIT", "MIT"),
    ("MPL-1.1", "MPL-1.1"),
    ("MPL-2.0", "MPL-2.0"),
    ("OpenSSL", "OpenSSL"),
    ("Python-2.0", "Python-2.0"),
    ("Zlib", "Zlib"),
    ("zlib", "Zlib"),
];

/// Families whose version and `+` SPDX spells out.
const GNU: [&str; 4] = ["AGPL", "GFDL", "GPL", "LGPL"];

pub fn of_copyright(text: &str) -> Licences {
    let is_for_machines = text
        .lines()
        .take_while(|line| !line.is_empty())
        .any(|line| line.starts_with("Format") && line.contains(FORMAT));
    if !is_for_machines {
        return Licences::default();
    }
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("License:"));
    let names = lines.flat_map(|line| {
        let line = line.replace(", ", " ").replace(['(', ')'], " ");
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        names(&words)
    });
    Licences(names.collect())
}

/// The parts of an expression in SPDX's words (`GPL-2.0-or-later AND (MIT OR Zlib)`).
pub fn of_expression(text: &str) -> Licences {
    let text = text.replace(['(', ')'], " ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let parts = words.split(|word| ["AND", "OR"].contains(word));
    let is_id = |word: &str| {
        let known = NAMES.iter().any(|(_, id)| *id == word);
        known
            || GNU
                .iter()
                .any(|family| word.starts_with(&format!("{family}-")))
    };
    let name = |part: &[&str]| match part {
        [] => None,
        [one] if is_id(one) => Some((*one).to_owned()),
        [one, "WITH", _] if is_id(one) => Some(part.join(" ")),
        _ => Some(reference(&part.join("-"))),
    };
    Licences(parts.filter_map(name).collect())
}

/// `GPL-2+ or Expat` are two; `GPL-2+ with OpenSSL exception` is one.
fn names(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for part in words.split(|word| ["or", "and", "and/or"].contains(&word.as_str())) {
        match part {
            [] => {}
            [one] => found.push(id(one)),
            several => found.push(reference(&several.join("-"))),
        }
    }
    found
}

fn id(name: &str) -> String {
    if let Some((_, id)) = NAMES.iter().find(|(debian, _)| *debian == name) {
        return (*id).to_owned();
    }
    gnu(name).unwrap_or_else(|| reference(name))
}

/// `GPL-2+` is `GPL-2.0-or-later`.
fn gnu(name: &str) -> Option<String> {
    let (family, version) = name.split_once('-')?;
    if !GNU.contains(&family) {
        return None;
    }
    let (version, which) = match version.strip_suffix('+') {
        Some(version) => (version, "or-later"),
        None => (version, "only"),
    };
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |text: &str| text.parse::<u8>().is_ok();
    let known = number(major) && number(minor);
    known.then(|| format!("{family}-{major}.{minor}-{which}"))
}

/// SPDX allows letters, digits, `-` and `.` in it.
fn reference(name: &str) -> String {
    let allowed = |c: char| match c.is_ascii_alphanumeric() || c == '.' {
        true => c,
        false => '-',
    };
    let name: String = name.chars().map(allowed).collect();
    format!("LicenseRef-{}", name.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_ids() {
        for (line, expected) in [
            ("Expat", vec!["MIT"]),
            ("GPL-2+", vec!["GPL-2.0-or-later"]),
            ("LGPL-2.1", vec!["LGPL-2.1-only"]),
            (
                "GPL-3+ or Artistic",
                vec!["Artistic-1.0-Perl", "GPL-3.0-or-later"],
            ),
            (
                "GPL-2+ with OpenSSL exception",
                vec!["LicenseRef-GPL-2--with-OpenSSL-exception"],
            ),
            ("public-domain", vec!["LicenseRef-public-domain"]),
            ("GPL", vec!["LicenseRef-GPL"]),
            (
                "GPL-2+, and BSD-3-clause",
                vec!["BSD-3-Clause", "GPL-2.0-or-later"],
            ),
        ] {
            let text = format!(
                "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: {line}\n text\n"
            );
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(of_copyright(&text), Licences(expected), "{line}");
        }
    }

    #[test]
    fn expressions_of_rpms() {
        let table = [
            ("MIT", vec!["MIT"]),
            (
                "GPL-2.0-or-later AND (LGPL-2.1-only OR Zlib)",
                vec!["GPL-2.0-or-later", "LGPL-2.1-only", "Zlib"],
            ),
            (
                "GPL-3.0-or-later WITH GCC-exception-3.1",
                vec!["GPL-3.0-or-later WITH GCC-exception-3.1"],
            ),
            ("Public Domain", vec!["LicenseRef-Public-Domain"]),
            ("", vec![]),
        ];
        for (text, expected) in table {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(of_expression(text), Licences(expected), "{text}");
        }
    }

    #[test]
    fn prose_is_not_guessed_at() {
        assert_eq!(of_copyright("License: GPL-2\n"), Licences::default());
        assert_eq!(of_copyright(""), Licences::default());
    }
}
