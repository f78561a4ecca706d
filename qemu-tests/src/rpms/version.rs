//! Versions and dependencies of Debian's packages in RPM's words.

/// An RPM's version.
pub struct Evr {
    pub epoch: u32,
    pub version: String,
    pub release: String,
}

impl Evr {
    pub fn parse(debian: &str) -> Self {
        let (epoch, rest) = match debian.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, debian),
        };
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        Self {
            epoch,
            version: version.replace('-', "_"),
            release: release.to_owned(),
        }
    }
}

/// `a (>= 1) | b` is `(a >= 1 or b)`.
pub fn requirement(debian: &str) -> String {
    let all: Vec<String> = debian.split(" | ").map(one_requirement).collect();
    match all.as_slice() {
        [one] => one.clone(),
        _ => format!("({})", all.join(" or ")),
    }
}

fn one_requirement(debian: &str) -> String {
    let (name, range) = match debian.split_once(" (") {
        Some((name, range)) => (name, Some(range.trim_end_matches(')'))),
        None => (debian, None),
    };
    let name = name.split(':').next().unwrap_or(name);
    let Some((operator, version)) = range.and_then(|range| range.split_once(' ')) else {
        return name.to_owned();
    };
    let operator = match operator {
        // A version without a release is any release to RPM, and the first one to Debian.
        ">>" => ">=",
        "<<" => "<",
        other => other,
    };
    let evr = Evr::parse(version);
    let epoch = match evr.epoch {
        0 => String::new(),
        epoch => format!("{epoch}:"),
    };
    let release = match version.contains('-') {
        true => format!("-{}", evr.release),
        false => String::new(),
    };
    format!("{name} {operator} {epoch}{}{release}", evr.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements() {
        let table = [
            ("libc6 (>= 2.38)", "libc6 >= 2.38"),
            (
                "debconf (>= 0.5) | debconf-2.0",
                "(debconf >= 0.5 or debconf-2.0)",
            ),
            ("python3:any", "python3"),
            ("vim-common (= 2:9.1.1230-2)", "vim-common = 2:9.1.1230-2"),
            ("a (<< 1~b)", "a < 1~b"),
        ];
        for (debian, rpm) in table {
            assert_eq!(requirement(debian), rpm);
        }
    }
}
