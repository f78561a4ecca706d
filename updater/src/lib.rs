//! What a device reads and does: channel manifests, keys, the two slots, the sysroot.

pub mod board;
pub mod boot;
pub mod channel;
pub mod cmd;
pub mod config;
pub mod decide;
pub mod device;
pub mod disk;
pub mod durable;
pub mod etc;
pub mod exit;
pub mod fetch;
pub mod format;
pub mod health;
pub mod history;
pub mod install;
pub mod pull;
pub mod refusal;
pub mod signed;
pub mod state;
pub mod status;
pub mod sysroot;
pub mod trust;
pub mod types;
pub mod upgrade;
pub mod verdict;
