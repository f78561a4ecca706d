//! Names in a kickstart file that have a grammar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::name;

name!(
    /// A disk, as a path below `/dev`: `sda`, `disk/by-id/ata-…`; `*` and `?` stand for any characters.
    DiskName, "disk", "a name below /dev such as sda, nvme0n1 or disk/by-id/ata-X",
    |s| s.len() <= 255
        && s.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._:+=@-*?".contains(&b))
);

name!(
    /// A name for passwd.
    UserName, "user name", "lower-case letters, digits, '_' and '-', at most 32, beginning with a letter or '_'",
    is_account
);

name!(
    /// A name for group.
    GroupName, "group name", "lower-case letters, digits, '_' and '-', at most 32, beginning with a letter or '_'",
    is_account
);

name!(
    HostName,
    "host name",
    "letters, digits and '-' in parts joined by '.', at most 64 in all, no part beginning or ending with '-'",
    |s| s.len() <= 64 && s.split('.').all(is_label)
);

name!(
    /// A network interface.
    InterfaceName, "network interface", "at most 15 letters, digits, '.', '_' and '-'",
    |s| (1..=15).contains(&s.len())
        && !s.starts_with(['.', '-'])
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
);

name!(
    /// The address of a network card, `52:54:00:12:34:56` in lower case.
    Mac, "MAC address", "six pairs of hex digits joined by ':'",
    |s| s.len() == 17
        && s.split(':').count() == 6
        && s.split(':').all(|pair| pair.len() == 2 && pair.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
);

name!(
    /// `Europe/Berlin`, a path below zoneinfo.
    ZoneName, "time zone", "a name such as UTC or Europe/Berlin",
    |s| s.len() <= 64
        && s.split('/').all(|part| part.starts_with(|c: char| c.is_ascii_uppercase()))
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b))
);

name!(
    /// What crypt(5) makes of a password.
    Crypt, "crypted password", "what 'mkpasswd' prints: $y$…, $gy$…, $7$…, $2b$…, $6$… or $5$…",
    is_crypt
);

fn is_account(s: &str) -> bool {
    s.len() <= 32
        && s.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

fn is_label(s: &str) -> bool {
    !s.is_empty()
        && !s.starts_with('-')
        && !s.ends_with('-')
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The methods of crypt(5) that are still good, with the least number of fields behind each and the least length of the
/// last one.
const METHODS: [(&str, usize, usize); 7] = [
    ("$y$", 3, 43),
    ("$gy$", 3, 43),
    ("$7$", 2, 43),
    ("$2b$", 2, 53),
    ("$2y$", 2, 53),
    ("$6$", 2, 86),
    ("$5$", 2, 43),
];

fn is_crypt(s: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"./$=,".contains(&b);
    let shaped = METHODS.iter().any(|(prefix, fields, length)| {
        s.strip_prefix(prefix).is_some_and(|rest| {
            rest.split('$').count() >= *fields
                && rest
                    .rsplit('$')
                    .next()
                    .is_some_and(|hash| hash.len() == *length)
        })
    });
    s.len() <= 384 && s.bytes().all(known) && shaped
}
