//! An RPM as a file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use edge_ota::cmd::Cmd;
use sha2::{Digest, Sha256};

use crate::lock::{Local, Locked};
use crate::packages::Request;

/// A file and what it says of itself.
pub struct Rpm {
    pub path: PathBuf,
    pub locked: Locked,
    /// Unix seconds
    pub built: u64,
}

const FIELDS: &str =
    "%{name}\\t%|epoch?{%{epoch}:}:{}|%{version}-%{release}\\t%{arch}\\t%{buildtime}\\n";

/// What RPM files say of themselves, in their order.
pub fn describe(files: &[PathBuf]) -> Result<Vec<Rpm>> {
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

/// For dnf and rpm, whose lists of files are text.
pub fn texts(paths: &[PathBuf]) -> Result<Vec<&str>> {
    let texts = paths.iter().map(|path| {
        path.to_str()
            .with_context(|| format!("{} is not UTF-8: rename it", path.display()))
    });
    texts.collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

pub fn local_files(request: &Request) -> Result<Vec<Rpm>> {
    let files: std::io::Result<Vec<PathBuf>> =
        request.local_debs.iter().map(std::path::absolute).collect();
    describe(&files?)
}

pub fn locals(rpms: &[Rpm]) -> Vec<Local> {
    let of = |l: &Locked| Local {
        name: l.name.clone(),
        version: l.version.clone(),
        arch: l.arch.clone(),
        size: l.size,
        sha256: l.sha256.clone(),
    };
    rpms.iter().map(|rpm| of(&rpm.locked)).collect()
}

pub fn kept(request: &Request, sha256: &str) -> PathBuf {
    let cache = request.cache.join("rpms");
    let cache = std::path::absolute(&cache).unwrap_or(cache);
    cache.join(format!("{sha256}.rpm"))
}
