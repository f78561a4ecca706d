//! Treefile to tree, tree to commit, commit to release and image.

pub mod gate;
pub mod repo;
pub mod tree;
