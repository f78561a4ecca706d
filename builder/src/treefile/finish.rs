//! Merged values become a [`Treefile`]: each read by its grammar, defaults filled in. What cannot be done here is an
//! error, never left out in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, anyhow};
use edge_ota::types::RefName;

use super::accounts::{self, Check, Of};
use super::condition::Value;
use super::document::{Node, Parsed};
use super::include::Merged;
use super::origin::{self, Sources};
use super::schema::{self, Here};
use super::values::{InitramfsMaker, KernelVersion};
use super::{AddFile, Metadata, RemoveFrom, Suite, Treefile};

/// The first kernel with everything that a node needs.
const KERNEL_MIN_VERSION: KernelVersion = KernelVersion {
    major: 4,
    minor: 19,
    patch: 0,
};

/// Where add-files may put something, and where not: the rest belongs to the machine, or OSTree does not keep it.
const PLACES: [&str; 6] = ["usr", "etc", "bin", "sbin", "lib", "lib64"];
const NO_PLACE: &str = "usr/local";

pub fn finish(merged: &Merged, path: &Path, basearch: &str) -> Result<Treefile> {
    let sources = origin::sources(merged).map_err(|e| merged.located(e))?;
    refuse(merged, sources.rpms.is_some()).map_err(|e| merged.located(e))?;
    let file = path.display();
    let reference = merged.values.get("ref").ok_or_else(|| {
        anyhow!(
            "{file}: key 'ref' is missing: give the name of the branch, edge/13/${{basearch}}/node"
        )
    })?;
    let reference = reference.text().and_then(|text| {
        text.parse::<RefName>()
            .map_err(|e| reference.error(format!("ref: {e}")))
    });
    let reference = reference.map_err(|e| merged.located(e))?;
    let tree = read(merged, path, reference, basearch, sources);
    let tree = tree.map_err(|e| merged.located(e))?;
    if tree.rpms.is_some() && !merged.values.contains_key("releasever") {
        return Err(anyhow!(
            "{file}: key 'releasever' is missing: say which release the RPMs are of"
        ));
    }
    let initramfs = (tree.initramfs, tree.initramfs_arguments.is_empty());
    if initramfs == (InitramfsMaker::Own, false) {
        return Err(anyhow!(
            "{file}: initramfs-args are for dracut: set 'initramfs: dracut' under 'edge'"
        ));
    }
    if let Some(name) = tree
        .exclude_packages
        .iter()
        .find(|n| tree.packages.contains(*n))
    {
        return Err(anyhow!(
            "{file}: '{name}' is in packages and in exclude-packages"
        ));
    }
    if tree.packages.is_empty() {
        return Err(anyhow!("{file}: key 'packages' is missing or empty"));
    }
    Ok(tree)
}

/// Keys whose value asks for what is not done here.
fn refuse(merged: &Merged, of_rpms: bool) -> Parsed<()> {
    for key in schema::all() {
        let Some(node) = merged.values.get(key.name) else {
            continue;
        };
        let why = match key.here {
            Here::Done => continue,
            Here::Only(value, _) if node.text() == Ok(value) => continue,
            Here::Only(value, why) => format!("{why} (only '{value}' is possible)"),
            Here::Never(why) => why.to_owned(),
            Here::Rpms(value) if of_rpms || node.text() == Ok(value) => continue,
            Here::Rpms(_) => schema::OF_RPMS.to_owned(),
        };
        return Err(node.error(format!("'{}' cannot be done here: {why}", key.name)));
    }
    Ok(())
}

