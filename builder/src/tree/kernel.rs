//! The one kernel of a tree, and what its own configuration must say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::rooted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says, `6.12.57+deb13-amd64`.
    pub release: String,
    /// `usr/lib/modules/<release>`, relative to the root.
    pub dir: PathBuf,
}

/// Finds the single kernel of a root file system.
pub fn find(root: &Path) -> Result<Kernel> {
    let modules = root.join("usr/lib/modules");
    let mut releases = rooted::names(&modules)?;
    releases.retain(|name| modules.join(name).join("modules.builtin").exists());
    match releases.as_slice() {
        [release] => Ok(Kernel {
            release: release.clone(),
            dir: Path::new("usr/lib/modules").join(release),
        }),
        [] => bail!("the tree has no kernel (nothing in /usr/lib/modules): add a kernel package"),
        many => bail!(
            "the tree has {} kernels ({}); keep one",
            many.len(),
            many.join(", ")
        ),
    }
}

/// Refuses a kernel of a laid out tree that is older than `minimum` or lacks any option of
/// `required` (`CONFIG_X=y`, or `CONFIG_X` where a module will do).
pub fn check(root: &Path, kernel: &Kernel, minimum: &str, required: &[&str]) -> Result<()> {
    let path = root.join(&kernel.dir).join("config");
    let config = fs::read_to_string(&path)
        .with_context(|| format!("reading the kernel's configuration {}", path.display()))?;
    judge(&kernel.release, &config, minimum, required)
}

/// As [`check`], on text.
pub fn judge(release: &str, config: &str, minimum: &str, required: &[&str]) -> Result<()> {
    let (have, want) = (version(release)?, version(minimum)?);
    if have < want {
        bail!("kernel {release} is older than {minimum}");
    }
    let missing = missing(config, required);
    if !missing.is_empty() {
        bail!("kernel {release} lacks {}", missing.join(" "));
    }
    Ok(())
}

/// The options of `required` that `config` does not satisfy, in the order asked for.
pub fn missing<'a>(config: &str, required: &[&'a str]) -> Vec<&'a str> {
    let set: BTreeMap<&str, &str> = config
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .collect();
    let satisfied = |wanted: &str| match wanted.split_once('=') {
        Some((name, value)) => set.get(name) == Some(&value),
        None => matches!(set.get(wanted), Some(&"y" | &"m")),
    };
    required
        .iter()
        .copied()
        .filter(|wanted| !satisfied(wanted))
        .collect()
}

/// The leading numbers of a release: `6.12.57+deb13` is 6, 12, 57.
fn version(release: &str) -> Result<[u32; 3]> {
    let numbers = release
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()
        .unwrap_or("");
    let mut version = [0; 3];
    for (place, digits) in version
        .iter_mut()
        .zip(numbers.split('.').filter(|d| !d.is_empty()))
    {
        *place = digits
            .parse()
            .with_context(|| format!("'{release}' is no kernel release"))?;
    }
    if version == [0; 3] {
        bail!("'{release}' is no kernel release");
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_CPUSETS=y\nCONFIG_OVERLAY_FS=m\n# CONFIG_MEMCG is not set\n\
                          CONFIG_HZ=250\nCONFIG_NAME=\"a=b\"\n";

    #[test]
    fn options() {
        let check = |wanted: &str, satisfied: bool| {
            assert_eq!(missing(CONFIG, &[wanted]).is_empty(), satisfied, "{wanted}");
        };
        check("CONFIG_CPUSETS", true);
        check("CONFIG_CPUSETS=y", true);
        check("CONFIG_OVERLAY_FS", true);
        check("CONFIG_OVERLAY_FS=m", true);
        check("CONFIG_OVERLAY_FS=y", false);
        check("CONFIG_MEMCG", false);
        check("CONFIG_HZ", false);
        check("CONFIG_HZ=250", true);
        check("CONFIG_NONE", false);
    }

    #[test]
    fn versions() {
        let check = |release: &str, minimum: &str, fine: bool| {
            assert_eq!(
                judge(release, "", minimum, &[]).is_ok(),
                fine,
                "{release} {minimum}"
            );
        };
        check("6.12.57+deb13-amd64", "4.19", true);
        check("4.19", "4.19", true);
        check("4.19.0-5", "4.19.1", false);
        check("4.9.300", "4.19", false);
        check("5.14.0-362.el9.x86_64", "5.14", true);
        check("linux", "4.19", false);
    }

    #[test]
    fn all_missing_options_are_named_in_one_line() {
        let error = judge(
            "6.1",
            CONFIG,
            "4.19",
            &["CONFIG_A", "CONFIG_CPUSETS", "CONFIG_B=y"],
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "kernel 6.1 lacks CONFIG_A CONFIG_B=y"
        );
    }

    #[test]
    fn exactly_one_kernel() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            find(dir.path())
                .unwrap_err()
                .to_string()
                .contains("no kernel")
        );
        rooted::put(&dir.path().join("usr/lib/modules/6.1/modules.builtin"), "").unwrap();
        assert_eq!(find(dir.path()).unwrap().release, "6.1");
        rooted::put(&dir.path().join("usr/lib/modules/6.2/modules.builtin"), "").unwrap();
        assert!(
            find(dir.path())
                .unwrap_err()
                .to_string()
                .contains("6.1, 6.2")
        );
    }
}
