//! The keys of a treefile and what somebody who mistyped one may have meant.

pub const TOP: &[&str] = &[
    "ref",
    "releasever",
    "packages",
    "repos",
    "include",
    "units",
    "default-target",
    "postprocess",
    "postprocess-script",
    "remove-files",
    "add-files",
    "etc-group-members",
    "mutate-os-release",
    "automatic-version-prefix",
    "edge",
];

pub const EDGE: &[&str] = &[
    "suites",
    "initramfs",
    "sysctls",
    "kernel-arguments",
    "kernel-options",
    "kernel-min-version",
    "kernel-modules",
    "modules-load",
    "health-units",
];

pub const SUITE: &[&str] = &["suite", "components", "mirror", "signed-by"];

/// The architectures of `packages-<arch>`, as rpm-ostree and RPM call them.
pub const ARCHITECTURES: &[&str] = &[
    "x86_64", "aarch64", "armv7hl", "armhfp", "i386", "ppc64le", "riscv64", "s390x",
];

/// One line on an unknown key, with the nearest known one when it is close.
pub fn unknown(key: &str, known: &[&str]) -> String {
    let best = known.iter().map(|k| (distance(key, k), *k)).min();
    match best {
        Some((far, near)) if far <= 1 + near.len() / 4 => {
            format!("unknown key '{key}' (did you mean '{near}'?)")
        }
        _ => format!("unknown key '{key}' (known: {})", known.join(", ")),
    }
}

/// Levenshtein's distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for ((to, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != *to))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("pakages", "packages", 1),
            ("unit", "units", 1),
        ];
        for (a, b, expected) in table {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_close_key_is_suggested() {
        assert_eq!(
            unknown("pakages", TOP),
            "unknown key 'pakages' (did you mean 'packages'?)"
        );
        assert!(
            unknown("selinux", TOP).contains("known: ref"),
            "{}",
            unknown("selinux", TOP)
        );
    }
}
