//! Commits, their objects, and the deployments that link these.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::report::{Finding, Kind, Outcome, Report};
use super::{Held, Progress, Supply, of_all};
use crate::boot::records::hex;
use crate::pull::{self, COMMIT_CAP};
use crate::sysroot::{Health, Object, Sysroot};
use crate::types::CommitChecksum;

/// Replaced together, with one sync of the file system.
const AT_ONCE: usize = 32;
/// Objects that are waiting in memory.
const AT_ONCE_BYTES: u64 = 8 << 20;

pub fn check_commit(sysroot: &Sysroot, held: &Held) -> Result<Option<Finding>> {
    let commit = &held.deployment.commit;
    Ok(match sysroot.commit_health(commit)? {
        Health::Sound => None,
        Health::Missing | Health::Damaged => Some(Finding::damaged(
            Kind::Commit,
            commit.as_str(),
            Some(held.slot),
        )),
    })
}

pub fn repair_commit(sysroot: &Sysroot, held: &Held, supply: &Supply) -> Result<Option<Finding>> {
    let found = check_commit(sysroot, held)?;
    Ok(found.map(|finding| finding.after(fetch_commit(sysroot, &held.deployment.commit, supply))))
}

/// Its checksum is what the deployment is named by; nothing else about it need be believed.
fn fetch_commit(sysroot: &Sysroot, commit: &CommitChecksum, supply: &Supply) -> Result<()> {
    let path = format!("{}.commit", pull::object_path(commit));
    let raw = supply.get(&path, COMMIT_CAP)?;
    if hex(&Sha256::digest(&raw)) != commit.as_str() {
        bail!("what came is another commit");
    }
    sysroot.replace_commit(commit, &raw)
}

/// The objects that are missing or damaged, and how many there are in all.
pub fn check(
    sysroot: &Sysroot,
    held: &[&Held],
    each: &dyn Fn(Progress),
) -> Result<(Vec<Object>, usize)> {
    let objects = of_all(sysroot, held)?;
    let mut bad = Vec::new();
    let of = objects.len();
    for (checked, object) in objects.into_iter().enumerate() {
        each(Progress { checked, of });
        if sysroot.object_health(&object)? != Health::Sound {
            bad.push(object);
        }
    }
    Ok((bad, of))
}

pub fn repair(sysroot: &Sysroot, bad: &[Object], supply: &Supply) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut waiting: Vec<(&Object, Vec<u8>)> = Vec::new();
    for object in bad {
        match supply.get(&object.archive_path(), object.archived) {
            Ok(bytes) => waiting.push((object, bytes)),
            Err(error) => findings.push(Finding::of_object(object).after(Err(error))),
        }
        let bytes: u64 = waiting.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if waiting.len() >= AT_ONCE || bytes >= AT_ONCE_BYTES {
            findings.extend(replace(sysroot, std::mem::take(&mut waiting)));
        }
    }
    findings.extend(replace(sysroot, waiting));
    findings
}

fn replace(sysroot: &Sysroot, objects: Vec<(&Object, Vec<u8>)>) -> Vec<Finding> {
    if objects.is_empty() || sysroot.replace_objects(&objects).is_ok() {
        let good = objects.iter().map(|(object, _)| Finding::of_object(object));
        return good.map(|finding| finding.after(Ok(()))).collect();
    }
    // One bad object must not keep the others away.
    let alone = objects.into_iter().map(|(object, bytes)| {
        let done = sysroot.replace_objects(&[(object, bytes)]);
        Finding::of_object(object).after(done.context("putting it into the repository"))
    });
    alone.collect()
}

/// Files of the deployment that are missing or are not the repository's.
pub fn check_files(sysroot: &Sysroot, held: &Held) -> Vec<Finding> {
    match sysroot.stale(&held.deployment) {
        Ok(stale) => stale
            .into_iter()
            .map(|stale| file(held, &stale.path))
            .collect(),
        Err(error) => vec![unknown(held, &error)],
    }
}

pub fn repair_files(sysroot: &Sysroot, held: &Held) -> Vec<Finding> {
    let stale = match sysroot.stale(&held.deployment) {
        Ok(stale) => stale,
        Err(error) => return vec![unknown(held, &error)],
    };
    stale
        .iter()
        .map(|stale| {
            let done = sysroot.renew(&held.deployment, stale);
            file(held, &stale.path).after(done)
        })
        .collect()
}

/// A commit with objects that are lost must not pass for whole: nobody shall go back to it.
pub fn note(sysroot: &Sysroot, report: &Report, held: &[Held]) -> Result<()> {
    let lost = |finding: &Finding| {
        matches!(finding.kind, Kind::Object | Kind::Folder) && finding.outcome != Outcome::Repaired
    };
    let lost: Vec<&str> = report
        .findings
        .iter()
        .filter(|finding| lost(finding))
        .map(|finding| finding.name.as_str())
        .collect();
    for held in super::sound(report, held) {
        let commit = &held.deployment.commit;
        let objects = sysroot.objects(commit)?;
        let whole = !objects
            .iter()
            .any(|object| lost.contains(&object.checksum.as_str()));
        if whole != sysroot.has_whole_commit(commit)? {
            sysroot.note_whole(commit, whole)?;
        }
    }
    Ok(())
}

fn file(held: &Held, path: &std::path::Path) -> Finding {
    let name = format!("/{}", path.display());
    Finding::damaged(Kind::File, name, Some(held.slot))
}

/// Its folders cannot be read, so what belongs to it is not known.
fn unknown(held: &Held, error: &anyhow::Error) -> Finding {
    let reason = anyhow::anyhow!("its files cannot be compared: {error:#}");
    file(held, std::path::Path::new("")).after(Err(reason))
}
