//! SELinux in a laid out tree: no tree is labelled here, and an enforced policy would keep one from booting.

use std::path::Path;

use anyhow::{Result, bail};

use super::rooted;

const CONFIG: &str = "usr/etc/selinux/config";
/// Kernel arguments that keep a policy from being enforced.
const OFF: [&str; 2] = ["selinux=0", "enforcing=0"];

/// Refuses a tree whose own configuration would enforce a policy.
pub fn check(root: &Path, kernel_arguments: &[String]) -> Result<()> {
    let config = root.join(CONFIG);
    if !config.is_file()
        || kernel_arguments
            .iter()
            .any(|arg| OFF.contains(&arg.as_str()))
    {
        return Ok(());
    }
    let enforces = |line: &str| line.trim().strip_prefix("SELINUX=") == Some("enforcing");
    if rooted::read_text(&config)?.lines().any(enforces) {
        bail!(
            "/etc/selinux/config enforces a policy, and files of a tree have no labels: add 'selinux=0' to \
             edge.kernel-arguments, or leave the policy's package out with exclude-packages"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enforced_policy_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let none: [String; 0] = [];
        check(dir.path(), &none).unwrap();
        for (text, arguments, fine) in [
            ("# SELINUX=enforcing\nSELINUX=permissive\n", "quiet", true),
            ("SELINUX=enforcing\nSELINUXTYPE=targeted\n", "quiet", false),
            ("SELINUX=enforcing\n", "selinux=0", true),
        ] {
            rooted::put(&dir.path().join(CONFIG), text).unwrap();
            let found = check(dir.path(), &[arguments.to_owned()]);
            assert_eq!(found.is_ok(), fine, "{text} {arguments}");
        }
    }
}
