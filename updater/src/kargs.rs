//! Kernel arguments of one device, beside those of its board and treefile: `/etc/edge-ota/kargs`, one a line, lines
//! with `#` are comments. They come with `/etc` into each release, and count from its first boot on.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Below `/etc`.
pub const PATH: &str = "edge-ota/kargs";

/// Reads a tree's; none where there is no such file.
pub fn load(tree: &Path) -> Result<Vec<String>> {
    let path = tree.join("etc").join(PATH);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    parse(&text).with_context(|| path.display().to_string())
}

pub fn parse(text: &str) -> Result<Vec<String>> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    said.map(|(number, line)| {
        check(line).with_context(|| format!("line {number}"))?;
        Ok(line.to_owned())
    })
    .collect()
}

/// The file that says these.
pub fn to_text(arguments: &[String]) -> Result<String> {
    let mut text = String::from("# Kernel arguments of this device, one a line.\n");
    for argument in arguments {
        check(argument)?;
        text.push_str(argument);
        text.push('\n');
    }
    Ok(text)
}

/// What every boot loader takes literally. Where to find the root is the loader's to say.
fn check(argument: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_graphic() && !"\\'\"$;#".contains(c);
    if argument.is_empty() || !argument.chars().all(plain) {
        bail!("'{argument}' is not one kernel argument of plain characters");
    }
    let key = argument.split('=').next().unwrap_or(argument);
    if ["root", "ostree"].contains(&key) || key.starts_with("edge_ota.") {
        bail!("{key}= is set by the boot loader for each slot");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_one_a_line() {
        let text = "# my own\n\nquiet\n  isolcpus=1,2 \n";
        let parsed = parse(text).unwrap();
        assert_eq!(parsed, ["quiet", "isolcpus=1,2"]);
        assert_eq!(parse(&to_text(&parsed).unwrap()).unwrap(), parsed);
        assert!(load(Path::new("/nonexistent")).unwrap().is_empty());
    }

    #[test]
    fn what_a_loader_would_not_take_is_refused_with_its_line() {
        for (text, part) in [
            ("quiet\na b", "line 2"),
            ("x=$y", "plain"),
            ("x=\"y\"", "plain"),
            ("root=/dev/sda", "root= is set"),
            ("edge_ota.trial=1", "edge_ota.trial="),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
