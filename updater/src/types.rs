//! Names with a grammar. Each is parsed once and then trusted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{value}' is not a {what}: {rule}")]
pub struct NameError {
    pub what: &'static str,
    pub value: String,
    pub rule: &'static str,
}

/// Gives a newtype over `String` its parser, display and serde (through the parser).
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = $crate::types::NameError;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                let valid: fn(&str) -> bool = $valid;
                if valid(s) {
                    Ok(Self(s.to_owned()))
                } else {
                    let value = s.chars().take(80).collect();
                    Err($crate::types::NameError { what: $what, value, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::types::NameError;

            fn try_from(s: String) -> Result<Self, Self::Error> {
                s.parse()
            }
        }

        impl From<$type> for String {
            fn from(v: $type) -> String {
                v.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use name;

name!(
    /// SHA-256 of an OSTree commit object: 64 lower-case hex digits.
    CommitChecksum, "commit checksum", "64 lower-case hex digits",
    |s| s.len() == 64 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);

name!(
    /// An OSTree ref, `edge/13/x86_64/node`.
    RefName, "ref", "path parts of letters, digits, '.', '_' and '-', joined by '/', none starting with '.' or '-'",
    |s| s.len() <= 255 && s.split('/').all(is_word)
);

name!(
    /// The name of a board file, `beaglebone-black`.
    BoardName, "board name", "letters, digits, '.', '_' and '-', not starting with '.' or '-'", is_word
);

name!(
    /// What a device follows: `stable`, `canary`.
    ChannelName, "channel name", "letters, digits, '.', '_' and '-', not starting with '.' or '-'", is_word
);

fn is_word(s: &str) -> bool {
    !s.is_empty()
        && s.len() <= 64
        && !s.starts_with(['.', '-'])
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl Default for ChannelName {
    /// `stable`
    fn default() -> Self {
        Self("stable".to_owned())
    }
}

impl CommitChecksum {
    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// Order of releases within a channel and board; it never goes back.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One of the two places a system lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub const BOTH: [Slot; 2] = [Slot::A, Slot::B];

    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Slot {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        match s {
            "a" => Ok(Slot::A),
            "b" => Ok(Slot::B),
            _ => Err(NameError {
                what: "slot",
                value: s.chars().take(80).collect(),
                rule: "a or b",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_grammar() {
        let table: &[(&str, bool, bool, bool)] = &[
            // text, checksum, ref, board
            ("stable", false, true, true),
            ("edge/13/x86_64/node", false, true, false),
            ("", false, false, false),
            ("../x", false, false, false),
            ("-f", false, false, false),
            (&"a".repeat(64), true, true, true),
            (&"A".repeat(64), false, true, true),
            (&"a".repeat(65), false, false, false),
        ];
        for (text, checksum, refname, board) in table {
            assert_eq!(text.parse::<CommitChecksum>().is_ok(), *checksum, "{text}");
            assert_eq!(text.parse::<RefName>().is_ok(), *refname, "{text}");
            assert_eq!(text.parse::<BoardName>().is_ok(), *board, "{text}");
        }
    }

    #[test]
    fn serde_goes_through_the_parser() {
        assert!(serde_json::from_str::<BoardName>("\"a/b\"").is_err());
        assert_eq!(serde_json::to_string(&Slot::A).unwrap(), "\"a\"");
    }
}
