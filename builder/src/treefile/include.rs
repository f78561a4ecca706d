//! A treefile with all that it includes, merged. The only file of this room that reads others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::condition::{Condition, Value, Variables};
use super::document::{At, ParseError, Parsed};
use super::fragment::{self, Fragment, Then, UnknownKeys, Values};

const MAX_DEPTH: usize = 50;
const FINALIZE: &str = "finalize.d";

/// What the files say together.
#[derive(Debug)]
pub struct Merged {
    /// The first is the one that was asked for; values know theirs by its number.
    pub files: Vec<PathBuf>,
    pub values: Values,
    pub variables: Variables,
    /// Programs in a `finalize.d` beside the files, by name.
    pub finalize: BTreeMap<String, PathBuf>,
}

impl Merged {
    /// An error with the name of its file.
    pub fn located(&self, error: ParseError) -> anyhow::Error {
        located(&self.files, error)
    }

    /// The folder of the file that a value stands in.
    pub fn folder(&self, file: usize) -> &Path {
        let path = self.files.get(file).and_then(|path| path.parent());
        path.unwrap_or(Path::new(""))
    }
}

pub fn load(path: &Path, basearch: &str) -> Result<Merged> {
    let mut reader = Reader {
        basearch,
        files: Vec::new(),
        finalize: BTreeMap::new(),
        seen: BTreeSet::new(),
        variables: Variables::from([("basearch".to_owned(), Value::Text(basearch.to_owned()))]),
    };
    let values = reader.merged(path, 0)?;
    Ok(Merged {
        files: reader.files,
        finalize: reader.finalize,
        values,
        variables: reader.variables,
    })
}

fn located(files: &[PathBuf], error: ParseError) -> anyhow::Error {
    match files.get(error.file) {
        Some(path) => anyhow!("{}:{}: {}", path.display(), error.line, error.message),
        None => anyhow!("{error}"),
    }
}

struct Reader<'a> {
    basearch: &'a str,
    files: Vec<PathBuf>,
    finalize: BTreeMap<String, PathBuf>,
    /// Device and inode: a file has many names.
    seen: BTreeSet<(u64, u64)>,
    variables: Variables,
}

impl Reader<'_> {
    fn merged(&mut self, path: &Path, depth: usize) -> Result<Values> {
        let own = self.read(path)?;
        let mut values = own.values;
        self.learn(&values)?;
        let mut includes = own.includes;
        for conditional in own.conditional {
            if self.all_hold(&conditional.conditions)? {
                match conditional.then {
                    Then::Files(files) => includes.extend(files),
                    Then::Inline(inline) => self.merge(&mut values, inline)?,
                }
            }
        }
        for include in includes {
            let folder = path.parent().unwrap_or(Path::new(""));
            let included = folder.join(&include.value);
            self.check(&included, depth)
                .map_err(|e| self.located(include.error(format!("include: {e:#}"))))?;
            let included = self.merged(&included, depth + 1)?;
            self.merge(&mut values, included)?;
        }
        Ok(values)
    }

    /// Whether a file may be included `depth` files deep.
    fn check(&self, path: &Path, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            bail!("{} is more than {MAX_DEPTH} files deep", path.display());
        }
        if self.seen.contains(&identity(path)?) {
            bail!("{} is included already", path.display());
        }
        Ok(())
    }

    fn read(&mut self, path: &Path) -> Result<Fragment> {
        self.seen.insert(identity(path)?);
        let text = fs::read_to_string(path)
            .with_context(|| format!("reading treefile {}", path.display()))?;
        let file = self.files.len();
        self.files.push(path.to_owned());
        let folder = path.parent().unwrap_or(Path::new(""));
        self.finalize.append(&mut programs(&folder.join(FINALIZE))?);
        let unknown = match path.extension().and_then(|e| e.to_str()) {
            Some("yaml" | "yml") => UnknownKeys::Refused,
            Some("json") => {
                check_json(&text, file).map_err(|e| self.located(e))?;
                UnknownKeys::Ignored
            }
            _ => bail!(
                "treefile {} must end in .yaml, .yml or .json",
                path.display()
            ),
        };
        let parsed = fragment::parse(&text, file, self.basearch, unknown);
        parsed.map_err(|e| self.located(e))
    }

    /// Remembers a file's variables; those of the files that include it win.
    fn learn(&mut self, values: &Values) -> Result<()> {
        let act = || -> Parsed<Vec<(String, Value)>> {
            let mut new = Vec::new();
            if let Some(node) = values.get("releasever") {
                new.push(("releasever".to_owned(), Value::read(node)?));
            }
            if let Some(node) = values.get("variables") {
                for (name, node) in node.entries()? {
                    new.push((name.value.clone(), Value::read(node)?));
                }
            }
            Ok(new)
        };
        for (name, value) in act().map_err(|e| self.located(e))? {
            self.variables.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// Asks each condition, so that a mistake in a later one is seen too.
    fn all_hold(&self, conditions: &[At<Condition>]) -> Result<bool> {
        let mut all = true;
        for condition in conditions {
            let holds = condition.value.holds(&self.variables);
            all &= holds.map_err(|e| self.located(condition.error(e)))?;
        }
        Ok(all)
    }

    fn merge(&self, over: &mut Values, included: Values) -> Result<()> {
        fragment::merge(over, included).map_err(|e| self.located(e))
    }

    fn located(&self, error: ParseError) -> anyhow::Error {
        located(&self.files, error)
    }
}

/// As in rpm-ostree: regular files that their owner may run. None where there is no such folder.
fn programs(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry?.path();
        let meta = fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?;
        if meta.is_file() && meta.mode() & 0o100 != 0 {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            found.insert(name.into_owned(), path);
        }
    }
    Ok(found)
}

fn identity(path: &Path) -> Result<(u64, u64)> {
    let meta =
        fs::metadata(path).with_context(|| format!("opening treefile {}", path.display()))?;
    Ok((meta.dev(), meta.ino()))
}

/// JSON is read as YAML, which would let more pass.
fn check_json(text: &str, file: usize) -> Parsed<()> {
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(text);
    parsed.map(drop).map_err(|e| ParseError {
        file,
        line: e.line(),
        message: e.to_string(),
    })
}
