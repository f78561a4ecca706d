//! What a device reads and does: channel manifests, keys, the two slots, the sysroot.

pub mod board;
pub mod boot;
pub mod cmd;
pub mod decide;
pub mod disk;
pub mod durable;
pub mod install;
pub mod sysroot;
pub mod types;
