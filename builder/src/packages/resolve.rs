//! Which packages a request comes to, by the host's apt, for any architecture and without installing anything.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;

use super::explain::{Explainer, Offer};
use super::{Request, apt, local, sources};
use crate::board;
use crate::lock::{Lock, Locked};
use crate::tree::rooted;

/// Fetched beside the packages of the tree, and unpacked only.
const ESSENTIAL: &str = "?essential";

/// The lock of what a compose would install now.
pub fn resolve(request: &Request) -> Result<Lock> {
    let sources = sources::collect(request.treefile, request.mirrors)?;
    let local = local::publish(request.local_debs, request.work, "local")?;
    let root = request.work.sub("resolve")?;
    let lines = sources.iter().map(sources::Source::line);
    let lines: Vec<String> = lines
        .chain(local.iter().map(local::Repository::line))
        .collect();
    let settings = Settings {
        arch: &request.board.arch.debian,
        recommends: request.treefile.recommends,
    };
    let config = configure(&root, &lines, &settings)?;
    let mut explainer = Explainer::of(Offer::Suites);
    let mut apt = |args: &[&str]| -> Result<String> {
        let run = Cmd::new("apt-get")
            .arg("-qq")
            .args(args)
            .env("APT_CONFIG", &config)
            .env("LC_ALL", "C.UTF-8");
        let result = run.run_with(super::text, |line| explainer.line(line));
        result.map_err(|e| explainer.explain(&request.treefile.path, request.work.path(), e))
    };
    apt(&["update"])?;
    let packages = apt::wanted(request, local.as_ref());
    let mut install = vec!["--print-uris", "-y", "install", ESSENTIAL];
    install.extend(packages.iter().map(String::as_str));
    let uris: Vec<&str> = sources.iter().map(|source| source.uri.as_str()).collect();
    let packages = locked(&apt(&install)?, &uris)?;
    let mut firmware = Vec::new();
    let board = request.board;
    for package in board::unpacked(&board.firmware, board.bios.as_ref()) {
        let printed = apt(&["--print-uris", "download", package])?;
        firmware.extend(locked(&printed, &uris)?);
    }
    Ok(Lock::new(
        request.board.name.clone(),
        snapshot(&root.join("state/lists"))?,
        packages,
        firmware,
        local.map(|l| l.packages).unwrap_or_default(),
    ))
}

/// The newest `Date:` of the `InRelease` and `Release` files that apt has read.
fn snapshot(lists: &Path) -> Result<u64> {
    let mut newest = None;
    for name in rooted::names(lists)? {
        if name.ends_with("Release") {
            let text = rooted::read_text(&lists.join(&name))?;
            let date = date_of(&text).with_context(|| format!("{name} has no Date"))?;
            newest = newest.max(Some(seconds(date)?));
        }
    }
    newest.context("no source has an InRelease file")
}

fn date_of(release: &str) -> Option<&str> {
    let mut lines = release.lines();
    lines.find_map(|line| line.strip_prefix("Date:").map(str::trim))
}

/// Of a date as in e-mail.
fn seconds(date: &str) -> Result<u64> {
    let text = Cmd::new("date").args(["-u", "-d", date, "+%s"]).text();
    let seconds = text.and_then(|text| Ok(text.trim().parse()?));
    seconds.with_context(|| format!("reading the date '{date}'"))
}

/// What apt is asked for beside its sources.
pub struct Settings<'a> {
    /// `amd64`
    pub arch: &'a str,
    pub recommends: bool,
}

