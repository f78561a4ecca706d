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

impl DiskName {
    /// Whether it may mean several disks.
    pub fn is_pattern(&self) -> bool {
        self.as_str().contains(['*', '?'])
    }

    /// Whether it means the disk with this path below `/dev`; no `*` goes beyond a `/`.
    pub fn matches(&self, path: &str) -> bool {
        let (patterns, names) = (self.as_str().split('/'), path.split('/'));
        let mut pairs = patterns.clone().zip(names.clone());
        patterns.count() == names.count()
            && pairs.all(|(pattern, name)| part_matches(pattern.as_bytes(), name.as_bytes()))
    }
}

/// Each `*` takes as little as it can; only the last one ever has to take more.
fn part_matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    let mut star = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                star = Some((rest, name));
                pattern = rest;
            }
            (Some((p, rest)), Some((n, shorter))) if *p == b'?' || p == n => {
                (pattern, name) = (rest, shorter);
            }
            _ => {
                let Some((after, [_, longer @ ..])) = star else {
                    return false;
                };
                star = Some((after, longer));
                (pattern, name) = (after, longer);
            }
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_by_patterns() {
        let table = [
            ("sda", "sda", true),
            ("sda", "sdab", false),
            ("sd?", "sda", true),
            ("sd?", "sd", false),
            ("sd*", "sd", true),
            ("disk/by-id/nvme-*_1", "disk/by-id/nvme-X_1_1", true),
            ("disk/by-id/nvme-*_1", "disk/by-id/nvme-X_1_2", false),
            ("disk/*", "disk/by-id/x", false),
            ("*", "sda", true),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
        ];
        for (pattern, name, expected) in table {
            let disk: DiskName = pattern.parse().unwrap();
            assert_eq!(disk.matches(name), expected, "{pattern} {name}");
        }
        let slow: DiskName = "*a".repeat(100).parse().unwrap();
        assert!(!slow.matches(&"a".repeat(255)[..99]));
    }

    #[test]
    fn names_have_their_grammar() {
        fn good<T: FromStr>(texts: &[&str]) {
            texts
                .iter()
                .for_each(|text| assert!(text.parse::<T>().is_ok(), "{text}"));
        }
        fn bad<T: FromStr>(texts: &[&str]) {
            texts
                .iter()
                .for_each(|text| assert!(text.parse::<T>().is_err(), "{text}"));
        }
        good::<DiskName>(&["vda", "disk/by-path/pci-0000:00:04.0"]);
        bad::<DiskName>(&["", "/sda", "a/../b", "a b", "disk/"]);
        good::<HostName>(&["n", "node-7.site.example"]);
        bad::<HostName>(&["", "-n", "n-", "a..b", "a_b", &"x".repeat(65)]);
        good::<ZoneName>(&[
            "UTC",
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+1",
        ]);
        bad::<ZoneName>(&["", "../x", "Europe/", "europe"]);
        good::<Mac>(&["52:54:00:12:34:56"]);
        bad::<Mac>(&["52:54:00:12:34", "52-54-00-12-34-56", "52:54:00:12:34:5G"]);
        good::<UserName>(&["core", "_x", "a-1"]);
        bad::<UserName>(&["", "Root", "1a", "a b", "a:b"]);
    }

    /// Made by crypt(3) of libxcrypt.
    #[test]
    fn crypted_passwords_have_their_shape() {
        let good = [
            "$y$j9T$saltsaltsalt$J0muOjlZ8y67VOLVIz09WHd4LXM2lwrrtZHXBEsohS8",
            "$6$saltsalt$8RWsOfwR6M6PpnoeQiEiWzNTPo1f0HjVYjDnLZhGx16aBFRkeqiHAzfXP/LgrOWMBMXqiU2pLrXsSOHNUyUm91",
            "$6$rounds=10000$saltsalt$BlEC2vxHYlhrhUhfBHpvxx2lBHwNhJYtpcY7g2BtmgXPJpcFuRAtNBYnQkhLjexkrGu2o.yzQgw/8.eBHd63.1",
            "$5$saltsalt$hcyDOxdIg0p3xyqtpHh/v8Ph.am06tQaovp1KpEklb7",
            "$2b$05$abcdefghijklmnopqrstuuhKF09ZYWwH2zP/0fwE1X8e/Q1YNx/hO",
            "$7$CU..../....saltsalt$ZAXFMcUiDtPnGZmIfHqmXcEM53OIiBgNRWjT2OlNGG4",
            "$gy$j9T$saltsaltsalt$RsqNEzV2ZsZqRf//pt/.7kke5tXnENvOYZsXblc6QP0",
        ];
        for text in good {
            assert!(text.parse::<Crypt>().is_ok(), "{text}");
        }
        let cut = &good[1][..good[1].len() - 1];
        for text in [
            "",
            "secret",
            "$1$abc$0123456789012345678901",
            cut,
            "$6$salt:salt$x",
            "!",
        ] {
            assert!(text.parse::<Crypt>().is_err(), "{text}");
        }
    }
}
