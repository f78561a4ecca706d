//! The name of a device that was given none: `edge-` and its serial number. It is not written into `/etc/hostname`, so
//! that a name from DHCP may take its place.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What the kernel calls a machine without a name.
const NAMELESS: [&str; 3] = ["", "(none)", "localhost"];
/// What makers write where a number should be.
const NO_SERIALS: [&str; 12] = [
    "chassisserialnumber",
    "default",
    "defaultstring",
    "invalid",
    "na",
    "none",
    "notapplicable",
    "notspecified",
    "oem",
    "systemserialnumber",
    "tobefilledbyoem",
    "unknown",
];
/// A label of a name has 63 characters.
const LONGEST: usize = 63 - "edge-".len();

/// The name that the machine has, and where it is from.
pub fn current(root: &Path) -> Result<Option<String>> {
    let text = fs::read_to_string(root.join("etc/hostname")).unwrap_or_default();
    let name = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    if let Some(name) = name.filter(|name| !NAMELESS.contains(name)) {
        return Ok(Some(format!("hostname {name} from /etc/hostname")));
    }
    let current = fs::read_to_string(root.join("proc/sys/kernel/hostname"));
    let current = current.context("asking for the hostname")?;
    let named = !NAMELESS.contains(&current.trim());
    Ok(named.then(|| format!("hostname {} as it was", current.trim())))
}

/// The first that is one: of the machine by its firmware, of the board by its device tree, of a network card.
pub fn from_serial(root: &Path) -> Option<(String, &'static str)> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let found = [
        (
            serial(&read("sys/class/dmi/id/product_serial")),
            "the serial number of the machine",
        ),
        (
            serial(&read("proc/device-tree/serial-number")),
            "the serial number of the board",
        ),
        (mac(root), "the address of the first network card"),
    ];
    let (serial, source) = found
        .into_iter()
        .find_map(|(s, source)| Some((s?, source)))?;
    Some((format!("edge-{serial}"), source))
}

/// Lower-case letters and digits, or nothing where it says nothing.
fn serial(text: &str) -> Option<String> {
    let plain: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .take(LONGEST)
        .collect();
    let first = plain.chars().next()?;
    let repeated = plain.chars().all(|c| c == first);
    let counted = "0123456789".contains(&plain);
    let said = plain.len() >= 4 && !repeated && !counted && !NO_SERIALS.contains(&plain.as_str());
    said.then_some(plain)
}

/// Of the cards with a device behind them the first by name.
fn mac(root: &Path) -> Option<String> {
    let net = root.join("sys/class/net");
    let entries = fs::read_dir(&net).ok()?;
    let mut cards: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("device").exists())
        .collect();
    cards.sort();
    let addresses = cards
        .iter()
        .map(|card| fs::read_to_string(card.join("address")));
    addresses.filter_map(|text| serial(&text.ok()?)).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_serial_number_is_plain_and_says_something() {
        for (text, expected) in [
            ("GZ-1234.AB\n", Some("gz1234ab")),
            ("1234BBBK5678\0", Some("1234bbbk5678")),
            ("52:54:00:12:34:56\n", Some("525400123456")),
            ("To be filled by O.E.M.", None),
            ("Default string", None),
            ("0000000000000000", None),
            ("123456789", None),
            ("Not Specified", None),
            ("x1", None),
            ("", None),
        ] {
            assert_eq!(serial(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_is_there_counts() {
        for (file, kernel, expected) in [
            (
                "# none\n\n rack-7 \n",
                "localhost\n",
                Some("hostname rack-7 from /etc/hostname"),
            ),
            (
                "localhost\n",
                "by-dhcp\n",
                Some("hostname by-dhcp as it was"),
            ),
            ("", "(none)\n", None),
            ("", "localhost\n", None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (path, text) in [("etc/hostname", file), ("proc/sys/kernel/hostname", kernel)] {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            assert_eq!(current(dir.path()).unwrap().as_deref(), expected);
        }
        assert!(current(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn the_first_that_says_something_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let check = |expected: Option<&str>| {
            assert_eq!(
                from_serial(dir.path()).map(|(name, _)| name).as_deref(),
                expected
            );
        };
        check(None);
        put("sys/class/net/lo/address", "00:00:00:00:00:01");
        check(None);
        put("sys/class/net/eth1/device/x", "");
        put("sys/class/net/eth1/address", "52:54:00:12:34:57");
        put("sys/class/net/eth0/device/x", "");
        put("sys/class/net/eth0/address", "52:54:00:12:34:56");
        check(Some("edge-525400123456"));
        put("proc/device-tree/serial-number", "1234BBBK5678\0");
        check(Some("edge-1234bbbk5678"));
        put("sys/class/dmi/id/product_serial", "None");
        check(Some("edge-1234bbbk5678"));
        put("sys/class/dmi/id/product_serial", "SRV 77/9");
        check(Some("edge-srv779"));
    }

    proptest! {
        #[test]
        fn whatever_firmware_says_is_a_label_of_a_name(text in ".{0,200}") {
            if let Some(serial) = serial(&text) {
                let name: crate::kickstart::HostName = format!("edge-{serial}").parse().unwrap();
                prop_assert!(name.to_string().len() <= 63);
            }
        }
    }
}
