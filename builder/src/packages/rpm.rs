//! Trees of RPMs: dnf resolves and fetches, rpm installs within walls.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;

use anyhow::{Context, Result, anyhow, bail};
use edge_ota::cmd::Cmd;
use edge_ota::durable;
use sha2::{Digest, Sha256};

use super::{Package, Request, apt, firmware, unpack};
use crate::board;
use crate::foreign;
use crate::interrupt;
use crate::lock::{Local, Lock, Locked};
use crate::progress::{Progress, Step};
use crate::tree::rooted;
use crate::treefile::rpms::{Repository, Rpms};

/// Rises when the same RPMs give another layer.
const FORMAT: u32 = 1;

/// How many lines of what rpm and scripts said are shown of a failure.
const TOLD: usize = 6;

const FETCHING: &str = "fetching packages";

const SCRIPT: &str = include_str!("rpm.sh");

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

fn local_files(request: &Request) -> Result<Vec<Rpm>> {
    let files: std::io::Result<Vec<PathBuf>> =
        request.local_debs.iter().map(std::path::absolute).collect();
    describe(&files?)
}

fn locals(rpms: &[Rpm]) -> Vec<Local> {
    let of = |l: &Locked| Local {
        name: l.name.clone(),
        version: l.version.clone(),
        arch: l.arch.clone(),
        size: l.size,
        sha256: l.sha256.clone(),
    };
    rpms.iter().map(|rpm| of(&rpm.locked)).collect()
}

