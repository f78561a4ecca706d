//! Treefiles: what goes into a tree. rpm-ostree's keys and their meaning, ours under `edge:`.

mod document;
mod fragment;
mod keys;
mod merge;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use edge_ota::types::RefName;

use document::ParseError;
pub use fragment::{AddFile, Suite};
use fragment::{Fragment, parse};
pub use values::{InitramfsMaker, KernelOption, KernelVersion};

const MAX_INCLUDE_DEPTH: usize = 16;

/// A treefile with its includes merged in and its variables filled in. Every path exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treefile {
    /// The file that was asked for.
    pub path: PathBuf,
    pub reference: RefName,
    pub releasever: String,
    /// For the architecture asked for.
    pub packages: BTreeSet<String>,
    /// deb822 files of a user's own repositories.
    pub repos: Vec<PathBuf>,
    pub units: Vec<String>,
    pub default_target: Option<String>,
    /// Texts of scripts, run in this order.
    pub postprocess: Vec<String>,
    pub postprocess_script: Option<PathBuf>,
    /// Below the root of the tree, without a leading slash.
    pub remove_files: Vec<PathBuf>,
    pub add_files: Vec<AddFile>,
    pub etc_group_members: Vec<String>,
    pub mutate_os_release: Option<String>,
    pub automatic_version_prefix: Option<String>,
    pub suites: Vec<Suite>,
    pub sysctls: BTreeMap<String, String>,
    pub kernel_arguments: Vec<String>,
    pub kernel_options: Vec<KernelOption>,
    pub kernel_min_version: KernelVersion,
    pub initramfs: InitramfsMaker,
    /// Modules and folders of modules to keep; all of them where none is named.
    pub kernel_modules: Vec<String>,
    pub modules_load: Vec<String>,
    pub health_units: Vec<String>,
}

/// Reads a treefile and what it includes. `basearch` is RPM's word for the architecture.
pub fn load(path: &Path, basearch: &str) -> Result<Treefile> {
    let mut opened = Opened::default();
    opened.enter(path)?;
    merge::finish(load_with_includes(path, &mut opened)?, path, basearch)
}

/// The files being read, the outermost first, and every file read so far.
#[derive(Default)]
struct Opened {
    chain: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

impl Opened {
    fn enter(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let real = path
            .canonicalize()
            .with_context(|| format!("opening treefile {shown}"))?;
        if self.chain.contains(&real) {
            bail!("treefile {shown} includes itself");
        }
        if self.chain.len() >= MAX_INCLUDE_DEPTH {
            bail!("treefile {shown} is included more than {MAX_INCLUDE_DEPTH} files deep");
        }
        if !self.seen.insert(real.clone()) {
            bail!("treefile {shown} is included twice");
        }
        self.chain.push(real);
        Ok(())
    }
}

fn load_with_includes(path: &Path, opened: &mut Opened) -> Result<Fragment> {
    let own = read(path)?;
    let mut merged = Fragment::default();
    for include in &own.include {
        opened
            .enter(&include.value)
            .map_err(|e| anyhow!("{}:{}: include: {e:#}", path.display(), include.line))?;
        merged = merge::then(merged, load_with_includes(&include.value, opened)?);
    }
    opened.chain.pop();
    Ok(merge::then(merged, own))
}

/// One file, with its errors located in it.
fn read(path: &Path) -> Result<Fragment> {
    let text =
        fs::read_to_string(path).with_context(|| format!("reading treefile {}", path.display()))?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let located = |e: ParseError| anyhow!("{}:{}: {}", path.display(), e.line, e.message);
    match path.extension().and_then(|e| e.to_str()) {
        Some("yaml" | "yml") => {}
        Some("json") => check_json(&text).map_err(located)?,
        _ => bail!(
            "treefile {} must end in .yaml, .yml or .json",
            path.display()
        ),
    }
    let fragment = parse(&text, dir).map_err(located)?;
    check_paths(&fragment).map_err(located)?;
    Ok(fragment)
}

/// JSON is read as YAML, which would let more pass.
fn check_json(text: &str) -> Result<(), ParseError> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(drop)
        .map_err(|e| ParseError::new(e.line(), e.to_string()))
}

/// What a treefile names beside itself must be there.
fn check_paths(f: &Fragment) -> Result<(), ParseError> {
    let repos = f
        .repos
        .iter()
        .map(|r| ("repository file", r.line, &r.value));
    let scripts = f
        .postprocess_script
        .iter()
        .map(|s| ("script", s.line, &s.value));
    let files = f
        .add_files
        .iter()
        .map(|a| ("file", a.line, &a.value.source));
    let suites = f.edge.suites.iter();
    let keys = suites.filter_map(|s| s.value.signed_by.as_ref().map(|k| ("keyring", s.line, k)));
    for (what, line, path) in repos.chain(scripts).chain(files).chain(keys) {
        if let Err(e) = fs::metadata(path) {
            return Err(ParseError::new(
                line,
                format!("{what} {}: {e}", path.display()),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
