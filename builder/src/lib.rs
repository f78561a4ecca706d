//! Treefile to tree, tree to commit, commit to release and image.

pub mod image;
pub mod key;
pub mod release;
pub mod serve;
pub mod sign;
