//! What commands did, for pipelines.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::channel::Manifest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::image;
use crate::rehearsal::record::Record;

/// A file that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Debug, Serialize)]
pub struct ImageSummary<'a> {
    pub artefact: Artefact,
    pub format: &'a str,
    pub board: &'a str,
    pub commit: &'a str,
}

#[derive(Debug, Serialize)]
pub struct ReleaseSummary<'a> {
    pub artefact: Artefact,
    pub manifest: &'a Manifest,
}

#[derive(Debug, Serialize)]
pub struct RehearsalSummary<'a> {
    pub artefact: Artefact,
    pub rehearsal: &'a Record,
}

pub fn image<'a>(request: &'a image::Request) -> Result<ImageSummary<'a>> {
    Ok(ImageSummary {
        artefact: artefact(request.out)?,
        format: request.format.as_str(),
        board: request.board.as_str(),
        commit: request.commit.as_str(),
    })
}

pub fn release<'a>(path: &Path, manifest: &'a Manifest) -> Result<ReleaseSummary<'a>> {
    Ok(ReleaseSummary {
        artefact: artefact(path)?,
        manifest,
    })
}

pub fn rehearsal<'a>(path: &Path, record: &'a Record) -> Result<RehearsalSummary<'a>> {
    Ok(RehearsalSummary {
        artefact: artefact(path)?,
        rehearsal: record,
    })
}

pub fn artefact(path: &Path) -> Result<Artefact> {
    let act = || -> io::Result<(u64, String)> {
        let mut hash = Sha256::new();
        let bytes = io::copy(&mut File::open(path)?, &mut hash)?;
        let digest = hash.finalize();
        Ok((bytes, digest.iter().map(|b| format!("{b:02x}")).collect()))
    };
    let (bytes, sha256) = act().with_context(|| format!("reading {}", path.display()))?;
    Ok(Artefact {
        path: path.display().to_string(),
        bytes,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_is_what_sha256sum_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let made = artefact(&path).unwrap();
        assert_eq!(made.bytes, 3);
        // FIPS 180-4, example B.1.
        assert!(made.sha256.starts_with("ba7816bf8f01cfea"), "{made:?}");
        let error = artefact(&dir.path().join("none")).unwrap_err();
        assert!(format!("{error:#}").contains("none"), "{error:#}");
    }
}
