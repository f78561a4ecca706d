//! Versions from `automatic-version-prefix`, as rpm-ostree makes them.

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

/// The prefix itself where the last version has another one, else the last version counted on: `13`,
/// `13.1`, `13.2`, with the separator before the count. A prefix with `<date:FORMAT>` begins at `.0`.
pub fn next(prefix: &str, separator: char, previous: Option<&str>, now: u64) -> Result<String> {
    let (expanded, dated) = expand(prefix, now)?;
    let counted = previous.and_then(|last| match last.strip_prefix(&expanded)? {
        "" => Some(1),
        rest => rest
            .strip_prefix(separator)?
            .parse::<u64>()
            .ok()?
            .checked_add(1),
    });
    Ok(match counted {
        Some(n) => format!("{expanded}{separator}{n}"),
        None if dated => format!("{expanded}{separator}0"),
        None => expanded,
    })
}

/// Fills in `<date:FORMAT>` (strftime, UTC) and says whether there was one.
fn expand(prefix: &str, now: u64) -> Result<(String, bool)> {
    let Some((before, rest)) = prefix.split_once("<date:") else {
        return Ok((prefix.to_owned(), false));
    };
    let Some((format, after)) = rest.split_once('>') else {
        bail!("automatic-version-prefix: '{prefix}' has '<date:' without '>'");
    };
    let date = Cmd::new("date")
        .args(["-u", "-d", &format!("@{now}"), &format!("+{format}")])
        .text();
    let date = date.context("automatic-version-prefix: formatting the date")?;
    Ok((format!("{before}{}{after}", date.trim_end()), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_on_within_a_prefix() {
        let now = 1_795_305_600; // 2026-11-22
        let table = [
            ("13", None, "13"),
            ("13", Some("13"), "13.1"),
            ("13", Some("13.9"), "13.10"),
            ("13", Some("12.9"), "13"),
            ("13.<date:%Y%m%d>", None, "13.20261122.0"),
            ("13.<date:%Y%m%d>", Some("13.20261122.0"), "13.20261122.1"),
            ("13.<date:%Y%m%d>", Some("13.20261121.4"), "13.20261122.0"),
        ];
        for (prefix, previous, expected) in table {
            assert_eq!(
                next(prefix, '.', previous, now).unwrap(),
                expected,
                "{prefix} {previous:?}"
            );
        }
        assert_eq!(next("13", '-', Some("13-4"), now).unwrap(), "13-5");
        assert!(next("<date:%Y", '.', None, now).is_err());
    }
}
