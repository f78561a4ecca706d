//! GRUB. It reads and writes environment blocks (`envblk`) by itself.

/// The static script for the EFI system partition.
pub const SCRIPT: &str = include_str!("grub.cfg");
