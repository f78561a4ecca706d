//! A [`Diff`] as one HTML page that needs nothing beside it.

use std::fmt::Write;

use super::text::size;
use super::{Changes, Diff, FileChange};

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #ddd;
vertical-align:top;overflow-wrap:anywhere}th{font-weight:600}code,td{font-variant-numeric:tabular-nums}
.added{color:#116329}.removed{color:#a40e26}.rights{color:#a40e26;font-weight:600}.none{color:#666}
td:first-child{min-width:5rem}summary{cursor:pointer;margin:.5rem 0}
pre{font-size:13px;white-space:pre-wrap;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#151515}td,th{border-color:#333}.added{color:#5fd07f}
.removed,.rights{color:#ff8182}.none{color:#999}}
";

/// More rows than this are folded away.
const OPEN_ROWS: usize = 40;

pub fn page(diff: &Diff) -> String {
    let (from, to) = (&diff.from, &diff.to);
    let title = format!("{} {} → {}", to.board, from.version, to.version);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\n<style>{STYLE}</style></head>\n\
         <body><h1>{0}</h1>\n",
        escaped(&title)
    );
    let rows = [
        ("commit", from.commit.as_str(), to.commit.as_str()),
        ("kernel", &from.kernel, &to.kernel),
        ("size", &size(from.bytes), &size(to.bytes)),
    ];
    let rows = rows.map(|(what, a, b)| row(&[what, a, b], ""));
    out.push_str(&table(&["", "from", "to"], &rows));
    for (title, changes) in diff.sections() {
        section(&mut out, title, changes);
    }
    changelogs(&mut out, diff);
    let (unexpected, expected): (Vec<_>, Vec<_>) =
        diff.files.iter().partition(|file| !file.expected);
    files(&mut out, "files of no package that changed", &unexpected);
    files(&mut out, "files of packages that changed", &expected);
    out.push_str("</body></html>\n");
    out
}

fn section(out: &mut String, title: &str, changes: &Changes) {
    let changed = changes
        .changed
        .iter()
        .map(|(name, [old, new])| row(&[name, old, new], ""));
    let added = changes.added.iter().map(|(name, value)| {
        let value = if value.is_empty() { "added" } else { value };
        row(&[name, "", value], "added")
    });
    let removed = changes.removed.iter().map(|(name, value)| {
        let value = if value.is_empty() { "removed" } else { value };
        row(&[name, value, ""], "removed")
    });
    let rows: Vec<String> = changed.chain(added).chain(removed).collect();
    folded(out, title, &["", "from", "to"], &rows);
}

fn changelogs(out: &mut String, diff: &Diff) {
    if !diff.changelogs.is_empty() {
        let _ = writeln!(out, "<h2>changelogs: {}</h2>", diff.changelogs.len());
    }
    for (name, text) in &diff.changelogs {
        let (name, text) = (escaped(name), escaped(text));
        let _ = writeln!(
            out,
            "<details><summary>{name}</summary><pre>{text}</pre></details>"
        );
    }
}

fn files(out: &mut String, title: &str, files: &[&FileChange]) {
    let rows: Vec<String> = files.iter().map(|file| of_file(file)).collect();
    folded(out, title, &["file", "package", "bytes"], &rows);
}

fn of_file(file: &FileChange) -> String {
    let mut bytes = format!("{:+}", file.growth());
    if let (Some(old), Some(new), true) = (file.before, file.after, file.rights_differ()) {
        let _ = write!(
            bytes,
            ", {:04o} {}:{} → {:04o} {}:{}",
            old.mode, old.uid, old.gid, new.mode, new.uid, new.gid
        );
        return row(&[&file.path, &file.package, &bytes], "rights");
    }
    let class = match file.what() {
        "changed" => "",
        what => what,
    };
    row(&[&file.path, &file.package, &bytes], class)
}

fn folded(out: &mut String, title: &str, heads: &[&str], rows: &[String]) {
    let _ = writeln!(out, "<h2>{}: {}</h2>", escaped(title), rows.len());
    if rows.is_empty() {
        out.push_str("<p class=\"none\">no change</p>\n");
        return;
    }
    match rows.len() > OPEN_ROWS {
        true => {
            out.push_str("<details><summary>show</summary>\n");
            out.push_str(&table(heads, rows));
            out.push_str("</details>\n");
        }
        false => out.push_str(&table(heads, rows)),
    }
}

fn table(heads: &[&str], rows: &[String]) -> String {
    let heads: String = heads
        .iter()
        .map(|head| format!("<th>{head}</th>"))
        .collect();
    format!("<table><tr>{heads}</tr>\n{}</table>\n", rows.concat())
}

fn row(cells: &[&str], class: &str) -> String {
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{}</td>", escaped(cell)))
        .collect();
    match class {
        "" => format!("<tr>{cells}</tr>\n"),
        _ => format!("<tr class=\"{class}\">{cells}</tr>\n"),
    }
}

/// Names of files may hold anything.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}
