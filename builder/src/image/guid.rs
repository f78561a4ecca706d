//! Ids as Microsoft's formats store them.

use anyhow::{Context, Result};

/// `8B7CA206-4790-…` as it is written.
pub fn big_endian(text: &str) -> Result<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).with_context(|| format!("'{text}' is no id"))?;
    Ok(number.to_be_bytes())
}

/// The first three fields are numbers, and stored as such.
pub fn little_endian(text: &str) -> Result<[u8; 16]> {
    let mut bytes = big_endian(text)?;
    for field in [0..4, 4..6, 6..8] {
        bytes[field].reverse();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_fields_are_turned_round() {
        // MS-DTYP 2.3.4.3 and the metadata region's id as it lies in a file.
        let id = "8B7CA206-4790-4B9A-B8FE-575F050F886E";
        let stored: [u8; 16] = [
            0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f,
            0x88, 0x6e,
        ];
        assert_eq!(little_endian(id).unwrap(), stored);
        assert_eq!(big_endian(id).unwrap()[..2], [0x8b, 0x7c]);
        assert!(big_endian("x").is_err());
    }
}
