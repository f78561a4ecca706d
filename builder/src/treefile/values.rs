//! Values with a grammar of their own.

use std::fmt;
use std::str::FromStr;

/// An option that the kernel's config must have: on at all (`y` or `m`), or with one value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelOption {
    pub name: String,
    pub value: Option<String>,
}

/// The comparable part of a kernel release: `6.12.9+deb13-amd64` is 6.12.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// Who makes the initramfs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InitramfsMaker {
    /// The builder, on the host: a root file system on a plain partition.
    #[default]
    Own,
    /// dracut, in the tree: LVM, LUKS, RAID, multipath.
    Dracut,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not a {what}: {rule}")]
pub struct ValueError {
    what: &'static str,
    value: String,
    rule: &'static str,
}

impl FromStr for InitramfsMaker {
    type Err = ValueError;

    fn from_str(s: &str) -> Result<Self, ValueError> {
        match s {
            "own" => Ok(Self::Own),
            "dracut" => Ok(Self::Dracut),
            _ => Err(ValueError {
                what: "maker of an initramfs",
                value: s.to_owned(),
                rule: "write own or dracut",
            }),
        }
    }
}

impl FromStr for KernelOption {
    type Err = ValueError;

    fn from_str(s: &str) -> Result<Self, ValueError> {
        let (name, value) = match s.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (s, None),
        };
        let rest = name.strip_prefix("CONFIG_").unwrap_or_default();
        let named =
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !named || value == Some("") {
            let rule = "write CONFIG_X, or CONFIG_X=y";
            return Err(ValueError {
                what: "kernel option",
                value: s.to_owned(),
                rule,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        })
    }
}

impl fmt::Display for KernelOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for KernelVersion {
    type Err = ValueError;

    fn from_str(s: &str) -> Result<Self, ValueError> {
        let end = s
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(s.len());
        let digits = s.get(..end).unwrap_or_default();
        let mut parts = digits.split('.').map(u32::from_str);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), None) => Ok(Self {
                major,
                minor,
                patch: 0,
            }),
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => {
                let rule = "write 4.19 or 4.19.0";
                Err(ValueError {
                    what: "kernel version",
                    value: s.to_owned(),
                    rule,
                })
            }
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        let table = [
            ("4.19", Some("4.19.0")),
            ("6.12.117+deb13-amd64", Some("6.12.117")),
            ("6.1-rc3", Some("6.1.0")),
            ("6", None),
            ("x", None),
            ("", None),
            ("99999999999.1", None),
        ];
        for (text, expected) in table {
            let version = text.parse::<KernelVersion>().ok();
            assert_eq!(
                version.map(|v| v.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
        assert!("6.12.9".parse::<KernelVersion>().unwrap() > "6.2.30".parse().unwrap());
    }

    #[test]
    fn kernel_options() {
        for (text, ok) in [
            ("CONFIG_A", true),
            ("CONFIG_A_1=m", true),
            ("A", false),
            ("CONFIG_", false),
            ("CONFIG_A=", false),
        ] {
            let option = text.parse::<KernelOption>();
            assert_eq!(option.is_ok(), ok, "{text}");
            assert!(option.map_or(true, |o| o.to_string() == text));
        }
    }
}
