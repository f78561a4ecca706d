//! Includes merged, variables and defaults filled in. As in rpm-ostree: the including file's scalars
//! win, the lists of included files come first, packages are a set.

use std::path::Path;

use anyhow::{Result, anyhow};
use edge_ota::types::RefName;

use super::Treefile;
use super::document::At;
use super::fragment::{EdgeFragment, Fragment, Suite};
use super::values::KernelVersion;

/// Debian 13; its suites follow from it.
const RELEASEVER: &str = "13";

/// The first kernel with everything that a node needs.
const KERNEL_MIN_VERSION: KernelVersion = KernelVersion {
    major: 4,
    minor: 19,
    patch: 0,
};

/// `base` with `over` on top of it.
pub fn then(base: Fragment, over: Fragment) -> Fragment {
    let mut arch_packages = base.arch_packages;
    for (arch, names) in over.arch_packages {
        arch_packages.entry(arch).or_default().extend(names);
    }
    Fragment {
        reference: over.reference.or(base.reference),
        releasever: over.releasever.or(base.releasever),
        packages: base.packages.into_iter().chain(over.packages).collect(),
        arch_packages,
        repos: joined(base.repos, over.repos),
        include: joined(base.include, over.include),
        units: joined(base.units, over.units),
        default_target: over.default_target.or(base.default_target),
        postprocess: joined(base.postprocess, over.postprocess),
        postprocess_script: over.postprocess_script.or(base.postprocess_script),
        remove_files: joined(base.remove_files, over.remove_files),
        add_files: joined(base.add_files, over.add_files),
        etc_group_members: joined(base.etc_group_members, over.etc_group_members),
        mutate_os_release: over.mutate_os_release.or(base.mutate_os_release),
        automatic_version_prefix: over
            .automatic_version_prefix
            .or(base.automatic_version_prefix),
        edge: edge_then(base.edge, over.edge),
    }
}

fn edge_then(base: EdgeFragment, over: EdgeFragment) -> EdgeFragment {
    EdgeFragment {
        suites: joined(base.suites, over.suites),
        sysctls: base.sysctls.into_iter().chain(over.sysctls).collect(),
        kernel_arguments: joined(base.kernel_arguments, over.kernel_arguments),
        kernel_options: joined(base.kernel_options, over.kernel_options),
        kernel_min_version: over.kernel_min_version.or(base.kernel_min_version),
        initramfs: over.initramfs.or(base.initramfs),
        kernel_modules: joined(base.kernel_modules, over.kernel_modules),
        modules_load: joined(base.modules_load, over.modules_load),
        health_units: joined(base.health_units, over.health_units),
    }
}

fn joined<T>(mut base: Vec<T>, over: Vec<T>) -> Vec<T> {
    base.extend(over);
    base
}

pub fn finish(mut f: Fragment, path: &Path, basearch: &str) -> Result<Treefile> {
    let file = path.display();
    let releasever = f.releasever.unwrap_or_else(|| RELEASEVER.to_owned());
    let reference = f.reference.ok_or_else(|| {
        anyhow!(
            "{file}: key 'ref' is missing: give the name of the branch, edge/13/${{basearch}}/node"
        )
    })?;
    let reference = reference_from(&reference, &releasever, basearch)
        .map_err(|e| anyhow!("{file}: key 'ref': {e}"))?;
    let mut packages = f.packages;
    packages.extend(f.arch_packages.remove(basearch).unwrap_or_default());
    if packages.is_empty() {
        return Err(anyhow!("{file}: key 'packages' is missing or empty"));
    }
    let mut suites = values(f.edge.suites);
    if suites.is_empty() {
        suites = default_suites();
    }
    Ok(Treefile {
        path: path.to_owned(),
        reference,
        releasever,
        packages,
        repos: values(f.repos),
        units: once(f.units),
        default_target: f.default_target,
        postprocess: f.postprocess,
        postprocess_script: f.postprocess_script.map(|at| at.value),
        remove_files: f.remove_files,
        add_files: values(f.add_files),
        etc_group_members: once(f.etc_group_members),
        mutate_os_release: f.mutate_os_release,
        automatic_version_prefix: f.automatic_version_prefix,
        suites,
        sysctls: f.edge.sysctls,
        kernel_arguments: f.edge.kernel_arguments,
        kernel_options: once(f.edge.kernel_options),
        kernel_min_version: f.edge.kernel_min_version.unwrap_or(KERNEL_MIN_VERSION),
        initramfs: f.edge.initramfs.unwrap_or_default(),
        kernel_modules: once(f.edge.kernel_modules),
        modules_load: once(f.edge.modules_load),
        health_units: once(f.edge.health_units),
    })
}

fn reference_from(written: &At<String>, releasever: &str, basearch: &str) -> Result<RefName> {
    let name = written
        .value
        .replace("${basearch}", basearch)
        .replace("${releasever}", releasever);
    if name.contains("${") {
        return Err(anyhow!(
            "unknown variable in '{name}' (known: ${{basearch}}, ${{releasever}})"
        ));
    }
    Ok(name.parse()?)
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

fn values<T>(items: Vec<At<T>>) -> Vec<T> {
    items.into_iter().map(|at| at.value).collect()
}

/// The first of equal items, in order.
fn once<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}
