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
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}
