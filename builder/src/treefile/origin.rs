//! `repos` and what belongs to it: whether a tree is made of Debian's packages or of RPMs, and where they come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Node, Parsed};
use super::finish::From;
use super::include::Merged;
use super::rpms::{self, Repository, Rpms};
use super::schema;

/// Where packages come from, beside Debian's suites.
pub struct Sources {
    /// deb822 files.
    pub files: Vec<PathBuf>,
    pub rpms: Option<Rpms>,
}

/// `kubernetes` is the file `kubernetes.sources` beside the treefile, or a section of a `.repo` file there.
pub fn sources(merged: &Merged) -> Parsed<Sources> {
    let from = From(merged);
    let (mut files, mut repos) = (Vec::new(), Vec::new());
    let nodes = merged
        .values
        .get("repos")
        .map_or(Ok(&[][..]), Node::items)?;
    for node in nodes {
        let path = merged
            .folder(node.file)
            .join(format!("{}.sources", repo_name(node)?));
        match path.exists() {
            true => files.push(path),
            false => repos.push(rpm_repo(node, merged)?),
        }
        if !files.is_empty() && !repos.is_empty() {
            return Err(node.error("a tree is made of RPMs or of Debian's packages, not of both"));
        }
    }
    if repos.is_empty() {
        return Ok(Sources { files, rpms: None });
    }
    if let Some(node) = merged.values.get("edge.suites") {
        return Err(node.error("'edge.suites' are Debian's, and 'repos' name repositories of RPMs"));
    }
    let rpms = Rpms {
        lockfile_repos: from.each("lockfile-repos", |node| rpm_repo(node, merged))?,
        vars: from.entries("repovars", |node| Ok(node.text()?.to_owned()))?,
        packages_of: packages_of(&from, &repos)?,
        repos,
    };
    Ok(Sources {
        files,
        rpms: Some(rpms),
    })
}

fn repo_name(node: &Node) -> Parsed<&str> {
    let name = node.word()?;
    match name.contains('/') {
        false => Ok(name),
        true => Err(node.error(format!(
            "repository '{name}' must be the name of a file beside the treefile, without '.sources', or of a section of a .repo file there"
        ))),
    }
}

fn rpm_repo(node: &Node, merged: &Merged) -> Parsed<Repository> {
    let (name, dir) = (repo_name(node)?, merged.folder(node.file));
    let found = rpms::find(dir, name).map_err(|e| node.error(format!("{e:#}")))?;
    found.ok_or_else(|| {
        let dir = dir.display();
        node.error(format!(
            "repository '{name}': there is no {name}.sources and no .repo file with [{name}] in '{dir}'"
        ))
    })
}

/// Entries of `repo-packages`: `{repo: NAME, packages: [...]}`.
fn packages_of(from: &From, repos: &[Repository]) -> Parsed<BTreeMap<String, Vec<String>>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Some(node) = from.0.values.get("repo-packages") else {
        return Ok(all);
    };
    for entry in node.items()? {
        let (mut repo, mut names) = (None, Vec::new());
        for (key, node) in entry.entries()? {
            match key.value.as_str() {
                "repo" => repo = Some(node),
                "packages" => {
                    for item in node.items()? {
                        names.extend(item.text()?.split_whitespace().map(str::to_owned));
                    }
                }
                other => return Err(key.error(schema::unknown(other, &["repo", "packages"]))),
            }
        }
        let repo = repo.ok_or_else(|| entry.error("repo-packages: the key 'repo' is missing"))?;
        let id = repo.text()?;
        if !repos.iter().any(|known| known.id == id) {
            return Err(repo.error(format!("repo-packages: '{id}' is not in 'repos'")));
        }
        all.entry(id.to_owned()).or_default().extend(names);
    }
    Ok(all)
}

/// A name, or anything else that dnf takes for a package.
pub fn rpm(node: &Node) -> Parsed<String> {
    let name = node.text()?;
    match name.is_empty() || name.starts_with('-') || name.contains([',', '\n']) {
        true => Err(node.error(format!("'{name}' is not a package name"))),
        false => Ok(name.to_owned()),
    }
}
