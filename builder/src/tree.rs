//! From an unpacked root file system to a folder that can be committed.
//!
//! The order: [`trim::apply`], [`layout::scrub`], [`node::apply`], [`layout::apply`], [`kernel::check`],
//! [`initramfs::build`] or [`dracut::build`].

pub mod abi;
pub mod bios;
pub mod cpio;
pub mod dracut;
pub mod elf;
pub mod initramfs;
pub mod kernel;
pub mod layout;
pub mod modules;
pub mod node;
pub mod packing;
pub mod rooted;
pub mod selinux;
pub mod trim;
pub mod users;
pub mod var;
