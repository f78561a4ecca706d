//! Treefile to tree, tree to commit, commit to release and image.

pub mod accounts;
pub mod board;
pub mod compose;
pub mod diff;
pub mod dpkg;
pub mod foreign;
pub mod gate;
pub mod image;
pub mod interrupt;
pub mod key;
pub mod lock;
pub mod machine;
pub mod owners;
pub mod packages;
pub mod progress;
pub mod release;
pub mod repo;
pub mod sbom;
pub mod serve;
pub mod sign;
pub mod size;
pub mod summary;
pub mod tree;
pub mod treefile;
pub mod version;
pub mod vm;
