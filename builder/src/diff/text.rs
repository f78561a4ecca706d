//! A [`Diff`] on a terminal.

use std::fmt::Write;

use super::{Changes, Diff, FileChange};

/// At most `lines` of each kind but packages.
pub fn text(diff: &Diff, lines: usize) -> String {
    let mut out = String::new();
    let (from, to) = (&diff.from, &diff.to);
    line(&mut out, "version", &from.version, &to.version);
    line(&mut out, "commit", from.commit.short(), to.commit.short());
    line(&mut out, "kernel", &from.kernel, &to.kernel);
    line(&mut out, "size", &size(from.bytes), &size(to.bytes));
    for (title, changes) in diff.sections() {
        let lines = if title == "packages" {
            usize::MAX
        } else {
            lines
        };
        section(&mut out, title, changes, lines);
    }
    for (name, changelog) in &diff.changelogs {
        let _ = writeln!(out, "\nchangelog of {name}:");
        for text in changelog.lines() {
            let _ = writeln!(out, "{}", format!("  {text}").trim_end());
        }
    }
    let unexpected: Vec<&FileChange> = diff.unexpected().collect();
    let _ = writeln!(
        out,
        "\nfiles: {} differ, {} of them of no package that changed",
        diff.files.len(),
        unexpected.len()
    );
    for file in unexpected.iter().take(lines) {
        let _ = writeln!(out, "  {}", of_file(file));
    }
    more(&mut out, unexpected.len(), lines);
    out
}

fn line(out: &mut String, what: &str, from: &str, to: &str) {
    let _ = match from == to {
        true => writeln!(out, "{what:<8} {from}"),
        false => writeln!(out, "{what:<8} {from} → {to}"),
    };
}

fn section(out: &mut String, title: &str, changes: &Changes, lines: usize) {
    if changes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}:");
    for text in self::lines(changes).iter().take(lines) {
        let _ = writeln!(out, "  {text}");
    }
    more(out, changes.len(), lines);
}

/// One for each change.
pub fn lines(changes: &Changes) -> Vec<String> {
    let changed = changes.changed.iter();
    let changed = changed.map(|(name, [old, new])| format!("  {name} {old} → {new}"));
    let one = |sign: &str, name: &str, value: &str| {
        format!("{sign} {name} {value}").trim_end().to_owned()
    };
    let added = changes
        .added
        .iter()
        .map(|(name, value)| one("+", name, value));
    let removed = changes
        .removed
        .iter()
        .map(|(name, value)| one("-", name, value));
    changed.chain(added).chain(removed).collect()
}

fn more(out: &mut String, count: usize, lines: usize) {
    if let Some(rest) = count.checked_sub(lines).filter(|rest| *rest > 0) {
        let _ = writeln!(out, "    ({rest} more)");
    }
}

fn of_file(file: &FileChange) -> String {
    let sign = match file.what() {
        "added" => "+",
        "removed" => "-",
        _ => " ",
    };
    let rights = match (file.before, file.after) {
        (Some(old), Some(new)) if file.rights_differ() => format!(
            ", {:04o} {}:{} → {:04o} {}:{}",
            old.mode, old.uid, old.gid, new.mode, new.uid, new.gid
        ),
        _ => String::new(),
    };
    format!("{sign} {} ({:+} B{rights})", file.path, file.growth())
}

/// `312.4 MB`
pub fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
