//! Regular expressions, by the engine and with the option that rpm-ostree has.

use std::path::Path;
use std::str::FromStr;

use glib::{Regex, RegexCompileFlags, RegexMatchFlags};

use super::RemoveFrom;

/// Not anchored: it may match a part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a regular expression")]
pub struct PatternError(String);

const OPTIONS: RegexCompileFlags = RegexCompileFlags::JAVASCRIPT_COMPAT;

impl Pattern {
    // The bindings' own `match_` takes a text that does not match for a failure, in debug builds.
    fn matches(&self, text: &str) -> bool {
        Regex::match_simple(self.0.as_str(), text, OPTIONS, RegexMatchFlags::DEFAULT)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        match Regex::new(text, OPTIONS, RegexMatchFlags::DEFAULT) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(PatternError(text.to_owned())),
        }
    }
}

impl RemoveFrom {
    /// Whether a path of the tree, or a folder above it, matches.
    pub fn matches(&self, path: &str) -> bool {
        let mut above = Path::new(path).ancestors().filter_map(Path::to_str);
        above.any(|path| self.patterns.iter().any(|pattern| pattern.matches(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_anywhere() {
        let table = [
            ("/usr/share/.*", "/usr/share/x", true),
            ("/usr/bin/*", "/usr/bin/x", true),
            ("^/share", "/usr/share/x", false),
            ("^/usr/share$", "/usr/share/x/y", true),
            ("/etc/x", "/usr/etc/x", true),
            ("\\.(so|a)$", "/usr/lib/x.so.1", false),
            ("/(?!keep)[a-z]+$", "/usr", true),
        ];
        for (text, path, expected) in table {
            let from = RemoveFrom {
                package: "p".into(),
                patterns: vec![text.parse().unwrap()],
            };
            assert_eq!(from.matches(path), expected, "{text} {path}");
        }
        let error = "(".parse::<Pattern>().unwrap_err().to_string();
        assert_eq!(error, "'(' is not a regular expression");
    }
}
