//! Boots and drives real machines. A [`lab::Lab`] composes one tree and one image per content of
//! the work tree; a [`node::Node`] is a running copy of that image beside a web server with a
//! published folder of its own.

pub use edge_build::machine::wait;

pub mod disc;
pub mod disk;
pub mod figures;
pub mod hardware;
pub mod journey;
pub mod lab;
pub mod lan;
pub mod netboot;
pub mod node;
pub mod rpms;
pub mod site;
pub mod status;
pub mod uboot;
pub mod usage;
pub mod variant;
pub mod vm;
pub mod web;
