//! How a machine gets its first system without a person at its keyboard.

pub mod installer;
pub mod iso;
pub mod kickstart;
pub mod pxe;
mod ramdisk;