/// The newest revision of the repositories whose metadata dnf has fetched: Unix seconds, by createrepo.
fn snapshot(cache: &Path, repos: &[Repository]) -> Result<u64> {
    let mut newest = None;
    for name in rooted::names(cache)? {
        let of_repo = |repo: &Repository| {
            let rest = name
                .strip_prefix(&repo.id)
                .and_then(|rest| rest.strip_prefix('-'));
            rest.is_some_and(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let path = cache.join(&name).join("repodata/repomd.xml");
        if repos.iter().any(of_repo) && path.exists() {
            let text = rooted::read_text(&path)?;
            newest = newest.max(revision(&text));
        }
    }
    newest.context("no repository says when its metadata was made")
}

fn revision(repomd: &str) -> Option<u64> {
    let (_, rest) = repomd.split_once("<revision>")?;
    rest.split_once('<')?.0.trim().parse().ok()
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
    let paths: Vec<&str> = prepared
        .rpms
        .iter()
        .filter_map(|path| path.to_str())
        .collect();
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
    for firmware in &board.firmware {
        let rpm = rpms.iter().find(|rpm| rpm.locked.name == firmware.package);
        let rpm = rpm
            .with_context(|| format!("firmware package {} is not in the lock", firmware.package))?;
        let package = &firmware.package;
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

/// A file and what it says of itself.
struct Rpm {
    path: PathBuf,
    locked: Locked,
    /// Unix seconds
    built: u64,
}

struct Found {
    packages: Vec<Rpm>,
    firmware: Vec<Rpm>,
}

/// What the repositories have now, in the cache by content; each package's signature is checked.
fn fetch(request: &Request, rpms: &Rpms, step: &mut Step) -> Result<Found> {
    let board = rpm_board(request)?;
    let dnf = Dnf::new(request, rpms, rpms.repos.iter())?;
    let mut wanted: BTreeSet<&str> = request
        .treefile
        .packages
        .iter()
        .map(String::as_str)
        .collect();
    wanted.extend(board.kernel.iter().map(String::as_str));
    wanted.extend(rpms.packages_of.values().flatten().map(String::as_str));
    let local: Vec<&str> = request
        .local_debs
        .iter()
        .filter_map(|path| path.to_str())
        .collect();
    let wanted: Vec<&str> = wanted.into_iter().chain(local).collect();
    let packages = dnf.install(&wanted, step)?;
    interrupt::check()?;
    let names: Vec<&str> = board.firmware.iter().map(|f| f.package.as_str()).collect();
    let firmware = match names.is_empty() {
        true => Vec::new(),
        false => dnf.download(&names, step)?,
    };
    Ok(Found { packages, firmware })
}

/// The files of a lock: from the cache, else from the repositories by their exact versions.
fn fetch_locked(request: &Request, rpms: &Rpms, lock: &Lock, step: &mut Step) -> Result<Found> {
    let all = || lock.packages.iter().chain(&lock.firmware);
    let missing: Vec<&Locked> = all()
        .filter(|l| !kept(request, &l.sha256).exists())
        .collect();
    if !missing.is_empty() {
        let repos = rpms.repos.iter().chain(&rpms.lockfile_repos);
        let names: Vec<String> = missing
            .iter()
            .map(|l| format!("{}-{}.{}", l.name, l.version, l.arch))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Dnf::new(request, rpms, repos)?.download(&names, step)?;
    }
    if let Some(gone) = all().find(|l| !kept(request, &l.sha256).exists()) {
        bail!(
            "no repository has {} {} with SHA-256 {} any more: keep the cache, or update the lock",
            gone.name,
            gone.version,
            gone.sha256
        );
    }
    let files = |all: &[Locked]| -> Result<Vec<Rpm>> {
        describe(
            &all.iter()
                .map(|l| kept(request, &l.sha256))
                .collect::<Vec<_>>(),
        )
    };
    Ok(Found {
        packages: files(&lock.packages)?,
        firmware: files(&lock.firmware)?,
    })
}

fn kept(request: &Request, sha256: &str) -> PathBuf {
    let cache = request.cache.join("rpms");
    let cache = std::path::absolute(&cache).unwrap_or(cache);
    cache.join(format!("{sha256}.rpm"))
}

/// dnf with a configuration of ours, and of this machine nothing.
struct Dnf<'a> {
    request: &'a Request<'a>,
    options: Vec<String>,
    /// The keys of all repositories.
    keys: PathBuf,
}

impl<'a> Dnf<'a> {
    fn new(
        request: &'a Request,
        rpms: &Rpms,
        repos: impl Iterator<Item = &'a Repository> + Clone,
    ) -> Result<Self> {
        let dir = request.work.sub("dnf")?;
        let keys = import_keys(&dir, repos.clone())?;
        put(&dir, "dnf.conf", "[main]\n")?;
        put(&dir, "repos/edge.repo", &sections(repos.clone()))?;
        for (name, value) in &rpms.vars {
            put(&dir, &format!("vars/{name}"), value)?;
        }
        let path = |name: &str| dir.join(name).display().to_string();
        let mut options = vec![
            format!("--config={}", path("dnf.conf")),
            format!("--installroot={}", path("root")),
            format!("--releasever={}", request.treefile.releasever),
            format!("--forcearch={}", request.board.arch.rpm),
            format!("--setopt=reposdir={}", path("repos")),
            format!("--setopt=varsdir={}", path("vars")),
            format!("--setopt=cachedir={}", request.cache.join("dnf").display()),
            "--setopt=skip_if_unavailable=False".to_owned(),
            format!("--setopt=install_weak_deps={}", request.treefile.recommends),
        ];
        for (id, names) in &rpms.packages_of {
            let others = repos.clone().filter(|repo| &repo.id != id);
            options.extend(
                others.map(|repo| format!("--setopt={}.excludepkgs={}", repo.id, names.join(","))),
            );
        }
        if !request.treefile.exclude_packages.is_empty() {
            options.push(format!(
                "--exclude={}",
                request.treefile.exclude_packages.join(",")
            ));
        }
        fs::create_dir_all(dir.join("root"))?;
        Ok(Self {
            request,
            options,
            keys,
        })
    }

    /// Fetches what an installation of these comes to.
    fn install(&self, names: &[&str], step: &mut Step) -> Result<Vec<Rpm>> {
        let to = self.request.work.sub("rpms")?;
        let dir = format!("--downloaddir={}", to.display());
        self.run(
            &["--noplugins", "--downloadonly", &dir, "install"],
            names,
            step,
        )?;
        self.keep(&to)
    }

    /// Fetches these and nothing that they need.
    fn download(&self, names: &[&str], step: &mut Step) -> Result<Vec<Rpm>> {
        let to = self.request.work.sub("rpms-alone")?;
        let dir = format!("--downloaddir={}", to.display());
        let arch = self.request.board.arch.rpm.as_str();
        let plugin = [
            "--disableplugin=*",
            "--enableplugin=download",
            "download",
            &dir,
        ];
        self.run(
            &[&plugin[..], &["--arch", arch, "--arch", "noarch"]].concat(),
            names,
            step,
        )?;
        self.keep(&to)
    }

    fn run(&self, options: &[&str], names: &[&str], step: &mut Step) -> Result<()> {
        let mut errors = Vec::new();
        let result = Cmd::new("dnf")
            .args(["-y", "--refresh"])
            .args(&self.options)
            .args(options)
            .args(names)
            .env("HOME", self.request.work.path())
            .env("LC_ALL", "C.UTF-8")
            .run_with(
                |out| note_downloads(out, step),
                |line| errors.push(line.to_owned()),
            );
        interrupt::check()?;
        result.map_err(|e| explain(&self.request.treefile.path, &errors, e))
    }

    /// Checks signatures, then moves the files into the cache.
    fn keep(&self, dir: &Path) -> Result<Vec<Rpm>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
            files.push(entry?.path());
        }
        files.sort();
        check_signatures(&self.keys, &files)
            .with_context(|| self.request.treefile.path.display().to_string())?;
        let mut rpms = describe(&files)?;
        let cache = self.request.cache.join("rpms");
        fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
        for rpm in &mut rpms {
            let to = kept(self.request, &rpm.locked.sha256);
            if !to.exists() {
                let bytes = fs::read(&rpm.path)?;
                durable::write(&to, &bytes)?;
            }
            fs::remove_file(&rpm.path)?;
            rpm.path = to;
        }
        Ok(rpms)
    }
}

/// Lines of `(3/185): name.rpm …`.
fn note_downloads(out: ChildStdout, step: &mut Step) -> Result<()> {
    for line in BufReader::new(out).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some((count, _)) = line
            .strip_prefix('(')
            .and_then(|rest| rest.split_once("): "))
        {
            step.note(count);
        }
    }
    Ok(())
}

