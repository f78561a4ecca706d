//! Treefiles: what goes into a tree. rpm-ostree's keys and their meaning, ours under `edge:`.

mod accounts;
mod condition;
mod document;
mod finish;
mod fragment;
mod include;
mod origin;
mod pattern;
mod print;
pub mod rpms;
mod schema;
mod substitute;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use edge_ota::types::RefName;

pub use accounts::Check;
use condition::Value;
use include::Merged;
pub use pattern::Pattern;
use rpms::Rpms;
pub use values::{InitramfsMaker, KernelOption, KernelVersion};

/// Debian 13; its suites follow from it.
const RELEASEVER: u64 = 13;

/// A treefile with its includes merged in and its variables filled in. Every path exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treefile {
    /// The file that was asked for.
    pub path: PathBuf,
    pub reference: RefName,
    pub releasever: String,
    /// For the architecture asked for.
    pub packages: BTreeSet<String>,
    /// Must not be installed, whatever wants them.
    pub exclude_packages: Vec<String>,
    pub recommends: bool,
    pub documentation: bool,
    /// Whose translations are kept.
    pub install_langs: Vec<String>,
    /// deb822 files of a user's own repositories.
    pub repos: Vec<PathBuf>,
    /// The tree is made of RPMs, and not of Debian's packages.
    pub rpms: Option<Rpms>,
    pub units: Vec<String>,
    pub default_target: Option<String>,
    /// Texts of scripts, run in this order.
    pub postprocess: Vec<String>,
    pub postprocess_script: Option<PathBuf>,
    /// Programs of the build machine, run last, in this order.
    pub finalize: Vec<PathBuf>,
    /// Below the root of the tree, without a leading slash.
    pub remove_files: Vec<PathBuf>,
    pub remove_from_packages: Vec<RemoveFrom>,
    pub add_files: Vec<AddFile>,
    pub readonly_executables: bool,
    pub etc_group_members: Vec<String>,
    /// Users and groups get the numbers that they had.
    pub preserve_passwd: bool,
    pub check_passwd: Check,
    pub check_groups: Check,
    /// Who may be gone; `*` is everybody.
    pub ignore_removed_users: Vec<String>,
    pub ignore_removed_groups: Vec<String>,
    pub mutate_os_release: Option<String>,
    pub automatic_version_prefix: Option<String>,
    pub automatic_version_suffix: char,
    pub commit_metadata: BTreeMap<String, Metadata>,
    pub suites: Vec<Suite>,
    pub sysctls: BTreeMap<String, String>,
    pub kernel_arguments: Vec<String>,
    pub kernel_options: Vec<KernelOption>,
    pub kernel_min_version: KernelVersion,
    pub initramfs: InitramfsMaker,
    /// For dracut.
    pub initramfs_arguments: Vec<String>,
    /// Modules and folders of modules to keep; all of them where none is named.
    pub kernel_modules: Vec<String>,
    pub modules_load: Vec<String>,
    pub health_units: Vec<String>,
}

/// Files that a package brings and the tree does without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveFrom {
    pub package: String,
    pub patterns: Vec<Pattern>,
}

/// A file that is copied into the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddFile {
    pub source: PathBuf,
    /// Below the root of the tree, without a leading slash.
    pub target: PathBuf,
}

/// A Debian suite to install from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    pub name: String,
    pub components: Vec<String>,
    pub mirror: Option<String>,
    /// A keyring; Debian's own where there is none.
    pub signed_by: Option<PathBuf>,
}

/// A value of a commit's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata {
    Truth(bool),
    Number(u64),
    Text(String),
}

/// Reads a treefile and what it includes. `basearch` is RPM's word for the architecture.
pub fn load(path: &Path, basearch: &str) -> Result<Treefile> {
    finish::finish(&merged(path, basearch)?, path, basearch)
}

/// As [`load`], but as one JSON document, and whether or not a tree can be composed from it.
pub fn flatten(path: &Path, basearch: &str) -> Result<serde_json::Value> {
    Ok(print::json(&merged(path, basearch)?.values))
}

fn merged(path: &Path, basearch: &str) -> Result<Merged> {
    let mut merged = include::load(path, basearch)?;
    let releasever = merged.variables.entry("releasever".to_owned());
    releasever.or_insert(Value::Number(RELEASEVER));
    let filled = substitute::fill_in(&mut merged.values, &merged.variables);
    filled.map_err(|e| merged.located(e))?;
    Ok(merged)
}

#[cfg(test)]
mod tests;
