//! dpkg's database in a laid out tree.

use std::collections::BTreeMap;

pub const STATUS: &str = "/usr/lib/sysimage/dpkg/status";

/// Holds a `.list` of the files of each package.
pub const INFO: &str = "/usr/lib/sysimage/dpkg/info/";

/// What the status, or a package's own `control`, says of a package.
#[derive(Debug, Clone, Copy)]
pub struct Stanza<'a>(&'a str);

impl<'a> Stanza<'a> {
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The first line of a field.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
        self.0.lines().find_map(value).map(str::trim)
    }
}

/// The packages that are installed, in their order.
pub fn installed(status: &str) -> impl Iterator<Item = Stanza<'_>> {
    let stanzas = status.split("\n\n").map(Stanza);
    stanzas.filter(|stanza| {
        let state = stanza.field("Status");
        state.is_some_and(|state| state.ends_with(" installed"))
    })
}

/// Names with their versions; of a package of several architectures the last.
pub fn versions(status: &str) -> BTreeMap<String, String> {
    let pair = |stanza: Stanza| {
        let (name, version) = (stanza.field("Package")?, stanza.field("Version")?);
        Some((name.to_owned(), version.to_owned()))
    };
    installed(status).filter_map(pair).collect()
}

/// `libc6:amd64.list` is of `libc6`.
pub fn package_of_info(name: &str) -> &str {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    stem.split(':').next().unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1\nDescription: x\n Version: 2\n\n\
                      Package: b\nStatus: deinstall ok config-files\nVersion: 2\n";
        let found: Vec<_> = installed(status)
            .map(|stanza| (stanza.field("Package"), stanza.field("Version")))
            .collect();
        assert_eq!(found, [(Some("a"), Some("1"))]);
    }
}