fn put(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    let parent = path.parent().unwrap_or(dir);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("writing {}", path.display()))
}

/// Each repository as its file has it, and switched on.
fn sections<'a>(repos: impl Iterator<Item = &'a Repository>) -> String {
    let mut text = String::new();
    for repo in repos {
        let _ = writeln!(text, "[{}]\nenabled=1", repo.id);
        for (key, value) in repo.options.iter().filter(|(key, _)| key != "enabled") {
            let value = match key.as_str() {
                "gpgkey" => key_urls(repo, value).join(" "),
                _ => value.clone(),
            };
            let _ = writeln!(text, "{key}={value}");
        }
    }
    text
}

/// A key without a scheme is a file beside the `.repo` file.
fn key_urls(repo: &Repository, value: &str) -> Vec<String> {
    let dir = repo.file.parent().unwrap_or(Path::new(""));
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let url = |word: &str| match word.contains("://") {
        true => word.to_owned(),
        false => format!("file://{}", dir.join(word).display()),
    };
    value
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(url)
        .collect()
}

/// A database that holds the keys of the repositories and nothing else.
fn import_keys<'a>(dir: &Path, repos: impl Iterator<Item = &'a Repository>) -> Result<PathBuf> {
    let keys = dir.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("making {}", keys.display()))?;
    for repo in repos {
        for url in key_urls(repo, repo.option("gpgkey").unwrap_or_default()) {
            let key = match url.strip_prefix("file://") {
                Some(path) => fs::read(path).with_context(|| format!("reading {path}")),
                None => super::sources::fetch_url(&url)
                    .and_then(|key| key.with_context(|| format!("there is no key {url}"))),
            };
            let file = dir.join("key.asc");
            let import = key.and_then(|key| {
                fs::write(&file, key)?;
                Cmd::new("rpmkeys")
                    .arg("--dbpath")
                    .arg(&keys)
                    .arg("--import")
                    .arg(&file)
                    .run()
            });
            import.with_context(|| {
                format!(
                    "{}: repository '{}': gpgkey {url}",
                    repo.file.display(),
                    repo.id
                )
            })?;
        }
    }
    Ok(keys)
}

fn check_signatures(keys: &Path, files: &[PathBuf]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let checked = Cmd::new("rpmkeys")
        .arg("--dbpath")
        .arg(keys)
        .args(["--define=_pkgverify_level all", "--checksig"])
        .args(files)
        .env("LC_ALL", "C.UTF-8")
        .complete()?;
    if checked.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&checked.stdout);
    let bad = text
        .lines()
        .find(|line| !line.ends_with(" OK") || line.contains("NOT OK"));
    let name = bad
        .and_then(|line| line.split(": ").next())
        .and_then(|path| path.rsplit('/').next());
    bail!(not_signed(name))
}

fn not_signed(package: Option<&str>) -> String {
    format!(
        "{} is not signed by a key of its repository: check gpgkey in the .repo file, or ask who made it",
        package.unwrap_or("a package")
    )
}

const FIELDS: &str =
    "%{name}\\t%|epoch?{%{epoch}:}:{}|%{version}-%{release}\\t%{arch}\\t%{buildtime}\\n";

/// What RPM files say of themselves, in their order.
fn describe(files: &[PathBuf]) -> Result<Vec<Rpm>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let text = Cmd::new("rpm")
        .args(["-q", "--nosignature", "--queryformat", FIELDS, "-p"])
        .args(files)
        .text()
        .context("reading packages (RPMs are wanted here)")?;
    let lines = text.lines().zip(files);
    lines
        .map(|(line, path)| one(line, path).with_context(|| path.display().to_string()))
        .collect()
}

