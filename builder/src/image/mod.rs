pub mod filesystems;
pub mod layout;
