//! What a device reads and does: channel manifests, keys, the two slots, the sysroot.

pub mod cmd;
pub mod durable;
pub mod types;
