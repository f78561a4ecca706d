//! Treefile to tree, tree to commit, commit to release and image.

pub mod board;
pub mod image;
pub mod interrupt;
pub mod key;
pub mod packages;
pub mod progress;
pub mod release;
pub mod serve;
pub mod sign;
pub mod treefile;
