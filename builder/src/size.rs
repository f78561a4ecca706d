//! What a tree is made of, in bytes: by package and by folder.

use std::collections::BTreeMap;

use anyhow::Result;
use edge_ota::types::CommitChecksum;
use serde::Serialize;

use crate::owners::Owners;
use crate::repo::{Entry, Kind, Repo};

/// Bytes of file contents, largest first. Files that share content count each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub total: u64,
    pub packages: Vec<Share>,
    pub folders: Vec<Share>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    pub name: String,
    pub bytes: u64,
}

/// Sizes of a commit; folders to `depth` parts below `/`.
pub fn report(repo: &Repo, commit: &CommitChecksum, depth: usize) -> Result<Report> {
    let entries = repo.list(commit)?;
    let owners = Owners::read(repo, commit, &entries)?;
    Ok(sums(&entries, &owners, depth))
}

fn sums(entries: &BTreeMap<String, Entry>, owners: &Owners, depth: usize) -> Report {
    let mut packages: BTreeMap<&str, u64> = BTreeMap::new();
    let mut folders: BTreeMap<String, u64> = BTreeMap::new();
    let mut total = 0;
    for (path, entry) in entries.iter().filter(|(_, entry)| entry.kind == Kind::File) {
        total += entry.size;
        *packages.entry(owners.of(path)).or_default() += entry.size;
        *folders.entry(folder(path, depth)).or_default() += entry.size;
    }
    let packages = packages
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes));
    Report {
        total,
        packages: largest_first(packages),
        folders: largest_first(folders),
    }
}

fn folder(path: &str, depth: usize) -> String {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let folders = parts.len().saturating_sub(1).min(depth);
    format!("/{}", parts.get(..folders).unwrap_or(&[]).join("/"))
}

fn largest_first(sums: impl IntoIterator<Item = (String, u64)>) -> Vec<Share> {
    let mut shares: Vec<Share> = sums
        .into_iter()
        .map(|(name, bytes)| Share { name, bytes })
        .collect();
    shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    shares
}

/// For people: the largest `lines` of each kind, in MB.
pub fn table(report: &Report, lines: usize) -> String {
    let mut text = format!("{:>9.1} MB in all\n", mb(report.total));
    for (title, shares) in [("package", &report.packages), ("folder", &report.folders)] {
        text.push_str(&format!("\n{:>9}    {title}\n", "MB"));
        for share in shares.iter().take(lines) {
            text.push_str(&format!("{:>9.1}    {}\n", mb(share.bytes), share.name));
        }
        if let Some(rest) = shares.get(lines..).filter(|rest| !rest.is_empty()) {
            let bytes: u64 = rest.iter().map(|share| share.bytes).sum();
            text.push_str(&format!("{:>9.1}    ({} more)\n", mb(bytes), rest.len()));
        }
    }
    text
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners::NO_PACKAGE;

    fn entries(files: &[(&str, u64)]) -> BTreeMap<String, Entry> {
        let entry = |size| Entry {
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            checksum: None,
        };
        files
            .iter()
            .map(|(path, size)| ((*path).to_owned(), entry(*size)))
            .collect()
    }

    fn share(name: &str, bytes: u64) -> Share {
        Share {
            name: name.into(),
            bytes,
        }
    }

    #[test]
    fn every_byte_is_counted_once_for_each_view() {
        let entries = entries(&[
            ("/usr/bin/a", 1),
            ("/usr/etc/a.conf", 2),
            ("/usr/lib/modules/6/kernel/fs/x.ko", 4),
            ("/usr/lib/modules/6/vmlinuz", 8),
            ("/usr/lib/modules/6/initramfs.img", 16),
        ]);
        let owners = [
            ("/bin/a", "a"),
            ("/etc/a.conf", "a"),
            ("/usr/lib/modules/6/kernel/fs/x.ko.xz", "linux"),
            ("/boot/vmlinuz-6", "linux"),
        ];
        let report = sums(&entries, &Owners::from(&owners), 2);
        assert_eq!(report.total, 31);
        assert_eq!(
            report.packages,
            [share(NO_PACKAGE, 16), share("linux", 12), share("a", 3)]
        );
        let folders = [
            share("/usr/lib", 28),
            share("/usr/etc", 2),
            share("/usr/bin", 1),
        ];
        assert_eq!(report.folders, folders);
    }

    #[test]
    fn the_table_says_what_it_leaves_out() {
        let report = Report {
            total: 3_000_000,
            packages: vec![
                share("a", 2_000_000),
                share("b", 600_000),
                share("c", 400_000),
            ],
            folders: vec![share("/usr", 3_000_000)],
        };
        assert_eq!(
            table(&report, 1),
            "      3.0 MB in all\n\n       MB    package\n      2.0    a\n      1.0    (2 more)\n\
             \n       MB    folder\n      3.0    /usr\n"
        );
    }
}
