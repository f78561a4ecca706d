//! mmdebstrap, run in a mount namespace of its own: whatever ends it, no mount is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;

use super::explain::{Explainer, Offer};
use super::{Package, Request, firmware, key, local, pool, sources, unpack};
use crate::board::Board;
use crate::foreign;
use crate::interrupt;
use crate::progress::{Progress, Step};
use crate::treefile::Treefile;

/// Everything that is known before anything is installed.
pub struct Prepared {
    packages: BTreeSet<String>,
    /// mmdebstrap's word for where it begins.
    suite: String,
    /// Of apt's sources.
    lines: Vec<String>,
    /// The packages' programs run under emulation.
    emulated: bool,
    scripts: Scripts,
    pub key: String,
}

/// What is done to the root file system before packages are installed, and after.
struct Scripts {
    before: String,
    after: String,
}

impl Scripts {
    fn new(board: &Board, emulated: bool) -> Self {
        let (enter, leave) = match emulated {
            true => (foreign::ENTER, foreign::LEAVE),
            false => ("", ""),
        };
        Self {
            before: format!("{enter}{}", firmware::fetch(board)),
            after: format!("{leave}{}", firmware::finish(board)),
        }
    }
}

pub fn prepare(request: &Request, progress: &Progress) -> Result<Prepared> {
    let emulated = foreign::is_emulated(Path::new("/"), &request.board.arch)?;
    let step = progress.step("reading package sources");
    let sources = sources::collect(request.treefile, request.mirrors)?;
    let suite = sources
        .first()
        .map_or("trixie", |source| source.suite.as_str());
    let local = local::publish(request.local_debs, request.work, "local")?;
    let packages = wanted(request, local.as_ref());
    let mut sums: Vec<String> = local.iter().flat_map(local::Repository::sums).collect();
    let mut lines: Vec<String> = local.iter().map(local::Repository::line).collect();
    let mut signed: &[sources::Source] = &[];
    let mut releases = Vec::new();
    match request.lock {
        None => {
            releases = sources::fetch_releases(&sources)?;
            lines.splice(0..0, sources.iter().map(sources::Source::line));
            signed = &sources;
            step.done();
        }
        Some(lock) => {
            step.done();
            lock.check_local(local.as_ref().map_or(&[], |l| &l.packages))?;
            let pool = pool::publish(request, lock, &sources, suite, progress)?;
            sums.extend(pool.sums());
            lines.insert(0, pool.line());
        }
    }
    let scripts = Scripts::new(request.board, emulated);
    let key = key::of(&key::Inputs {
        arch: &request.board.arch.debian,
        packages: &packages,
        recommends: request.treefile.recommends,
        dpkg: &dpkg_options(request.treefile),
        sources: signed,
        releases: &releases,
        sums: &sums,
        scripts: [&scripts.before, &scripts.after],
    })?;
    Ok(Prepared {
        packages,
        suite: suite.to_owned(),
        lines,
        emulated,
        scripts,
        key,
    })
}

/// What is asked for by name: apt adds what that needs.
pub fn wanted(request: &Request, local: Option<&local::Repository>) -> BTreeSet<String> {
    let mut packages = request.treefile.packages.clone();
    packages.insert(request.board.kernel.clone());
    packages.extend(local.into_iter().flat_map(local::Repository::names));
    packages
}

/// What dpkg unpacks: licences always, documentation and translations as the treefile says.
fn dpkg_options(treefile: &Treefile) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    if !treefile.documentation {
        options.extend(
            ["doc", "man", "info", "groff", "lintian", "bug"]
                .map(|dir| format!("path-exclude=/usr/share/{dir}/*")),
        );
        options.push("path-include=/usr/share/doc/*/copyright".to_owned());
    }
    options.push("path-exclude=/usr/share/locale/*".to_owned());
    options.push("path-include=/usr/share/locale/locale.alias".to_owned());
    let languages = treefile.install_langs.iter();
    options.extend(languages.map(|name| format!("path-include=/usr/share/locale/{name}/*")));
    options
}

