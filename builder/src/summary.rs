//! What commands did, for pipelines.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use edge_ota::channel::Manifest;
use edge_ota::media::layout;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::image;
use crate::provision;
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
    /// Of the disk that a machine sees.
    pub disk_bytes: u64,
    /// What the file takes on this machine: it may have holes.
    pub allocated_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmap: Option<Artefact>,
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

#[derive(Debug, Serialize)]
pub struct KickstartSummary<'a> {
    pub artefact: Artefact,
    /// Who reads it.
    pub r#for: &'a str,
    pub url: &'a str,
    pub channel: &'a str,
    pub board: &'a str,
}

pub fn image<'a>(request: &'a image::Request) -> Result<ImageSummary<'a>> {
    let meta = std::fs::metadata(request.out)
        .with_context(|| format!("asking for {}", request.out.display()))?;
    let map = image::bmap::beside(request.out);
    Ok(ImageSummary {
        artefact: artefact(request.out)?,
        disk_bytes: layout::disk_size(request.size),
        allocated_bytes: meta.blocks() * 512,
        bmap: match request.format.has_map() {
            true => Some(artefact(&map)?),
            false => None,
        },
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

pub fn kickstart<'a>(
    path: &Path,
    request: &'a provision::kickstart::Request,
) -> Result<KickstartSummary<'a>> {
    Ok(KickstartSummary {
        artefact: artefact(path)?,
        r#for: request.reader.as_str(),
        url: request.url,
        channel: request.channel.as_str(),
        board: request.board.as_str(),
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
