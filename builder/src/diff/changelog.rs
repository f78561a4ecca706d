//! What packages say of what they changed, where the tree has it: RPM's database does, Debian's packages do where a
//! treefile asks for documentation.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_ota::cmd::Cmd;
use edge_ota::types::CommitChecksum;

use super::{Changes, Inventory};
use crate::repo::Repo;
use crate::rpmdb;

/// Lines of one package; a rebase may bring years.
const LINES: usize = 60;

/// Of each package whose version changed, the entries of `commit` since the version before.
pub fn of(
    repo: &Repo,
    commit: &CommitChecksum,
    inventory: &Inventory,
    packages: &Changes,
) -> Result<BTreeMap<String, String>> {
    let rpms = rpmdb::open(repo, commit, &inventory.entries)?;
    let mut found = BTreeMap::new();
    for (name, [old, _]) in &packages.changed {
        let path = format!("/usr/share/doc/{name}/changelog.Debian.gz");
        let (text, version): (String, fn(&str) -> Option<&str>) = match &rpms {
            Some(rpms) => (rpms.changelog(name)?, of_rpm),
            None if inventory.entries.contains_key(&path) => {
                (unpacked(repo.read(commit, &path)?, &path)?, of_debian)
            }
            None => continue,
        };
        let new = since(&text, version, old);
        if !new.is_empty() {
            found.insert(name.clone(), new);
        }
    }
    Ok(found)
}

fn unpacked(bytes: Vec<u8>, path: &str) -> Result<String> {
    let text = Cmd::new("gzip").arg("-dc").output_with_input(bytes);
    let text = text.with_context(|| format!("unpacking {path}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The newest entries come first.
fn since(text: &str, version: fn(&str) -> Option<&str>, old: &str) -> String {
    let old = without_epoch(old);
    let new = |line: &&str| version(line).is_none_or(|found| without_epoch(found) != old);
    let mut lines: Vec<&str> = text.lines().take_while(new).collect();
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    let mut out = lines.join("\n").trim_end().to_owned();
    if more > 0 {
        out.push_str(&format!("\n({more} lines more)"));
    }
    out
}

fn without_epoch(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// `vim (2:9.1-2) unstable; urgency=medium`
fn of_debian(line: &str) -> Option<&str> {
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    let (_, rest) = line.split_once(" (")?;
    rest.split_once(')').map(|(version, _)| version)
}

/// `* Tue Jan 02 2024 Name <address> - 1.2-3`
fn of_rpm(line: &str) -> Option<&str> {
    let (_, version) = line.strip_prefix("* ")?.rsplit_once(' ')?;
    Some(version.trim_start_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new() {
        let debian = "vim (2:3-1) unstable; urgency=low\n\n  * three (again)\n\n -- M <m>  Tue\n\nvim (2:2-1) x; y\n\n  * two\n";
        let expected = "vim (2:3-1) unstable; urgency=low\n\n  * three (again)\n\n -- M <m>  Tue";
        assert_eq!(since(debian, of_debian, "2:2-1"), expected);
        assert_eq!(since(debian, of_debian, "2:3-1"), "");
        let rpm =
            "* Tue Jan 02 2024 N <n> - 1:2-3\n- two\n\n* Mon Jan 01 2024 N <n> - 1-1\n- one\n";
        assert_eq!(
            since(rpm, of_rpm, "1-1"),
            "* Tue Jan 02 2024 N <n> - 1:2-3\n- two"
        );
        assert!(since(rpm, of_rpm, "2-3").is_empty());
        let long = "x\n".repeat(LINES + 2);
        assert!(since(&long, of_rpm, "1").ends_with("(2 lines more)"));
    }
}
