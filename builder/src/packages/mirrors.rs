//! Where a suite is served. A treefile's mirror counts first, then the command line, then the
//! environment, then what the build machine's own apt uses.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use edge_ota::cmd::Cmd;

use crate::treefile::Suite;

pub const MIRROR_VARIABLE: &str = "EDGE_BUILD_MIRROR";
pub const SECURITY_MIRROR_VARIABLE: &str = "EDGE_BUILD_SECURITY_MIRROR";
pub const MIRROR_KEYRING_VARIABLE: &str = "EDGE_BUILD_MIRROR_KEYRING";

/// Debian's suites that share one mirror; the pockets `-updates` and `-backports` go with them.
const CODENAMES: [&str; 8] = [
    "bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable",
];

/// Mirrors that somebody asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorOptions {
    /// Serves `trixie` and `trixie-updates`.
    pub mirror: Option<String>,
    /// Serves `trixie-security`.
    pub security_mirror: Option<String>,
    /// What both are signed with, where it is not Debian's keyring: mirrors that leave packages out sign anew.
    pub keyring: Option<PathBuf>,
}

impl MirrorOptions {
    /// Fills what is absent from the environment.
    pub fn or_environment(self) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            mirror: self.mirror.or_else(|| variable(MIRROR_VARIABLE)),
            security_mirror: self
                .security_mirror
                .or_else(|| variable(SECURITY_MIRROR_VARIABLE)),
            keyring: self
                .keyring
                .or_else(|| variable(MIRROR_KEYRING_VARIABLE).map(PathBuf::from)),
        }
    }
}

/// What the build machine's apt uses: site and suite of each of its sources.
pub fn of_this_machine() -> Result<Vec<(String, String)>> {
    let format = [
        "indextargets",
        "--format",
        "$(SITE) $(RELEASE)",
        "Created-By: Packages",
    ];
    Ok(targets(&Cmd::new("apt-get").args(format).text()?))
}

fn targets(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(site, release)| {
            (
                site.trim_end_matches('/').to_owned(),
                release.trim().to_owned(),
            )
        })
        .collect()
}

/// The address that serves a suite, without a slash at its end.
pub fn resolve(
    suite: &Suite,
    options: &MirrorOptions,
    machine: &[(String, String)],
) -> Result<String> {
    if let Some(mirror) = &suite.mirror {
        return Ok(mirror.clone());
    }
    let security = is_security(&suite.name);
    let asked = if security {
        &options.security_mirror
    } else {
        &options.mirror
    };
    if let Some(mirror) = asked {
        return Ok(mirror.trim_end_matches('/').to_owned());
    }
    let alike = |release: &str| is_debian(release) && is_security(release) == security;
    let exact = machine.iter().find(|(_, release)| *release == suite.name);
    let found = exact.or_else(|| machine.iter().find(|(_, release)| alike(release)));
    found.map(|(site, _)| site.clone()).ok_or_else(|| {
        let variable = if security { SECURITY_MIRROR_VARIABLE } else { MIRROR_VARIABLE };
        anyhow!(
            "no mirror for suite '{}': this machine's apt has none; set {variable} or give the suite a 'mirror' in the treefile",
            suite.name
        )
    })
}

fn is_security(release: &str) -> bool {
    release.ends_with("-security") || release.ends_with("-security/updates")
}

fn is_debian(release: &str) -> bool {
    release
        .split('-')
        .next()
        .is_some_and(|name| CODENAMES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "https://other.example nodistro\nhttp://mirror.example/debian/ bookworm\n\
        http://mirror.example/debian bookworm-updates\nhttp://security.example/d bookworm-security\n";

    fn suite(name: &str, mirror: Option<&str>) -> Suite {
        Suite {
            name: name.into(),
            components: vec!["main".into()],
            mirror: mirror.map(Into::into),
            signed_by: None,
        }
    }

    #[test]
    fn the_nearest_word_wins() {
        let asked = MirrorOptions {
            mirror: Some("http://asked.example/".into()),
            ..MirrorOptions::default()
        };
        let none = MirrorOptions::default();
        let table = [
            ("trixie", None, &none, "http://mirror.example/debian"),
            (
                "trixie-updates",
                None,
                &none,
                "http://mirror.example/debian",
            ),
            ("trixie-security", None, &none, "http://security.example/d"),
            ("nodistro", None, &none, "https://other.example"),
            ("trixie", None, &asked, "http://asked.example"),
            ("trixie-security", None, &asked, "http://security.example/d"),
            (
                "trixie",
                Some("http://own.example"),
                &asked,
                "http://own.example",
            ),
        ];
        for (name, own, options, expected) in table {
            assert_eq!(
                resolve(&suite(name, own), options, &targets(HOST)).unwrap(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn no_mirror_says_what_to_do() {
        let machine = targets("https://other.example nodistro\n");
        let error =
            resolve(&suite("trixie", None), &MirrorOptions::default(), &machine).unwrap_err();
        assert!(error.to_string().contains(MIRROR_VARIABLE), "{error}");
    }
}
