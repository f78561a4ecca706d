//! Packages of boot loaders for the network: fetched and unpacked by the host's apt and dpkg, never installed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

use super::mirrors::{self, MirrorOptions};
use super::resolve::{self, Settings};
use super::sources;
use crate::interrupt;
use crate::treefile::Suite;

/// The suite whose kernels the loaders start; signed loaders go with it.
const SUITE: &str = "trixie";

/// Unpacks each package into a folder of its name in `dir`.
pub fn fetch(packages: &[&str], arch: &str, options: &MirrorOptions, dir: &Path) -> Result<()> {
    let suite = Suite {
        name: SUITE.to_owned(),
        components: vec!["main".to_owned()],
        mirror: None,
        signed_by: None,
    };
    let uri = mirrors::resolve(&suite, options, &mirrors::of_this_machine()?)?;
    let source = sources::of_suite(&suite, uri, options, Path::new("the boot loaders"))?;
    let settings = Settings {
        arch,
        recommends: false,
    };
    let config = resolve::configure(&dir.join("apt"), &[source.line()], &settings)?;
    apt(&config, dir, &["update"])?;
    let download: Vec<&str> = [&["download"], packages].concat();
    apt(&config, dir, &download)?;
    for package in packages {
        interrupt::check()?;
        unpack(package, dir)?;
    }
    Ok(())
}

fn apt(config: &Path, dir: &Path, arguments: &[&str]) -> Result<()> {
    Cmd::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .current_dir(dir)
        .env("APT_CONFIG", config)
        .env("LC_ALL", "C.UTF-8")
        .run()
        .context("fetching the boot loaders")
}

fn unpack(package: &str, dir: &Path) -> Result<()> {
    let begins = format!("{package}_");
    let listed = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    for entry in listed {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&begins) && name.ends_with(".deb") {
            let deb = Cmd::new("dpkg-deb").arg("-x").arg(&path);
            return deb.arg(dir.join(package)).run();
        }
    }
    bail!("apt has fetched no package {package}")
}