fn one(line: &str, path: &Path) -> Result<Rpm> {
    let mut fields = line.split('\t').map(str::to_owned);
    let mut field = || fields.next().ok_or_else(|| anyhow!("rpm printed '{line}'"));
    let bytes = fs::read(path)?;
    let (name, version, arch) = (field()?, field()?, field()?);
    Ok(Rpm {
        built: field()?.parse()?,
        locked: Locked {
            path: format!("{name}-{version}.{arch}.rpm"),
            name,
            version,
            arch,
            size: bytes.len() as u64,
            sha256: sha256(&bytes),
        },
        path: path.to_owned(),
    })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// dnf says what it could not do in messages only.
fn explain(treefile: &Path, lines: &[String], error: anyhow::Error) -> anyhow::Error {
    let file = treefile.display();
    let all = |begin: &str| -> Vec<&str> {
        lines
            .iter()
            .filter_map(|line| line.trim().strip_prefix(begin))
            .collect()
    };
    let unknown = [
        all("Error: Unable to find a match: "),
        all("No match for argument: "),
    ]
    .concat();
    if let Some(names) = unknown.first() {
        let names = names.replace(' ', "', '");
        return anyhow!(
            "{file}: no package '{names}' in its repositories: check the name, or add the repository that has it"
        );
    }
    if lines.iter().any(|line| line.contains("GPG check FAILED")) {
        let of = |line: &String| {
            let line = line.trim();
            let name = line
                .strip_prefix("Public key for ")
                .or(line.strip_prefix("Package "));
            name.and_then(|rest| rest.split(' ').next())
                .map(str::to_owned)
        };
        let name = lines.iter().find_map(of);
        return anyhow!("{file}: {}", not_signed(name.as_deref()));
    }
    let unmet = all("- ");
    if !unmet.is_empty() {
        return anyhow!("{file}: packages do not fit together: {}", unmet.join("; "));
    }
    match all("Error: ").first() {
        Some(what) => anyhow!("{file}: dnf: {what}"),
        None => error.context(format!(
            "resolving the packages of {file} (Debian: dnf, dnf-plugins-core, rpm, sqlite3)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::treefile::rpms;

    #[test]
    fn what_dnf_says_becomes_one_line() {
        let table: [(&[&str], &str); 5] = [
            (
                &[
                    "Public key for a-1-2.noarch.rpm is not installed. Failing package is: a-1-2",
                    "Error: GPG check FAILED",
                ],
                "t.yaml: a-1-2.noarch.rpm is not signed by a key of its repository: check gpgkey in the .repo file, or ask who made it",
            ),
            (
                &["Error: Unable to find a match: a b"],
                "t.yaml: no package 'a', 'b' in its repositories: check the name, or add the repository that has it",
            ),
            (
                &[
                    "Error: ",
                    " Problem: conflicting requests",
                    "  - nothing provides x needed by y",
                ],
                "t.yaml: packages do not fit together: nothing provides x needed by y",
            ),
            (
                &["Error: Failed to download metadata for repo 'r': Cannot download repomd.xml"],
                "t.yaml: dnf: Failed to download metadata for repo 'r': Cannot download repomd.xml",
            ),
            (
                &[],
                "resolving the packages of t.yaml (Debian: dnf, dnf-plugins-core, rpm, sqlite3): tail",
            ),
        ];
        for (lines, expected) in table {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let error = explain(Path::new("t.yaml"), &lines, anyhow!("tail"));
            assert_eq!(format!("{error:#}"), expected);
        }
    }

    #[test]
    fn dnf_gets_the_repositories_of_the_treefile_switched_on() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[r]\nbaseurl=http://mirror.example\nenabled=0\ngpgcheck=1\ngpgkey=k.asc https://mirror.example/k\n";
        fs::write(dir.path().join("x.repo"), text).unwrap();
        let repo = rpms::find(dir.path(), "r").unwrap().unwrap();
        let key = dir.path().join("k.asc");
        assert_eq!(
            sections([repo].iter()),
            format!(
                "[r]\nenabled=1\nbaseurl=http://mirror.example\ngpgcheck=1\ngpgkey=file://{} https://mirror.example/k\n",
                key.display()
            )
        );
    }

    #[test]
    fn the_age_of_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repo = |id: &str| Repository {
            id: id.to_owned(),
            file: PathBuf::new(),
            options: vec![],
        };
        for (name, revision) in [("a-1f", "12"), ("a-b-2", "99"), ("b-0", "7")] {
            let text = format!("<repomd>\n  <revision>{revision}</revision>\n");
            rooted::put(&dir.path().join(name).join("repodata/repomd.xml"), text).unwrap();
        }
        assert_eq!(snapshot(dir.path(), &[repo("a"), repo("b")]).unwrap(), 12);
        assert!(snapshot(dir.path(), &[repo("c")]).is_err());
    }
}