/// Installs into the empty folder `root`, and packs what it installed as `packed`.
pub fn install(
    request: &Request,
    prepared: &Prepared,
    root: &Path,
    packed: &Path,
    step: &mut Step,
) -> Result<Vec<Package>> {
    let ours = request.work.sub("firmware")?;
    let temporary = request.work.sub("mmdebstrap")?;
    let fetch = hook(request, "fetch", &prepared.scripts.before, &ours)?;
    let finish = hook(request, "finish", &prepared.scripts.after, &ours)?;
    let mut explainer = Explainer::of(match request.lock {
        None => Offer::Suites,
        Some(_) => Offer::Lock,
    });
    let (format, to) = match prepared.emulated {
        true => ("--format=tar", Path::new("-")),
        false => ("--format=directory", root),
    };
    let result = command(request, prepared, &temporary)
        .arg(format)
        .arg(format!("--extract-hook={fetch}"))
        .arg(format!("--customize-hook={finish}"))
        .arg(&prepared.suite)
        .arg(to)
        .args(&prepared.lines)
        .env("TMPDIR", &temporary)
        .run_with(
            |tar| match prepared.emulated {
                true => unpack::unpack_new(tar, root, packed),
                false => Ok(()),
            },
            |line| {
                explainer.line(line);
                if let Some(what) = line
                    .strip_prefix("I: ")
                    .and_then(|l| l.split(" in shell:").next())
                {
                    step.note(what);
                }
            },
        );
    interrupt::check()?;
    result.map_err(|e| explainer.explain(&request.treefile.path, request.work.path(), e))?;
    if !prepared.emulated {
        step.note("packing");
        unpack::pack_tree(root, packed)?;
    }
    let list = ours.join("packages");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    Ok(package_list(&text))
}

/// Writes a script and returns the line that runs it with the root file system and `ours`.
fn hook(request: &Request, name: &str, text: &str, ours: &Path) -> Result<String> {
    let script = request.work.path().join(format!("{name}.sh"));
    fs::write(&script, text).with_context(|| format!("writing {}", script.display()))?;
    Ok(format!("sh {} \"$1\" {}", quoted(&script), quoted(ours)))
}

/// Puts the root file system into memory. Emulated 32-bit programs see empty folders on a file system
/// whose folder offsets have 64 bits, such as ext4.
const ON_TMPFS: &str = r#"mount -t tmpfs -o mode=755,size=90% tree "$0" && exec "$@""#;

fn command(request: &Request, prepared: &Prepared, temporary: &Path) -> Cmd {
    let packages: Vec<&str> = prepared.packages.iter().map(String::as_str).collect();
    let command = match prepared.emulated {
        false => Cmd::new("unshare").args(["--mount", "mmdebstrap"]),
        true => Cmd::new("unshare")
            .args(["--mount", "sh", "-ec", ON_TMPFS])
            .arg(temporary)
            .args(["mmdebstrap", "--skip=check/qemu"])
            .arg(format!(
                "--aptopt=DPkg::Path \"{}\"",
                native_first(ROOT_PATH)
            ))
            .env(
                "PATH",
                native_first(&std::env::var("PATH").unwrap_or_default()),
            )
            .envs(foreign::environment(&request.board.arch.debian)),
    };
    command
        .args(["--mode=root", "--variant=essential"])
        .arg(format!("--architectures={}", request.board.arch.debian))
        .arg(format!("--include={}", packages.join(",")))
        .args(
            dpkg_options(request.treefile)
                .iter()
                .map(|option| format!("--dpkgopt={option}")),
        )
        // apt's own user may not read our work folder.
        .arg("--aptopt=APT::Sandbox::User \"root\"")
        .arg(format!(
            "--aptopt=APT::Install-Recommends \"{}\"",
            request.treefile.recommends
        ))
        // The kernel's scripts would make an initramfs before the tree is complete.
        .env("INITRD", "No")
        .env("LC_ALL", "C.UTF-8")
}

/// dpkg's own, where a configuration names none.
const ROOT_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

fn native_first(path: &str) -> String {
    format!("{}:{path}", foreign::NATIVE)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

/// Lines of name, version and architecture.
pub fn package_list(text: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            Some(Package {
                name: fields.next()?,
                version: fields.next()?,
                arch: fields.next()?,
            })
        })
        .collect();
    packages.sort();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        let packages = package_list("b\t2\tall\na\t1:1\tamd64\n");
        assert_eq!(
            (packages[0].version.as_str(), packages[1].name.as_str()),
            ("1:1", "b")
        );
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        let path = Path::new("/a b/it's");
        let text = Cmd::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(path))])
            .text()
            .unwrap();
        assert_eq!(text, "/a b/it's");
    }
}
