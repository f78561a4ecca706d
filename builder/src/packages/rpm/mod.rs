//! Trees of RPMs: dnf resolves and fetches, rpm installs within walls.

mod dnf;
mod fetch;
mod file;
mod keys;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use edge_ota::cmd::Cmd;

use super::{Package, Request, apt, firmware, unpack};
use crate::board;
use crate::foreign;
use crate::interrupt;
use crate::lock::Lock;
use crate::progress::{Progress, Step};
use crate::treefile::rpms::Rpms;
use fetch::{fetch, fetch_locked, snapshot};
use file::{Rpm, local_files, locals, sha256, texts};

/// Rises when the same RPMs give another layer.
const FORMAT: u32 = 1;

/// How many lines of what rpm and scripts said are shown of a failure.
const TOLD: usize = 6;

const FETCHING: &str = "fetching packages";

const SCRIPT: &str = include_str!("install.sh");

pub struct Prepared {
    /// Files of the cache or of the user's.
    rpms: Vec<PathBuf>,
    script: String,
    options: Vec<String>,
    /// Of the newest package: what rpm notes as the time of the installation.
    built: u64,
    emulated: bool,
    pub key: String,
}

/// The lock of what a compose would install now.
pub fn resolve(request: &Request, rpms: &Rpms, progress: &Progress) -> Result<Lock> {
    let mut step = progress.step(FETCHING);
    let found = fetch(request, rpms, &mut step)?;
    step.done();
    let locked = |all: Vec<Rpm>| all.into_iter().map(|rpm| rpm.locked).collect();
    Ok(Lock::new(
        request.board.name.clone(),
        snapshot(&request.cache.join("dnf"), &rpms.repos)?,
        locked(found.packages),
        locked(found.firmware),
        locals(&local_files(request)?),
    ))
}

pub fn prepare(request: &Request, rpms: &Rpms, progress: &Progress) -> Result<Prepared> {
    let emulated = foreign::is_emulated(Path::new("/"), &request.board.arch)?;
    let mut step = progress.step(FETCHING);
    let found = match request.lock {
        None => fetch(request, rpms, &mut step)?,
        Some(lock) => fetch_locked(request, rpms, lock, &mut step)?,
    };
    let local = local_files(request)?;
    if let Some(lock) = request.lock {
        lock.check_local(&locals(&local))?;
    }
    let all = || found.packages.iter().chain(&local);
    step.done_with(&format!("{} packages", all().count()));
    let script = format!(
        "{SCRIPT}{}{TAIL}",
        place_firmware(request, &found.firmware)?
    );
    let options = options(request);
    let sums: BTreeSet<&str> = all().map(|rpm| rpm.locked.sha256.as_str()).collect();
    let mut text = format!("rpms {FORMAT}\n{script}\n{}\n", options.join("\n"));
    for sum in sums
        .into_iter()
        .chain(found.firmware.iter().map(|rpm| rpm.locked.sha256.as_str()))
    {
        let _ = writeln!(text, "{sum}");
    }
    Ok(Prepared {
        key: sha256(text.as_bytes()),
        built: all().map(|rpm| rpm.built).max().unwrap_or_default(),
        rpms: all().map(|rpm| rpm.path.clone()).collect(),
        script,
        options,
        emulated,
    })
}

/// Installs into the empty folder `root`, and packs what it installed as `packed`.
pub fn install(
    request: &Request,
    prepared: &Prepared,
    root: &Path,
    packed: &Path,
    step: &mut Step,
) -> Result<Vec<Package>> {
    let ours = request.work.sub("rpm")?;
    let temporary = request.work.sub("rpm-root")?;
    let paths = texts(&prepared.rpms)?;
    let list = ours.join("rpms");
    fs::write(&list, paths.join("\n")).with_context(|| format!("writing {}", list.display()))?;
    let (mut failed, mut said) = (Vec::new(), Vec::new());
    let result = command(request, prepared, &temporary, &ours).run_with(
        |tar| unpack::unpack_new(tar, root, packed),
        |line| {
            if let Some(percent) = line.strip_prefix("%% ") {
                step.note(&format!(
                    "{:.0} %",
                    percent.parse::<f64>().unwrap_or_default()
                ));
            } else if line.contains("scriptlet failed") {
                failed.push(line.trim_start_matches("warning: ").to_owned());
            } else {
                said.push(line.to_owned());
            }
        },
    );
    interrupt::check()?;
    let file = request.treefile.path.display();
    if let Some(first) = failed.first() {
        bail!("{file}: {first}");
    }
    let last = said.len().saturating_sub(TOLD);
    result.map_err(|e| match said.get(last..) {
        Some(told) if !told.is_empty() => {
            anyhow!("{file}: installing its packages: {}", told.join(" | "))
        }
        _ => e.context(format!("installing the packages of {file}")),
    })?;
    let list = ours.join("packages");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    Ok(apt::package_list(&text))
}

fn command(request: &Request, prepared: &Prepared, root: &Path, ours: &Path) -> Cmd {
    Cmd::new("unshare")
        .args([
            "--mount",
            "--net",
            "--ipc",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["sh", "-euc", &prepared.script, "sh"])
        .args([root, ours])
        .args(&prepared.options)
        .env("SOURCE_DATE_EPOCH", prepared.built.to_string())
        .env("LC_ALL", "C.UTF-8")
        .envs(match prepared.emulated {
            true => foreign::environment(&request.board.arch.debian),
            false => None,
        })
}

/// As [`apt::dpkg_options`].
fn options(request: &Request) -> Vec<String> {
    let treefile = request.treefile;
    let mut options = Vec::new();
    if !treefile.documentation {
        options.push("--excludedocs".to_owned());
    }
    let languages = match treefile.install_langs.is_empty() {
        true => "C".to_owned(),
        false => treefile.install_langs.join(":"),
    };
    options.push(format!("--define=_install_langs {languages}"));
    options
}

const TAIL: &str = "tar --xattrs --xattrs-include='*' --one-file-system -C \"$root\" -cf - .\n";

/// Lines of a script that take the firmware's files out of its packages.
fn place_firmware(request: &Request, rpms: &[Rpm]) -> Result<String> {
    let mut text = String::from("cd \"$ours\"\n");
    let board = rpm_board(request)?;
    for package in board::unpacked(&board.firmware, board.bios.as_ref()) {
        let rpm = rpms.iter().find(|rpm| rpm.locked.name == package);
        let rpm = rpm.with_context(|| format!("firmware package {package} is not in the lock"))?;
        let _ = writeln!(
            text,
            "mkdir {package}\nrpm2archive - < '{}' | tar -xz -C {package}",
            rpm.path.display()
        );
    }
    let named = rpms
        .iter()
        .map(|rpm| (rpm.locked.name.as_str(), rpm.locked.version.as_str()));
    text.push_str(&firmware::place(
        &board.firmware,
        request.board.first_partition,
    ));
    text.push_str(&board.bios.as_ref().map_or(String::new(), firmware::core));
    text.push_str(&firmware::versions_of(named));
    Ok(text)
}

fn rpm_board<'a>(request: &Request<'a>) -> Result<&'a board::Rpm> {
    let board = request.board;
    board.rpm.as_ref().with_context(|| {
        format!(
            "board '{}' names no RPM of its kernel: add the key 'rpm' to its file",
            board.name
        )
    })
}
