//! GRUB's environment block: a header line, `key=value` lines, filled up with `#`. GRUB reads and
//! writes it without help; see "Environment block" in GRUB's manual for the format.

use std::collections::BTreeMap;

const HEADER: &str = "# GRUB Environment Block\n";

/// GRUB writes a block back into the sectors it was read from, so its size never changes.
pub const SIZE: usize = 1024;

pub type Vars = BTreeMap<String, String>;

/// `None` when the bytes are not an environment block.
pub fn parse(bytes: &[u8]) -> Option<Vars> {
    parse_lines(bytes.strip_prefix(HEADER.as_bytes())?)
}

/// The lines of a block; those that begin with `#` are comments.
pub fn parse_lines(bytes: &[u8]) -> Option<Vars> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut vars = Vars::new();
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (key, value) = line.split_once('=')?;
        vars.insert(key.to_owned(), value.to_owned());
    }
    Some(vars)
}

/// The lines in the order given, filled up to a multiple of [`SIZE`].
///
/// Keys and values must hold no newline and no backslash, which GRUB would read as an escape.
pub fn format(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::from(HEADER);
    for (key, value) in lines {
        debug_assert!(!value.contains(['\n', '\\']) && !key.contains(['\n', '\\', '=']));
        text.push_str(&format!("{key}={value}\n"));
    }
    let mut bytes = text.into_bytes();
    let size = bytes.len().next_multiple_of(SIZE);
    bytes.resize(size, b'#');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let block = format(&[("slot", "b"), ("options", "console=ttyS0 panic=5")]);
        assert_eq!(block.len(), SIZE);
        let vars = parse(&block).unwrap();
        assert_eq!(vars["options"], "console=ttyS0 panic=5");
        assert_eq!(vars.len(), 2);
    }

    #[test]
    fn refuses_what_is_no_block() {
        for bytes in [
            &b""[..],
            &[0; 1024],
            b"slot=b\n",
            b"# GRUB Environment Block\nnonsense\n####",
        ] {
            assert_eq!(parse(bytes), None);
        }
    }

    #[test]
    fn long_blocks_keep_whole_units() {
        let long = "x".repeat(1500);
        assert_eq!(format(&[("options", &long)]).len(), 2 * SIZE);
    }
}
