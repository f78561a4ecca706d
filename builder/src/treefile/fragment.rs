//! One treefile, before its includes are merged in: text to `Fragment`, no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::document::{self, At, Kind, Node, ParseError};
use super::keys;
use super::values::{InitramfsMaker, KernelOption, KernelVersion};

type Parsed<T> = Result<T, ParseError>;

/// The keys of one treefile. Paths are joined to the folder of the treefile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    pub reference: Option<At<String>>,
    pub releasever: Option<String>,
    pub packages: BTreeSet<String>,
    pub arch_packages: BTreeMap<String, BTreeSet<String>>,
    pub repos: Vec<At<PathBuf>>,
    pub include: Vec<At<PathBuf>>,
    pub units: Vec<String>,
    pub default_target: Option<String>,
    pub postprocess: Vec<String>,
    pub postprocess_script: Option<At<PathBuf>>,
    pub remove_files: Vec<PathBuf>,
    pub add_files: Vec<At<AddFile>>,
    pub etc_group_members: Vec<String>,
    pub mutate_os_release: Option<String>,
    pub automatic_version_prefix: Option<String>,
    pub edge: EdgeFragment,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EdgeFragment {
    pub suites: Vec<At<Suite>>,
    pub sysctls: BTreeMap<String, String>,
    pub kernel_arguments: Vec<String>,
    pub kernel_options: Vec<KernelOption>,
    pub kernel_min_version: Option<KernelVersion>,
    pub initramfs: Option<InitramfsMaker>,
    pub kernel_modules: Vec<String>,
    pub modules_load: Vec<String>,
    pub health_units: Vec<String>,
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

/// Parses the text of a treefile in the folder `dir`.
pub fn parse(text: &str, dir: &Path) -> Parsed<Fragment> {
    let mut f = Fragment::default();
    for (key, node) in map(document::read(text)?)? {
        match key.value.as_str() {
            "ref" => {
                f.reference = Some(At {
                    line: node.line,
                    value: scalar(node)?,
                })
            }
            "releasever" => f.releasever = Some(scalar(node)?),
            "packages" => f.packages = packages(node)?,
            "repos" => f.repos = each(node, |n| repo(n, dir))?,
            "include" => f.include = one_or_list(node, |n| path_at(n, dir))?,
            "units" => f.units = each(node, unit)?,
            "default-target" => f.default_target = Some(target(node)?),
            "postprocess" => f.postprocess = each(node, scalar)?,
            "postprocess-script" => f.postprocess_script = Some(path_at(node, dir)?),
            "remove-files" => f.remove_files = each(node, in_tree)?,
            "add-files" => f.add_files = each(node, |n| add_file(n, dir))?,
            "etc-group-members" => f.etc_group_members = each(node, word)?,
            "mutate-os-release" => f.mutate_os_release = Some(scalar(node)?),
            "automatic-version-prefix" => f.automatic_version_prefix = Some(scalar(node)?),
            "edge" => f.edge = edge(node, dir)?,
            other => match other.strip_prefix("packages-") {
                Some(arch) if keys::ARCHITECTURES.contains(&arch) => {
                    f.arch_packages.insert(arch.to_owned(), packages(node)?);
                }
                Some(arch) => {
                    let known = keys::ARCHITECTURES.join(", ");
                    return err(
                        key.line,
                        format!("unknown architecture '{arch}' in key '{other}' (known: {known})"),
                    );
                }
                None => return err(key.line, keys::unknown(other, keys::TOP)),
            },
        }
    }
    Ok(f)
}

fn edge(node: Node, dir: &Path) -> Parsed<EdgeFragment> {
    let mut f = EdgeFragment::default();
    for (key, node) in map(node)? {
        match key.value.as_str() {
            "suites" => f.suites = each(node, |n| suite(n, dir))?,
            "initramfs" => f.initramfs = Some(parsed(node)?),
            "sysctls" => f.sysctls = sysctls(node)?,
            "kernel-arguments" => f.kernel_arguments = each(node, word)?,
            "kernel-options" => f.kernel_options = each(node, parsed)?,
            "kernel-min-version" => f.kernel_min_version = Some(parsed(node)?),
            "kernel-modules" => f.kernel_modules = modules(node)?,
            "modules-load" => f.modules_load = each(node, word)?,
            "health-units" => f.health_units = each(node, unit)?,
            other => return err(key.line, keys::unknown(other, keys::EDGE)),
        }
    }
    Ok(f)
}

fn suite(node: Node, dir: &Path) -> Parsed<At<Suite>> {
    let line = node.line;
    let (mut name, mut components, mut mirror, mut signed_by) = (None, None, None, None);
    for (key, node) in map(node)? {
        match key.value.as_str() {
            "suite" => name = Some(word(node)?),
            "components" => components = Some(one_or_list(node, word)?),
            "mirror" => mirror = Some(word(node)?.trim_end_matches('/').to_owned()),
            "signed-by" => signed_by = Some(path_at(node, dir)?.value),
            other => return err(key.line, keys::unknown(other, keys::SUITE)),
        }
    }
    let name = name.ok_or_else(|| ParseError::new(line, "a suite needs the key 'suite'"))?;
    let components = components.unwrap_or_else(|| vec!["main".to_owned()]);
    Ok(At {
        line,
        value: Suite {
            name,
            components,
            mirror,
            signed_by,
        },
    })
}

fn sysctls(node: Node) -> Parsed<BTreeMap<String, String>> {
    map(node)?
        .into_iter()
        .map(|(key, node)| Ok((key.value, scalar(node)?)))
        .collect()
}

fn packages(node: Node) -> Parsed<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for item in list(node)? {
        let line = item.line;
        for name in scalar(item)?.split_whitespace() {
            if !is_package(name) {
                return err(line, format!("'{name}' is not a package name"));
            }
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

fn is_package(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-._:=~/".contains(&b))
}

/// `kubernetes` is the file `kubernetes.sources` beside the treefile.
fn repo(node: Node, dir: &Path) -> Parsed<At<PathBuf>> {
    let line = node.line;
    let name = word(node)?;
    if name.contains('/') {
        return err(
            line,
            format!(
                "repository '{name}' must be the name of a file beside the treefile, without '.sources'"
            ),
        );
    }
    Ok(At {
        line,
        value: dir.join(format!("{name}.sources")),
    })
}

fn path_at(node: Node, dir: &Path) -> Parsed<At<PathBuf>> {
    Ok(At {
        line: node.line,
        value: dir.join(scalar(node)?),
    })
}

fn unit(node: Node) -> Parsed<String> {
    const KINDS: [&str; 6] = ["service", "socket", "timer", "target", "mount", "path"];
    let line = node.line;
    let name = word(node)?;
    match name.rsplit_once('.') {
        Some((stem, kind)) if !stem.is_empty() && KINDS.contains(&kind) => Ok(name),
        _ => err(
            line,
            format!("'{name}' is not a unit: write '{name}.service'"),
        ),
    }
}

/// Modules, folders of them (`fs/nls/`), or `all`; an entry may hold several.
fn modules(node: Node) -> Parsed<Vec<String>> {
    let mut words = Vec::new();
    for item in list(node)? {
        let line = item.line;
        for word in scalar(item)?.split_whitespace() {
            if !is_module(word) {
                return err(
                    line,
                    format!("'{word}' is not a module or a folder: write 'ext4', or 'fs/nls/'"),
                );
            }
            words.push(word.to_owned());
        }
    }
    Ok(words)
}

fn is_module(word: &str) -> bool {
    let folder = word.strip_suffix('/');
    let mut parts = folder.unwrap_or(word).split('/');
    (folder.is_some() || !word.contains('/')) && parts.all(|p| !p.is_empty() && !p.starts_with('.'))
}

fn target(node: Node) -> Parsed<String> {
    let line = node.line;
    let name = word(node)?;
    if name.ends_with(".target") {
        Ok(name)
    } else {
        err(
            line,
            format!("'{name}' is not a target: write '{name}.target'"),
        )
    }
}

/// A path in the tree, relative to its root.
fn in_tree(node: Node) -> Parsed<PathBuf> {
    let line = node.line;
    let text = scalar(node)?;
    let path: PathBuf = Path::new(&text)
        .components()
        .filter(|c| !matches!(c, Component::RootDir | Component::CurDir))
        .collect();
    if path.as_os_str().is_empty()
        || path
            .components()
            .any(|c| !matches!(c, Component::Normal(_)))
    {
        return err(line, format!("'{text}' is not a path inside the tree"));
    }
    Ok(path)
}

fn add_file(node: Node, dir: &Path) -> Parsed<At<AddFile>> {
    let line = node.line;
    let mut pair = list(node)?.into_iter();
    match (pair.next(), pair.next(), pair.next()) {
        (Some(from), Some(to), None) => {
            let value = AddFile {
                source: dir.join(scalar(from)?),
                target: in_tree(to)?,
            };
            Ok(At { line, value })
        }
        _ => err(line, "add-files takes pairs: [source, target]"),
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(node: Node) -> Parsed<T> {
    let line = node.line;
    scalar(node)?
        .parse()
        .map_err(|e: T::Err| ParseError::new(line, e.to_string()))
}

fn map(node: Node) -> Parsed<Vec<(At<String>, Node)>> {
    match node.kind {
        Kind::Map(entries) => Ok(entries),
        Kind::Null => Ok(Vec::new()),
        _ => err(node.line, "keys and values are expected here"),
    }
}

fn list(node: Node) -> Parsed<Vec<Node>> {
    match node.kind {
        Kind::List(items) => Ok(items),
        Kind::Null => Ok(Vec::new()),
        _ => err(node.line, "a list is expected here"),
    }
}

fn each<T>(node: Node, read: impl Fn(Node) -> Parsed<T>) -> Parsed<Vec<T>> {
    list(node)?.into_iter().map(read).collect()
}

fn one_or_list<T>(node: Node, read: impl Fn(Node) -> Parsed<T>) -> Parsed<Vec<T>> {
    match node.kind {
        Kind::Scalar(_) => Ok(vec![read(node)?]),
        _ => each(node, read),
    }
}

fn scalar(node: Node) -> Parsed<String> {
    match node.kind {
        Kind::Scalar(text) if !text.is_empty() => Ok(text),
        _ => err(node.line, "a text is expected here"),
    }
}

fn word(node: Node) -> Parsed<String> {
    let line = node.line;
    let text = scalar(node)?;
    if text.contains(char::is_whitespace) {
        err(line, format!("'{text}' must be one word"))
    } else {
        Ok(text)
    }
}

fn err<T>(line: usize, message: impl Into<String>) -> Parsed<T> {
    Err(ParseError::new(line, message))
}

#[cfg(test)]
mod tests;
