//! A folder from which machines start over the network and install themselves: what a TFTP or HTTP server serves as it
//! is. Everything in it is data made from templates, but for kernels and loaders, which are copied.

mod folder;
mod foreman;
mod grub;
pub mod host;
mod installer;
mod ipxe;
mod loaders;
pub mod orders;
mod servers;
mod template;
mod uboot;
pub mod url;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use crate::interrupt::WorkDir;
use crate::packages::mirrors::MirrorOptions;
use crate::progress::Progress;
use host::Key;
pub use installer::{Installer, System};
use orders::Orders;
use url::Base;

pub struct Request<'a> {
    /// The folders of `edge-build installer`, one for each architecture.
    pub installers: &'a [PathBuf],
    /// The folder of the boards.
    pub boards: &'a Path,
    /// Where machines find `out` by HTTP.
    pub url: &'a Base,
    /// For machines that `hosts` does not name; without it these do what the installer carries, or are left as they are.
    pub default: Option<Orders>,
    pub hosts: BTreeMap<Key, Orders>,
    /// More arguments for the installer's kernel.
    pub arguments: &'a [String],
    /// Where the packages of the loaders are unpacked, instead of being fetched.
    pub loaders: Option<&'a Path>,
    pub mirrors: &'a MirrorOptions,
    pub out: &'a Path,
    pub work: &'a WorkDir,
}

/// What was made, for pipelines.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub out: PathBuf,
    pub url: String,
    pub installers: Vec<Made>,
    pub hosts: Vec<String>,
    pub files: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Made {
    pub board: String,
    pub version: String,
    pub commit: String,
    /// Below the folder; named by its content.
    pub kernel: String,
}

/// Makes the folder, or brings one of an earlier run up to date while machines install from it.
pub fn make(request: &Request, progress: &Progress) -> Result<Summary> {
    let step = progress.step("reading the installers");
    let installers = installers(request)?;
    let plan = plan(request, &installers)?;
    step.done();
    let step = progress.step("collecting the boot loaders");
    let loaders = loaders::collect(request, &installers)?;
    step.done();
    let step = progress.step("writing the folder");
    let mut content = files(&plan);
    content.extend(copies(&installers));
    content.extend(loaders);
    if uboot::of_uboot(&installers).is_some() {
        let script = uboot::script(request.work)?;
        content.insert(uboot::SCRIPT.to_owned(), Content::Copy(script));
    }
    folder::write(request.out, &content)?;
    step.done();
    Ok(summary(request, &installers, content))
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Copy(PathBuf),
}

/// All that texts are made from.
pub struct Plan<'a> {
    pub url: &'a Base,
    pub installers: &'a [Installer],
    /// The arguments of a machine that nothing else is said of.
    pub default: Option<String>,
    pub hosts: BTreeMap<&'a Key, String>,
    /// The kickstarts, by their path below the folder.
    pub kickstarts: BTreeMap<String, String>,
    pub arguments: String,
}

impl Plan<'_> {
    fn installer(&self, system: System) -> Option<&Installer> {
        self.installers.iter().find(|one| one.system == system)
    }
}

/// The folder's texts by their paths in it. Pure.
pub fn files(plan: &Plan) -> BTreeMap<String, Content> {
    let mut all: BTreeMap<String, String> = plan.kickstarts.clone();
    all.extend(ipxe::files(plan));
    all.extend(grub::files(plan));
    all.extend(uboot::files(plan));
    all.extend(foreman::files(plan));
    all.extend(servers::files(plan));
    let texts = all.into_iter();
    texts
        .map(|(path, text)| (path, Content::Text(text)))
        .collect()
}

fn installers(request: &Request) -> Result<Vec<Installer>> {
    let mut all: Vec<Installer> = Vec::new();
    for dir in request.installers {
        let one = installer::load(dir, request.boards)?;
        if let Some(other) = all.iter().find(|other| other.system == one.system) {
            bail!(
                "{} and {} are both for {}: a loader cannot tell their boards apart; make a folder for each",
                other.dir.display(),
                one.dir.display(),
                one.system
            );
        }
        all.push(one);
    }
    all.sort_by_key(|one| one.system);
    Ok(all)
}

fn plan<'a>(request: &'a Request, installers: &'a [Installer]) -> Result<Plan<'a>> {
    let mut kickstarts = BTreeMap::new();
    let mut told = |name: &str, orders: &Orders| -> Result<String> {
        if let Orders::Kickstart(path) = orders {
            kickstarts.insert(orders::kickstart_path(name), orders::read_kickstart(path)?);
        }
        Ok(orders.arguments(name, request.url))
    };
    let default = request.default.as_ref();
    let default = default.map(|orders| told("default", orders)).transpose()?;
    let default = default.or_else(|| installers.iter().find_map(|one| one.carried.clone()));
    let mut hosts = BTreeMap::new();
    for (key, orders) in &request.hosts {
        hosts.insert(key, told(&key.file_name(), orders)?);
    }
    ensure!(
        default.is_some() || !hosts.is_empty(),
        "no machine is told what to install: give --kickstart, --host, or --source with --disk"
    );
    Ok(Plan {
        url: request.url,
        installers,
        default,
        hosts,
        kickstarts,
        arguments: request.arguments.join(" "),
    })
}

fn copies(installers: &[Installer]) -> impl Iterator<Item = (String, Content)> + '_ {
    installers.iter().flat_map(|one| {
        one.files()
            .into_iter()
            .map(|(path, from)| (path, Content::Copy(from)))
    })
}

fn summary(
    request: &Request,
    installers: &[Installer],
    content: BTreeMap<String, Content>,
) -> Summary {
    let made = |one: &Installer| Made {
        board: one.board.to_string(),
        version: one.version.clone(),
        commit: one.commit.to_string(),
        kernel: one.kernel(),
    };
    Summary {
        out: request.out.to_owned(),
        url: request.url.to_string(),
        installers: installers.iter().map(made).collect(),
        hosts: request.hosts.keys().map(ToString::to_string).collect(),
        files: content.into_keys().collect(),
    }
}

#[cfg(test)]
mod tests;
