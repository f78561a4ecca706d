//! Where packages come from: a treefile's suites and its own `.sources` files (deb822), and what their
//! `InRelease` files say at the moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::StatusCode;
use reqwest::blocking::Client;

use super::mirrors::{self, MirrorOptions};
use crate::treefile::{Suite, Treefile};

/// Signs all of Debian's suites; from the package debian-archive-keyring.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const TIMEOUT: Duration = Duration::from_secs(30);
/// For a kernel on a slow line.
const FILE_TIMEOUT: Duration = Duration::from_secs(1800);

/// One line of apt's sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Without a slash at its end.
    pub uri: String,
    /// A path where it ends with a slash: a flat repository.
    pub suite: String,
    pub components: Vec<String>,
    /// Absolute.
    pub signed_by: PathBuf,
    /// The file that names it, for messages.
    pub file: PathBuf,
}

impl Source {
    pub fn line(&self) -> String {
        let (key, uri, suite) = (self.signed_by.display(), &self.uri, &self.suite);
        format!(
            "deb [signed-by={key}] {uri} {suite} {}",
            self.components.join(" ")
        )
        .trim_end()
        .to_owned()
    }

    fn file_url(&self, name: &str) -> String {
        match self.suite.strip_suffix('/') {
            Some("." | "") => format!("{}/{name}", self.uri),
            Some(dir) => format!("{}/{}/{name}", self.uri, dir.trim_start_matches("./")),
            None => format!("{}/dists/{}/{name}", self.uri, self.suite),
        }
    }
}

/// All sources of a treefile.
pub fn collect(treefile: &Treefile, options: &MirrorOptions) -> Result<Vec<Source>> {
    let own_mirrors = treefile.suites.iter().all(|s| s.mirror.is_some());
    let machine = if own_mirrors {
        Vec::new()
    } else {
        mirrors::of_this_machine()?
    };
    let mut sources = Vec::new();
    for suite in &treefile.suites {
        let uri = mirrors::resolve(suite, options, &machine)
            .with_context(|| treefile.path.display().to_string())?;
        sources.push(of_suite(suite, uri, options, &treefile.path)?);
    }
    for path in &treefile.repos {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        sources.extend(parse(&text, path).map_err(|e| anyhow!("{}: {e}", path.display()))?);
    }
    for source in &sources {
        let key = &source.signed_by;
        if !key.is_file() {
            bail!(
                "{}: keyring {} is missing",
                source.file.display(),
                key.display()
            );
        }
    }
    Ok(sources)
}

/// `file` is named in messages.
pub fn of_suite(
    suite: &Suite,
    uri: String,
    options: &MirrorOptions,
    file: &Path,
) -> Result<Source> {
    let asked = options
        .keyring
        .as_deref()
        .filter(|_| suite.mirror.is_none());
    let key = suite
        .signed_by
        .as_deref()
        .or(asked)
        .unwrap_or(Path::new(DEBIAN_KEYRING));
    Ok(Source {
        uri,
        suite: suite.name.clone(),
        components: suite.components.clone(),
        signed_by: std::path::absolute(key)?,
        file: file.to_owned(),
    })
}

/// The stanzas of a deb822 file; a relative Signed-By is beside the file.
fn parse(text: &str, path: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines
        .split(|line| line.trim().is_empty())
        .filter(|s| !s.is_empty())
    {
        sources.extend(parse_stanza(stanza, path)?);
    }
    Ok(sources)
}

fn parse_stanza(stanza: &[&str], path: &Path) -> Result<Vec<Source>> {
    let (mut uris, mut suites, mut components, mut key) = (vec![], vec![], vec![], None);
    for line in stanza {
        let (field, value) = line
            .split_once(':')
            .ok_or_else(|| anyhow!("'{line}' is not a line 'Field: value'"))?;
        let words = || {
            value
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        match field.to_ascii_lowercase().as_str() {
            "types" if words() == ["deb"] => {}
            "types" => bail!("Types must be deb"),
            "uris" => uris = words(),
            "suites" => suites = words(),
            "components" => components = words(),
            "signed-by" => key = words().into_iter().next(),
            other => {
                bail!("unknown field '{other}' (known: Types, URIs, Suites, Components, Signed-By)")
            }
        }
    }
    let key = key.ok_or_else(|| anyhow!("Signed-By is missing: name the repository's key file"))?;
    if uris.is_empty() || suites.is_empty() {
        bail!("a stanza needs URIs and Suites");
    }
    let signed_by = std::path::absolute(path.parent().unwrap_or(Path::new("")).join(key))?;
    let source = |uri: &String, suite: &String| Source {
        uri: uri.trim_end_matches('/').to_owned(),
        suite: suite.clone(),
        components: components.clone(),
        signed_by: signed_by.clone(),
        file: path.to_owned(),
    };
    Ok(uris
        .iter()
        .flat_map(|uri| suites.iter().map(move |suite| source(uri, suite)))
        .collect())
}

/// The bytes of each source's `InRelease` (or `Release`), in their order. apt checks the signatures
/// when it installs; here they only say whether something changed.
pub fn fetch_releases(sources: &[Source]) -> Result<Vec<Vec<u8>>> {
    let client = client(TIMEOUT)?;
    let fetch = |source: &Source| -> Result<Vec<u8>> {
        for name in ["InRelease", "Release"] {
            if let Some(bytes) = fetch(&client, &source.file_url(name))? {
                return Ok(bytes);
            }
        }
        bail!(
            "{} has no InRelease: is suite '{}' right?",
            source.uri,
            source.suite
        )
    };
    sources
        .iter()
        .map(|source| {
            fetch(source)
                .with_context(|| format!("{}: suite '{}'", source.file.display(), source.suite))
        })
        .collect()
}

fn client(timeout: Duration) -> Result<Client> {
    let client = Client::builder().timeout(timeout).connect_timeout(TIMEOUT);
    Ok(client.build()?)
}

/// A file of any size; none where the server says that there is no such file.
pub fn fetch_url(url: &str) -> Result<Option<Vec<u8>>> {
    fetch(&client(FILE_TIMEOUT)?, url)
}

/// None where the server says that there is no such file.
fn fetch(client: &Client, url: &str) -> Result<Option<Vec<u8>>> {
    if let Some(path) = url
        .strip_prefix("file:")
        .or_else(|| url.strip_prefix("copy:"))
    {
        let path = format!("/{}", path.trim_start_matches('/'));
        return match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some).with_context(|| format!("reading {path}")),
        };
    }
    let act = || -> reqwest::Result<Option<Vec<u8>>> {
        let response = client.get(url).send()?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(response.error_for_status()?.bytes()?.to_vec()))
    };
    act().map_err(|e| {
        let cause = root_cause(&e);
        anyhow!("mirror {url} cannot be reached: {cause}; check the network, or name another with {} or 'mirror' in the treefile", mirrors::MIRROR_VARIABLE)
    })
}

