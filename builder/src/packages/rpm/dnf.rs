//! dnf, with a configuration of ours.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;

use anyhow::{Context, Result, anyhow};
use edge_ota::cmd::Cmd;
use edge_ota::durable;

use super::file::{Rpm, describe, kept};
use super::keys::{check_signatures, import_keys, key_urls, not_signed};
use crate::interrupt;
use crate::packages::Request;
use crate::progress::Step;
use crate::treefile::rpms::{Repository, Rpms};

/// dnf with a configuration of ours, and of this machine nothing.
pub struct Dnf<'a> {
    request: &'a Request<'a>,
    options: Vec<String>,
    /// The keys of all repositories.
    keys: PathBuf,
}

impl<'a> Dnf<'a> {
    pub fn new(
        request: &'a Request,
        rpms: &Rpms,
        repos: impl Iterator<Item = &'a Repository> + Clone,
    ) -> Result<Self> {
        let dir = request.work.sub("dnf")?;
        let mut vars = rpms.vars.clone();
        vars.insert("releasever".to_owned(), request.treefile.releasever.clone());
        vars.insert("basearch".to_owned(), request.board.arch.rpm.clone());
        let filled: Vec<Repository> = repos.clone().map(|repo| with_key_of(repo, &vars)).collect();
        let keys = import_keys(&dir, filled.iter())?;
        put(&dir, "dnf.conf", "[main]\n")?;
        put(&dir, "repos/edge.repo", &sections(filled.iter()))?;
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
    pub fn install(&self, names: &[&str], step: &mut Step) -> Result<Vec<Rpm>> {
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
    pub fn download(&self, names: &[&str], step: &mut Step) -> Result<Vec<Rpm>> {
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

/// The keys are fetched by us too, so dnf's variables in their addresses are filled in: `$releasever`, `${basearch}`.
fn with_key_of(repo: &Repository, vars: &BTreeMap<String, String>) -> Repository {
    let mut repo = repo.clone();
    let keys = repo.options.iter_mut().filter(|(key, _)| key == "gpgkey");
    for (_, value) in keys {
        for (name, text) in vars {
            *value = value
                .replace(&format!("${{{name}}}"), text)
                .replace(&format!("${name}"), text);
        }
    }
    repo
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
    fn keys_are_of_the_release() {
        let repo = Repository {
            id: "r".to_owned(),
            file: PathBuf::from("/x.repo"),
            options: vec![
                (
                    "baseurl".to_owned(),
                    "http://mirror.example/$releasever".to_owned(),
                ),
                (
                    "gpgkey".to_owned(),
                    "key-$releasever-${basearch}".to_owned(),
                ),
            ],
        };
        let vars = [("releasever", "42"), ("basearch", "x86_64")];
        let vars = vars.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let filled = with_key_of(&repo, &vars.into());
        assert_eq!(filled.option("gpgkey"), Some("key-42-x86_64"));
        assert_eq!(filled.option("baseurl"), repo.option("baseurl"));
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
}
