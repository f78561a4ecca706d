//! Helpers that boot and drive real machines.
