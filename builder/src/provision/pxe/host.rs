//! Which machine: by the address of its network card, or by its serial number.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Mac(Mac),
    Serial(Serial),
}

/// Six bytes, of one card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

/// As the firmware has it in its tables (SMBIOS, system serial number), where it can be part of a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(String);

#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{text}' is no {what}: {rule}")]
pub struct BadHost {
    text: String,
    what: &'static str,
    rule: &'static str,
}

fn bad(text: &str, what: &'static str, rule: &'static str) -> BadHost {
    BadHost {
        text: text.to_owned(),
        what,
        rule,
    }
}

impl Key {
    /// What its files are called, without an ending.
    pub fn file_name(&self) -> String {
        match self {
            Self::Mac(mac) => mac.hyphens(),
            Self::Serial(serial) => format!("serial-{}", serial.0),
        }
    }
}

impl Mac {
    /// `52-54-00-12-34-56`, in lower case: how iPXE, GRUB, U-Boot and PXELINUX write it in the names of files.
    pub fn hyphens(&self) -> String {
        self.0.map(|byte| format!("{byte:02x}")).join("-")
    }
}

impl FromStr for Mac {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let error = || bad(text, "MAC address", "write 52:54:00:12:34:56");
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let byte = |part: &&str| match digits(part) {
            true => u8::from_str_radix(part, 16).ok(),
            false => None,
        };
        let bytes: Option<Vec<u8>> = parts.iter().map(byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let group = |bytes: &[u8; 6]| bytes.first().is_some_and(|first| first & 1 == 1);
        match bytes {
            Some(bytes) if group(&bytes) => Err(bad(
                text,
                "MAC address of a card",
                "it is that of a group of them",
            )),
            Some(bytes) => Ok(Self(bytes)),
            _ => Err(error()),
        }
    }
}

impl FromStr for Serial {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        match !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(bad(
                text,
                "serial number",
                "letters, digits and -._ can be part of a file's name",
            )),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "MAC={}", mac.hyphens().replace('-', ":")),
            Self::Serial(serial) => write!(f, "SERIAL={}", serial.0),
        }
    }
}

/// `MAC=52:54:00:12:34:56:FILE` or `SERIAL=ABC123:FILE`: a machine and its kickstart.
pub fn parse_assignment(text: &str) -> Result<(Key, String), BadHost> {
    const WHAT: &str = "assignment of a machine";
    const RULE: &str = "write MAC=52:54:00:12:34:56:FILE or SERIAL=ABC123:FILE";
    const MAC_LENGTH: usize = 17;
    let error = || bad(text, WHAT, RULE);
    let (kind, rest) = text.split_once('=').ok_or_else(error)?;
    let end = match kind {
        "MAC" => Some(MAC_LENGTH),
        "SERIAL" => rest.find(':'),
        _ => None,
    };
    let parts = end.and_then(|end| Some((rest.get(..end)?, rest.get(end..)?.strip_prefix(':')?)));
    let (value, file) = parts
        .filter(|(_, file)| !file.is_empty())
        .ok_or_else(error)?;
    let key = match kind {
        "MAC" => Key::Mac(value.parse()?),
        _ => Key::Serial(value.parse()?),
    };
    Ok((key, file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_their_files() {
        let check = |text: &str, name: &str, shown: &str, file: &str| {
            let (key, found) = parse_assignment(text).unwrap();
            let all = (key.file_name(), key.to_string(), found);
            assert_eq!(all, (name.to_owned(), shown.to_owned(), file.to_owned()));
        };
        check(
            "MAC=52:54:00:AB:cd:01:a/b.ks",
            "52-54-00-ab-cd-01",
            "MAC=52:54:00:ab:cd:01",
            "a/b.ks",
        );
        check(
            "MAC=52-54-00-ab-cd-01:x",
            "52-54-00-ab-cd-01",
            "MAC=52:54:00:ab:cd:01",
            "x",
        );
        check(
            "SERIAL=CZ-1.2_x:/a:b.ks",
            "serial-CZ-1.2_x",
            "SERIAL=CZ-1.2_x",
            "/a:b.ks",
        );
    }

    #[test]
    fn what_names_no_machine_is_refused() {
        for (text, expected) in [
            ("52:54:00:12:34:56:x", "no assignment"),
            ("MAC=52:54:00:12:34:56", "no assignment"),
            ("MAC=52:54:00:12:34:56:", "no assignment"),
            ("MAC=52:54:00:12:34:5g:x", "no MAC address"),
            ("MAC=52:54:00:12:34:+1:x", "no MAC address"),
            ("MAC=01:00:5e:00:00:01:x", "a group"),
            ("MAC=5254.0012.3456.78:x", "no MAC address"),
            ("SERIAL=:x", "no serial number"),
            ("SERIAL=a b:x", "no serial number"),
            ("SERIAL=../a:x", "no serial number"),
            ("UUID=1:x", "no assignment"),
            ("MAC=ééééééééé:x", "no assignment"),
        ] {
            let error = parse_assignment(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
