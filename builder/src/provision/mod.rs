//! How a node gets its first system.

pub mod pxe;
