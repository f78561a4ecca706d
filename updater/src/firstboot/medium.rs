//! A device's own configuration on a medium: a folder with `hostname`, `authorized_keys`, `network/` and `config.d/`.
//! All of it is read and checked before any of it is applied.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::birth::{self, EtcFile};
use crate::config;
use crate::durable;
use crate::kickstart::HostName;

/// Of one file.
const CAP: u64 = 64 << 10;
/// Of `network/`: what systemd-networkd reads.
const NETWORK: [&str; 3] = [".network", ".netdev", ".link"];
/// What systems that people put cards into leave on them.
const CLUTTER: [&str; 4] = [
    "System Volume Information",
    "README",
    "README.txt",
    "lost+found",
];
const ROOT_KEYS: &str = "var/roothome/.ssh/authorized_keys";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    hostname: Option<HostName>,
    keys: Vec<String>,
    /// By file name.
    network: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
}

/// A name that is not known is an error: it would be a misspelt one.
pub fn read(folder: &Path) -> Result<Configuration> {
    let mut configuration = Configuration::default();
    for name in names(folder)? {
        let path = folder.join(&name);
        match name.as_str() {
            "hostname" => configuration.hostname = Some(hostname(&path)?),
            "authorized_keys" => configuration.keys = keys(&path)?,
            "network" => configuration.network = network(&path)?,
            "config.d" => configuration.settings = settings(&path)?,
            other if other.starts_with('.') || CLUTTER.contains(&other) => {}
            other => bail!(
                "'{other}' is not known: the folder holds hostname, authorized_keys, network/ and config.d/"
            ),
        }
    }
    Ok(configuration)
}

impl Configuration {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For the history; keys and settings may be secrets.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(
            self.hostname
                .as_ref()
                .map(|name| format!("hostname {name}")),
        );
        for (count, what) in [
            (self.keys.len(), "SSH keys"),
            (self.network.len(), "network files"),
            (self.settings.len(), "settings files"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ")
    }

    /// Into `/etc`, and root's keys. May be cut and done again.
    pub fn apply(&self, root: &Path) -> Result<()> {
        birth::write(root, &self.etc_files())?;
        if let Some(name) = &self.hostname {
            let set = rustix::system::sethostname(name.to_string().as_bytes());
            set.context("setting the hostname")?;
        }
        give_to_networkd(root, &self.network)?;
        match self.keys.is_empty() {
            true => Ok(()),
            false => add_keys(&root.join(ROOT_KEYS), &self.keys),
        }
    }

    fn etc_files(&self) -> Vec<EtcFile> {
        let hostname = self
            .hostname
            .iter()
            .map(|name| EtcFile::text("hostname", format!("{name}\n")));
        let network = self.network.iter().map(|(name, text)| {
            EtcFile::with_mode(&format!("systemd/network/{name}"), text, mode_of(name))
        });
        let settings = self.settings.iter().map(|(name, text)| {
            EtcFile::with_mode(&format!("edge-ota/config.d/{name}"), text, 0o600)
        });
        hostname.chain(network).chain(settings).collect()
    }
}

/// A `.netdev` file may hold the key of a tunnel.
fn mode_of(name: &str) -> u32 {
    match name.ends_with(".netdev") {
        true => 0o640,
        false => 0o644,
    }
}

/// Its service has no other right to read them.
fn give_to_networkd(root: &Path, network: &BTreeMap<String, String>) -> Result<()> {
    let secret = network.keys().filter(|name| mode_of(name) == 0o640);
    for name in secret {
        let group = group_id(root, "systemd-network")?;
        for folder in ["etc", "etc/edge-ota/birth"] {
            let path = root.join(folder).join("systemd/network").join(name);
            std::os::unix::fs::chown(&path, None, Some(group))
                .with_context(|| format!("giving {} to its group", path.display()))?;
        }
    }
    Ok(())
}

/// From the tree's and the device's lists of groups.
fn group_id(root: &Path, name: &str) -> Result<u32> {
    for path in ["etc/group", "usr/lib/group"] {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.split(':').next() == Some(name));
        if let Some(id) = line.and_then(|line| line.split(':').nth(2)?.parse().ok()) {
            return Ok(id);
        }
    }
    bail!("there is no group {name}")
}

/// Those that are there stay.
fn add_keys(path: &Path, keys: &[String]) -> Result<()> {
    let there = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let mut lines: Vec<&str> = there.lines().collect();
    lines.extend(
        keys.iter()
            .map(String::as_str)
            .filter(|key| !there.lines().any(|line| line == *key)),
    );
    let folder = path.parent().context("the keys have no folder")?;
    let home = folder.parent().context("the keys have no home")?;
    for folder in [home, folder] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    durable::write_private(path, (lines.join("\n") + "\n").as_bytes())
}

