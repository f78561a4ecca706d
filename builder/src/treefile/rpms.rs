//! Repositories of RPMs: sections of the `.repo` files beside a treefile, as dnf reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where the packages of a tree of RPMs come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rpms {
    pub repos: Vec<Repository>,
    /// Asked only for packages that a lock names.
    pub lockfile_repos: Vec<Repository>,
    /// dnf's variables beside `releasever` and `basearch`.
    pub vars: BTreeMap<String, String>,
    /// Packages that are taken from one repository.
    pub packages_of: BTreeMap<String, Vec<String>>,
}

/// A section of a `.repo` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub id: String,
    pub file: PathBuf,
    /// In their order; `gpgkey` without a scheme is beside the file.
    pub options: Vec<(String, String)>,
}

impl Repository {
    pub fn option(&self, name: &str) -> Option<&str> {
        let named = self.options.iter().find(|(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// The section `id` among the `.repo` files of a folder, if there is one; it must say how its packages are signed.
pub fn find(dir: &Path, id: &str) -> Result<Option<Repository>> {
    let dir = match dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => dir,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "repo"));
    files.sort();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let sections = parse(&text).with_context(|| file.display().to_string())?;
        if let Some((id, options)) = sections.into_iter().find(|(name, _)| name == id) {
            return checked(Repository { id, file, options }).map(Some);
        }
    }
    Ok(None)
}

fn checked(repository: Repository) -> Result<Repository> {
    let (file, id) = (repository.file.display(), &repository.id);
    let on = |value: &str| ["1", "true", "yes", "on"].contains(&value);
    if !repository.option("gpgcheck").is_some_and(on) {
        bail!("{file}: repository '{id}': packages must be signed: set gpgcheck=1 and gpgkey");
    }
    if repository.option("gpgkey").is_none_or(str::is_empty) {
        bail!("{file}: repository '{id}': gpgkey is missing: name the key of its packages");
    }
    Ok(repository)
}

type Section = (String, Vec<(String, String)>);

/// `[id]`, then `key=value`; a line that begins with white space goes on with the value before it.
fn parse(text: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let n = n + 1;
        if let Some(id) = trimmed.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            sections.push((id.to_owned(), Vec::new()));
            continue;
        }
        let Some((_, options)) = sections.last_mut() else {
            bail!("line {n}: '{trimmed}' is in no section [id]");
        };
        let goes_on = line.starts_with(char::is_whitespace);
        match (options.last_mut(), trimmed.split_once('=')) {
            (Some((_, value)), _) if goes_on => {
                value.push(' ');
                value.push_str(trimmed);
            }
            (_, Some((key, value))) => {
                options.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            _ => bail!("line {n}: '{trimmed}' is not key=value"),
        }
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_and_must_be_signed() {
        let dir = tempfile::tempdir().unwrap();
        let text = "# two\n[main]\nname = Main\nbaseurl=http://mirror.example/a\n  http://mirror.example/b\n\
                    gpgcheck=1\ngpgkey=key.asc\n[loose]\ngpgcheck=0\n[keyless]\ngpgcheck=1\n";
        fs::write(dir.path().join("x.repo"), text).unwrap();
        let main = find(dir.path(), "main").unwrap().unwrap();
        assert_eq!(
            main.option("baseurl"),
            Some("http://mirror.example/a http://mirror.example/b")
        );
        assert_eq!(main.option("name"), Some("Main"));
        assert_eq!(find(dir.path(), "none").unwrap(), None);
        for (id, expected) in [("loose", "gpgcheck=1"), ("keyless", "gpgkey is missing")] {
            let error = find(dir.path(), id).unwrap_err().to_string();
            assert!(
                error.contains("x.repo: repository") && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_repo_file_is_an_error_with_its_line() {
        for (text, expected) in [
            ("a=1\n", "line 1: 'a=1' is in no section"),
            ("[a]\n\nnonsense\n", "line 3: 'nonsense' is not key=value"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(expected));
        }
    }
}
