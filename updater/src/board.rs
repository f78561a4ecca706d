//! What a tree says of the board it was made for: `/usr/lib/edge-ota/board.json`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::types::BoardName;

pub const PATH: &str = "usr/lib/edge-ota/board.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardFile {
    pub board: BoardName,
    pub boot: BootFlavour,
    /// Kernel arguments of the board and of the treefile.
    #[serde(default)]
    pub kargs: Vec<String>,
    /// The device tree that the kernel is given, below the kernel's `dtb/`: `am335x-boneblack.dtb`. Without it the
    /// firmware's own is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fdt: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootFlavour {
    Grub,
    Uboot,
}

/// Reads it from a tree: `/` or a deployment's folder.
pub fn load(tree: &Path) -> Result<BoardFile> {
    let path = tree.join(PATH);
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text).with_context(|| format!("parsing {}", path.display()))
}

pub fn parse(text: &[u8]) -> Result<BoardFile> {
    Ok(serde_json::from_slice(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_tree_is_named_where_there_is_one() {
        for text in [
            r#"{"board":"x86_64","boot":"grub","kargs":[]}"#,
            r#"{"board":"beaglebone-black","boot":"uboot","kargs":["quiet"],"fdt":"am335x-boneblack.dtb"}"#,
        ] {
            let board = parse(text.as_bytes()).unwrap();
            assert_eq!(board.fdt.is_some(), board.boot == BootFlavour::Uboot);
            assert_eq!(serde_json::to_string(&board).unwrap(), text);
        }
    }
}