fn read(
    merged: &Merged,
    path: &Path,
    reference: RefName,
    basearch: &str,
    sources: Sources,
) -> Parsed<Treefile> {
    let from = From(merged);
    let package = match sources.rpms {
        Some(_) => origin::rpm,
        None => package,
    };
    if let Some(node) = merged
        .values
        .get("basearch")
        .filter(|n| n.text() != Ok(basearch))
    {
        return Err(node.error(format!("basearch is {basearch}, by the board")));
    }
    let releasever = merged.variables.get("releasever").map(Value::to_string);
    let suites = from.each("edge.suites", |n| suite(n, merged))?;
    Ok(Treefile {
        path: path.to_owned(),
        reference,
        releasever: releasever.unwrap_or_default(),
        packages: from.each("packages", package)?.into_iter().collect(),
        exclude_packages: once(from.each("exclude-packages", package)?),
        recommends: from.truth("recommends"),
        documentation: from.truth("documentation"),
        install_langs: once(from.each("install-langs", language)?),
        repos: sources.files,
        rpms: sources.rpms,
        units: once(from.each("units", unit)?),
        default_target: from.one("default-target", target)?,
        postprocess: from.each("postprocess", |n| Ok(n.text()?.to_owned()))?,
        postprocess_script: from.one("postprocess-script", |n| beside("script", n, merged))?,
        finalize: merged.finalize.values().cloned().collect(),
        remove_files: from.each("remove-files", in_tree)?,
        remove_from_packages: from.each("remove-from-packages", remove_from)?,
        add_files: from.each("add-files", |n| add_file(n, merged))?,
        readonly_executables: from.truth("readonly-executables"),
        etc_group_members: once(from.each("etc-group-members", word)?),
        preserve_passwd: from.truth_or("preserve-passwd", true),
        check_passwd: from.check("check-passwd", Of::Users)?,
        check_groups: from.check("check-groups", Of::Groups)?,
        ignore_removed_users: from.each("ignore-removed-users", word)?,
        ignore_removed_groups: from.each("ignore-removed-groups", word)?,
        mutate_os_release: from.one("mutate-os-release", |n| Ok(n.text()?.to_owned()))?,
        automatic_version_prefix: from
            .one("automatic-version-prefix", |n| Ok(n.text()?.to_owned()))?,
        automatic_version_suffix: from.one("automatic-version-suffix", suffix)?.unwrap_or('.'),
        commit_metadata: commit_metadata(&from)?,
        suites: if suites.is_empty() {
            default_suites()
        } else {
            suites
        },
        sysctls: from.entries("edge.sysctls", |n| Ok(n.text()?.to_owned()))?,
        kernel_arguments: from.each("edge.kernel-arguments", word)?,
        kernel_options: once(from.each("edge.kernel-options", parsed)?),
        kernel_min_version: from
            .one("edge.kernel-min-version", parsed)?
            .unwrap_or(KERNEL_MIN_VERSION),
        initramfs: from.one("edge.initramfs", parsed)?.unwrap_or_default(),
        initramfs_arguments: from.each("initramfs-args", |n| Ok(n.text()?.to_owned()))?,
        kernel_modules: once(from.each("edge.kernel-modules", module)?),
        modules_load: once(from.each("edge.modules-load", word)?),
        health_units: once(from.each("edge.health-units", unit)?),
    })
}

/// Values by the names of their keys.
pub struct From<'a>(pub &'a Merged);

impl From<'_> {
    pub fn one<T>(&self, key: &str, read: impl Fn(&Node) -> Parsed<T>) -> Parsed<Option<T>> {
        self.0.values.get(key).map(read).transpose()
    }

    pub fn each<T>(&self, key: &str, read: impl Fn(&Node) -> Parsed<T>) -> Parsed<Vec<T>> {
        match self.0.values.get(key) {
            Some(node) => node.items()?.iter().map(read).collect(),
            None => Ok(Vec::new()),
        }
    }

    pub fn entries<T>(
        &self,
        key: &str,
        read: impl Fn(&Node) -> Parsed<T>,
    ) -> Parsed<BTreeMap<String, T>> {
        let entries = match self.0.values.get(key) {
            Some(node) => node.entries()?,
            None => &[],
        };
        let entries = entries.iter();
        entries
            .map(|(name, node)| Ok((name.value.clone(), read(node)?)))
            .collect()
    }

    /// False where nothing is said.
    fn truth(&self, key: &str) -> bool {
        self.truth_or(key, false)
    }

    fn truth_or(&self, key: &str, unsaid: bool) -> bool {
        let node = self.0.values.get(key);
        node.map_or(unsaid, |node| node.text() == Ok("true"))
    }

    fn check(&self, key: &str, of: Of) -> Parsed<Check> {
        let read = |node: &Node| accounts::check(node, of, |n| beside("file", n, self.0));
        Ok(self.one(key, read)?.unwrap_or_default())
    }
}

fn suite(node: &Node, merged: &Merged) -> Parsed<Suite> {
    let (mut name, mut components, mut mirror, mut signed_by) = (None, None, None, None);
    for (key, node) in node.entries()? {
        match key.value.as_str() {
            "suite" => name = Some(word(node)?),
            "components" => {
                let words: Parsed<Vec<_>> = node.one_or_items()?.iter().map(word).collect();
                components = Some(words?);
            }
            "mirror" => mirror = Some(node.word()?.trim_end_matches('/').to_owned()),
            "signed-by" => signed_by = Some(beside("keyring", node, merged)?),
            other => return Err(key.error(schema::unknown(other, schema::SUITE))),
        }
    }
    Ok(Suite {
        name: name.ok_or_else(|| node.error("a suite needs the key 'suite'"))?,
        components: components.unwrap_or_else(|| vec!["main".to_owned()]),
        mirror,
        signed_by,
    })
}

fn package(node: &Node) -> Parsed<String> {
    let name = node.text()?;
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._:=~/".contains(&b);
    if name.contains(char::is_whitespace) {
        return Err(node.error(format!(
            "'{name}' asks for a range of versions: apt takes one, '{}=VERSION'",
            name.split_whitespace().next().unwrap_or_default()
        )));
    }
    match begins && name.bytes().all(allowed) {
        true => Ok(name.to_owned()),
        false => Err(node.error(format!("'{name}' is not a package name"))),
    }
}

/// `de`, `pt_BR`: a folder of /usr/share/locale.
fn language(node: &Node) -> Parsed<String> {
    let name = node.word()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_@.-".contains(&b);
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(allowed) {
        true => Ok(name.to_owned()),
        false => Err(node.error(format!("'{name}' is not a language: write 'de' or 'pt_BR'"))),
    }
}