/// reqwest's own message repeats the URL and hides the reason.
fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_repository() {
        let text = "# kubelet\nTypes: deb\nURIs: http://mirror.example/k8s/\nSuites: ./\nSigned-By: k8s.asc\n\n\
                    Types: deb\nURIs: http://mirror.example/a\nSuites: one two\nComponents: main extra\nSigned-By: /k.gpg\n";
        let sources = parse(text, Path::new("/trees/k8s.sources")).unwrap();
        let lines: Vec<String> = sources.iter().map(Source::line).collect();
        assert_eq!(
            lines,
            [
                "deb [signed-by=/trees/k8s.asc] http://mirror.example/k8s ./",
                "deb [signed-by=/k.gpg] http://mirror.example/a one main extra",
                "deb [signed-by=/k.gpg] http://mirror.example/a two main extra",
            ]
        );
        let urls: Vec<String> = sources.iter().map(|s| s.file_url("InRelease")).collect();
        assert_eq!(urls[0], "http://mirror.example/k8s/InRelease");
        assert_eq!(urls[1], "http://mirror.example/a/dists/one/InRelease");
    }

    #[test]
    fn bad_repositories_say_what_is_missing() {
        let table = [
            ("URIs: a\nSuites: b\n", "Signed-By is missing"),
            ("Signed-By: k\n", "needs URIs and Suites"),
            ("Trusted: yes\n", "unknown field 'trusted'"),
            ("Types: deb-src\n", "Types must be deb"),
            ("nonsense\n", "not a line"),
        ];
        for (text, expected) in table {
            let error = parse(text, Path::new("x.sources")).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_nearest_keyring_wins() {
        let asked = MirrorOptions {
            keyring: Some("/asked.gpg".into()),
            ..MirrorOptions::default()
        };
        let none = MirrorOptions::default();
        let own = Some("http://own.example");
        for (mirror, signed_by, options, expected) in [
            (None, None, &none, DEBIAN_KEYRING),
            (None, None, &asked, "/asked.gpg"),
            (own, None, &asked, DEBIAN_KEYRING),
            (None, Some("/own.gpg"), &asked, "/own.gpg"),
        ] {
            let suite = Suite {
                name: "trixie".into(),
                components: vec!["main".into()],
                mirror: mirror.map(str::to_owned),
                signed_by: signed_by.map(PathBuf::from),
            };
            let source = of_suite(&suite, String::new(), options, Path::new("t.yaml")).unwrap();
            assert_eq!(
                source.signed_by,
                Path::new(expected),
                "{mirror:?} {signed_by:?}"
            );
        }
    }

    #[test]
    fn an_unreachable_mirror_is_named_once() {
        // Port 9 (discard) of this machine is closed.
        let source = parse(
            "URIs: http://127.0.0.1:9/d\nSuites: s\nSigned-By: k\n",
            Path::new("x.sources"),
        );
        let error = fetch_releases(&source.unwrap()).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.starts_with(
                "x.sources: suite 's': mirror http://127.0.0.1:9/d/dists/s/InRelease cannot"
            ),
            "{text}"
        );
        assert!(text.contains("refused"), "{text}");
    }

    #[test]
    fn a_local_repository_is_read_from_its_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Release"), "r").unwrap();
        let text = format!(
            "URIs: file:{}\nSuites: ./\nSigned-By: k\n",
            dir.path().display()
        );
        let sources = parse(&text, Path::new("x.sources")).unwrap();
        assert_eq!(fetch_releases(&sources).unwrap(), [b"r"]);
    }
}
