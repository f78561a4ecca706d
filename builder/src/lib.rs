//! Treefile to tree, tree to commit, commit to release and image.

pub mod interrupt;
pub mod progress;
pub mod treefile;