fn beside(what: &str, node: &Node, merged: &Merged) -> Parsed<PathBuf> {
    there(what, node, merged.folder(node.file).join(node.text()?))
}

fn there(what: &str, node: &Node, path: PathBuf) -> Parsed<PathBuf> {
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(e) => Err(node.error(format!("{what} {}: {e}", path.display()))),
    }
}

fn unit(node: &Node) -> Parsed<String> {
    const KINDS: [&str; 6] = ["service", "socket", "timer", "target", "mount", "path"];
    let name = node.word()?;
    match name.rsplit_once('.') {
        Some((stem, kind)) if !stem.is_empty() && KINDS.contains(&kind) => Ok(name.to_owned()),
        _ => Err(node.error(format!("'{name}' is not a unit: write '{name}.service'"))),
    }
}

/// A module, a folder of them (`fs/nls/`), or `all`.
fn module(node: &Node) -> Parsed<String> {
    let word = node.text()?;
    let folder = word.strip_suffix('/');
    let mut parts = folder.unwrap_or(word).split('/');
    let named = folder.is_some() || !word.contains('/');
    match named && parts.all(|p| !p.is_empty() && !p.starts_with('.')) {
        true => Ok(word.to_owned()),
        false => Err(node.error(format!(
            "'{word}' is not a module or a folder: write 'ext4', or 'fs/nls/'"
        ))),
    }
}

fn target(node: &Node) -> Parsed<String> {
    let name = node.word()?;
    match name.ends_with(".target") {
        true => Ok(name.to_owned()),
        false => Err(node.error(format!("'{name}' is not a target: write '{name}.target'"))),
    }
}

fn suffix(node: &Node) -> Parsed<char> {
    let text = node.text()?;
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) if one.is_ascii() => Ok(one),
        _ => Err(node.error(format!(
            "automatic-version-suffix is one ASCII character, not '{text}'"
        ))),
    }
}

fn commit_metadata(from: &From) -> Parsed<BTreeMap<String, Metadata>> {
    const KEY: &str = "add-commit-metadata";
    let entries = from.0.values.get(KEY).map_or(Ok(&[][..]), Node::entries)?;
    for (name, _) in entries {
        let key = name.value.as_str();
        if key == "version" || key.starts_with("ostree.") || key.starts_with("edge-ota.") {
            return Err(name.error(format!("{KEY}: '{key}' is filled in by edge-build")));
        }
    }
    from.entries(KEY, |node| {
        Ok(match Value::read(node)? {
            Value::Truth(value) => Metadata::Truth(value),
            Value::Number(value) => Metadata::Number(value),
            Value::Text(value) => Metadata::Text(value),
        })
    })
}

/// A path in the tree, relative to its root.
fn in_tree(node: &Node) -> Parsed<PathBuf> {
    let text = node.text()?;
    let path: PathBuf = Path::new(text)
        .components()
        .filter(|c| !matches!(c, Component::RootDir | Component::CurDir))
        .collect();
    let inside = |c: Component| matches!(c, Component::Normal(_));
    match path.as_os_str().is_empty() || !path.components().all(inside) {
        true => Err(node.error(format!("'{text}' is not a path inside the tree"))),
        false => Ok(path),
    }
}

fn add_file(node: &Node, merged: &Merged) -> Parsed<AddFile> {
    let [from, to] = node.items()? else {
        return Err(node.error("add-files takes pairs: [source, target]"));
    };
    let target = in_tree(to)?;
    let placed = PLACES.iter().any(|place| target.starts_with(place));
    if !placed || target.starts_with(NO_PLACE) {
        return Err(to.error(format!(
            "add-files: /{} is no part of a release: it must be in /usr (but not /{NO_PLACE}) or /etc",
            target.display()
        )));
    }
    Ok(AddFile {
        source: beside("file", from, merged)?,
        target,
    })
}

fn remove_from(node: &Node) -> Parsed<RemoveFrom> {
    let [name, patterns @ ..] = node.items()? else {
        return Err(
            node.error("remove-from-packages takes lists: [package, regular expression, …]")
        );
    };
    let patterns: Parsed<Vec<_>> = patterns.iter().map(parsed).collect();
    Ok(RemoveFrom {
        package: word(name)?,
        patterns: patterns?,
    })
}

fn word(node: &Node) -> Parsed<String> {
    Ok(node.word()?.to_owned())
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(node: &Node) -> Parsed<T> {
    node.text()?
        .parse()
        .map_err(|e: T::Err| node.error(e.to_string()))
}

/// Debian 13 with its security and stable updates.
fn default_suites() -> Vec<Suite> {
    ["trixie", "trixie-updates", "trixie-security"]
        .map(|name| Suite {
            name: name.to_owned(),
            components: vec!["main".to_owned()],
            mirror: None,
            signed_by: None,
        })
        .into()
}

/// The first of equal items, in order.
fn once<T: Ord + Clone>(items: Vec<T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let mut new = |item: &T| seen.insert(item.clone());
    items.into_iter().filter(|item| new(item)).collect()
}
