//! What a device reads and does: channel manifests, keys, the two slots, the sysroot.

pub mod boot;
pub mod cmd;
pub mod disk;
pub mod durable;
pub mod types;