fn hostname(path: &Path) -> Result<HostName> {
    let text = text(path)?;
    let name: Result<HostName, _> = text.trim().parse();
    name.with_context(|| "hostname".to_owned())
}

fn keys(path: &Path) -> Result<Vec<String>> {
    let text = text(path)?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    said.map(|(number, line)| match is_key(line) {
        true => Ok(line.to_owned()),
        false => bail!("authorized_keys, line {number}: this is no SSH public key"),
    })
    .collect()
}

/// `ssh-ed25519 AAAA… comment`; what may stand before the type is not taken here.
fn is_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (kind, data) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"];
    known.iter().any(|start| kind.starts_with(start)) && data.starts_with("AAAA")
}

fn network(folder: &Path) -> Result<BTreeMap<String, String>> {
    files(folder, &NETWORK)
}

fn settings(folder: &Path) -> Result<BTreeMap<String, String>> {
    let files = files(folder, &[".toml"])?;
    for (name, text) in &files {
        config::check(&Path::new("config.d").join(name), text)?;
    }
    Ok(files)
}

fn files(folder: &Path, endings: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let shown = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for name in names(folder)?
        .into_iter()
        .filter(|name| !name.starts_with('.'))
    {
        let known = endings.iter().any(|ending| name.ends_with(ending));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !known || !name.chars().all(plain) {
            bail!(
                "{shown}/{name}: a file here has a plain name that ends in {}",
                endings.join(", ")
            );
        }
        files.insert(name.clone(), text(&folder.join(&name))?);
    }
    Ok(files)
}

fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(CAP + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", path.display()))?;
    if text.len() as u64 > CAP {
        bail!("{} is larger than {CAP} bytes", path.display());
    }
    // Written on whatever system.
    Ok(text.trim_start_matches('\u{feff}').replace("\r\n", "\n"))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let listed = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in listed {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB operator";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn what_is_on_the_medium_goes_to_its_places_and_secrets_are_private() {
        let medium = folder(&[
            ("hostname", "\u{feff}rack-7.site.example\r\n"),
            ("authorized_keys", &format!("# mine\r\n{KEY}\r\n")),
            ("network/10-static.network", "[Match]\nName=en*\n"),
            ("config.d/90-site.toml", "[source]\nchannel = \"canary\"\n"),
            (".Trashes/x", ""),
            ("System Volume Information/x", ""),
        ]);
        let configuration = read(medium.path()).unwrap();
        assert_eq!(
            configuration.summary(),
            "hostname rack-7.site.example, 1 SSH keys, 1 network files, 1 settings files"
        );
        let root = folder(&[(ROOT_KEYS, "ssh-rsa AAAAB3 there\n")]);
        // Nothing that is set here is this machine's.
        let configuration = Configuration {
            hostname: None,
            ..configuration
        };
        for _ in 0..2 {
            configuration.apply(root.path()).unwrap();
        }
        let mode = |path: &str| {
            fs::metadata(root.path().join(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(ROOT_KEYS), 0o600);
        assert_eq!(mode("etc/edge-ota/config.d/90-site.toml"), 0o600);
        assert_eq!(mode("etc/systemd/network/10-static.network"), 0o644);
        let keys = fs::read_to_string(root.path().join(ROOT_KEYS)).unwrap();
        assert_eq!(keys, format!("ssh-rsa AAAAB3 there\n{KEY}\n"));
    }

    #[test]
    fn a_mistake_is_named_and_nothing_is_taken() {
        for (path, text, part) in [
            ("hostnam", "x", "'hostnam' is not known"),
            ("hostname", "-x", "hostname"),
            ("authorized_keys", "\nssh-ed25519 BBBB", "line 2"),
            ("network/10.conf", "", "network/10.conf"),
            ("network/../x", "", "is not known"),
            ("config.d/90.toml", "[sauce]\n", "config.d/90.toml, line 1"),
            ("config.d/90 x.toml", "", "plain name"),
        ] {
            let error = format!("{:#}", read(folder(&[(path, text)]).path()).unwrap_err());
            assert!(error.contains(part), "{path}: {error}");
        }
        let large = "x".repeat(CAP as usize + 1);
        assert!(read(folder(&[("hostname", &large)]).path()).is_err());
        assert!(
            read(folder(&[("README.txt", "x")]).path())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn the_group_comes_from_either_list() {
        let root = folder(&[
            ("etc/group", "root:x:0:\n"),
            ("usr/lib/group", "systemd-network:x:998:\n"),
        ]);
        assert_eq!(group_id(root.path(), "systemd-network").unwrap(), 998);
        assert!(group_id(root.path(), "nobody-knows").is_err());
    }
}
