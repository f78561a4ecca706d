//! Treefile to tree, tree to commit, commit to release and image.

pub mod board;
pub mod interrupt;
pub mod packages;
pub mod progress;
pub mod treefile;
