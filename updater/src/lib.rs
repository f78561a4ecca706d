//! What a device reads and does: channel manifests, keys, the two slots, the sysroot.

pub mod channel;
pub mod cmd;
pub mod config;
pub mod durable;
pub mod exit;
pub mod fetch;
pub mod format;
pub mod history;
pub mod refusal;
pub mod signed;
pub mod state;
pub mod trust;
pub mod types;