/// Makes an apt of its own in `root`, and returns its configuration for `APT_CONFIG`.
pub fn configure(root: &Path, lines: &[String], settings: &Settings) -> Result<std::path::PathBuf> {
    let put = |name: &str, text: &str| {
        let path = root.join(name);
        let dir = path.parent().unwrap_or(root);
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("writing {}", path.display()))
    };
    for dir in [
        "state/lists/partial",
        "cache/archives/partial",
        "preferences.d",
    ] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    }
    put("status", "")?;
    put("sources.list", &format!("{}\n", lines.join("\n")))?;
    let (dir, arch) = (root.display(), settings.arch);
    put(
        "apt.conf",
        &format!(
            "Dir \"{dir}\";\nDir::State \"{dir}/state\";\nDir::State::status \"{dir}/status\";\n\
             Dir::Cache \"{dir}/cache\";\nDir::Etc::sourcelist \"{dir}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"{dir}/preferences.d\";\n\
             APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n\
             APT::Install-Recommends \"{}\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nAcquire::ForceHash \"SHA256\";\n\
             // apt counts itself among the essential packages.\npkgCacheGen::ForceEssential \",\";\n",
            settings.recommends
        ),
    )?;
    Ok(root.join("apt.conf"))
}

/// Lines of `'URI' name_version_arch.deb SIZE SHA256:…`; files of this machine are no business of a lock.
fn locked(printed: &str, uris: &[&str]) -> Result<Vec<Locked>> {
    let lines = printed.lines().filter(|line| line.starts_with('\''));
    let lines = lines.filter(|line| !line.starts_with("'copy:"));
    lines
        .map(|line| one(line, uris).with_context(|| format!("apt printed '{line}'")))
        .collect()
}

fn one(line: &str, uris: &[&str]) -> Result<Locked> {
    let (url, rest) = line
        .trim_start_matches('\'')
        .split_once("' ")
        .context("there is no address")?;
    let mut fields = rest.split(' ');
    let file = fields.next().context("there is no file")?;
    let size = fields.next().context("there is no size")?.parse()?;
    let sum = fields.next().and_then(|sum| sum.strip_prefix("SHA256:"));
    let mut parts = file.strip_suffix(".deb").unwrap_or(file).split('_');
    let mut part = || parts.next().map(|part| part.replace("%3a", ":"));
    let below = |uri: &&str| url.strip_prefix(*uri)?.strip_prefix('/');
    Ok(Locked {
        name: part().context("there is no name")?,
        version: part().context("there is no version")?,
        arch: part().context("there is no architecture")?,
        size,
        sha256: sum.context("there is no SHA-256")?.to_owned(),
        path: uris
            .iter()
            .find_map(below)
            .context("it is from no source")?
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_date_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(snapshot(dir.path()).is_err());
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put(
            "a_dists_t_InRelease",
            "Suite: t\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n",
        );
        put("b_Release", "Date: Tue, 14 Nov 2023 22:13:21 +0000\n");
        put("b_Packages", "Package: x\n");
        assert_eq!(snapshot(dir.path()).unwrap(), 1_700_000_001);
        put("c_InRelease", "Suite: t\n");
        let error = snapshot(dir.path()).unwrap_err().to_string();
        assert_eq!(error, "c_InRelease has no Date");
    }

    #[test]
    fn what_apt_prints_becomes_a_lock() {
        let printed = "'http://mirror.example/debian/pool/main/v/vim/vim-tiny_9.1-2_arm64.deb' \
                       vim-tiny_2%3a9.1-2_arm64.deb 77 SHA256:ab\n'copy:/x/edge-ota.deb' edge-ota_1_arm64.deb 1 SHA256:cd\n";
        let found = locked(
            printed,
            &["http://other.example", "http://mirror.example/debian"],
        );
        let found = found.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (
                found[0].name.as_str(),
                found[0].version.as_str(),
                found[0].arch.as_str()
            ),
            ("vim-tiny", "2:9.1-2", "arm64")
        );
        assert_eq!(found[0].path, "pool/main/v/vim/vim-tiny_9.1-2_arm64.deb");
        let error = locked("'http://x/y' a_1_all.deb 1 MD5Sum:ab\n", &["http://x"]).unwrap_err();
        assert!(format!("{error:#}").contains("no SHA-256"), "{error:#}");
    }
}
