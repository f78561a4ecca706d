//! What needs root's rights over the files of a tree runs as root of a user namespace where it may, and says what is
//! missing where it may not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;

/// A tree has users and groups up to `nobody`, 65534.
const IDS: u32 = 65535;

/// User 0 is the caller, the others are of the ranges that the system's root has given to the caller.
const NAMESPACE: [&str; 4] = ["--user", "--map-root-user", "--map-auto", "--mount"];

const CACHE: &str = "var/cache/edge-build";
/// Names the cache to the program in the namespace, which cannot tell whose it is.
const CACHE_VARIABLE: &str = "EDGE_BUILD_CACHE";

/// Root's cache is the machine's; anybody else has one of their own.
pub fn default_cache(root: &Path) -> PathBuf {
    let of_user = || {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = || Some(PathBuf::from(set("HOME")?).join(".cache"));
        let base = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(base.join("edge-build"))
    };
    match rustix::process::geteuid().is_root() {
        true => root.join(CACHE),
        false => of_user().unwrap_or_else(|| root.join(CACHE)),
    }
}

/// Returns where the caller is root; otherwise the same command begins anew in a user namespace, or the error says why
/// it cannot.
pub fn take_root(root: &Path, act: &str, cache: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    may_enter(root).with_context(|| format!("{act} needs root, or a user namespace"))?;
    let mut arguments = std::env::args_os();
    arguments.next();
    let program = std::env::current_exe().context("asking for our own path")?;
    Err(Cmd::new("unshare")
        .args(NAMESPACE)
        .arg("--")
        .arg(program)
        .args(arguments)
        .env(CACHE_VARIABLE, cache)
        .exec())
}

fn may_enter(root: &Path) -> Result<()> {
    let user = Cmd::new("id").arg("-un").text()?.trim().to_owned();
    for program in ["newuidmap", "newgidmap"] {
        if Cmd::new(program).status().is_err() {
            bail!(
                "{program} is missing: install uidmap (Debian) or shadow-utils (Fedora), or run it with sudo"
            );
        }
    }
    for name in ["etc/subuid", "etc/subgid"] {
        let path = root.join(name);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        let uid = rustix::process::getuid().as_raw().to_string();
        if !has_range(&text, &[&user, &uid]) {
            bail!(
                "{} gives no {IDS} ids to {user}: 'usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}', or run it with sudo",
                path.display()
            );
        }
    }
    let entered = Cmd::new("unshare").args(NAMESPACE).arg("true").run();
    entered.context(
        "this machine allows none (see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and \
         kernel.apparmor_restrict_unprivileged_userns): run it with sudo",
    )
}

/// Lines of `user:first:count` (subuid(5)).
fn has_range(text: &str, names: &[&str]) -> bool {
    let range = |line: &str| -> Option<u32> {
        let mut fields = line.split(':');
        let named = names.contains(&fields.next()?);
        named.then(|| fields.nth(1)?.trim().parse().ok())?
    };
    text.lines().filter_map(range).any(|count| count >= IDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_must_reach_nobody() {
        for (text, expected) in [
            ("a:1:65536\nme:100000:65536\n", true),
            ("1000:100000:65536\n", true),
            ("me:100000:1000\n", false),
            ("you:100000:65536\n", false),
            ("me\nme:x:y\n", false),
            ("", false),
        ] {
            assert_eq!(has_range(text, &["me", "1000"]), expected, "{text}");
        }
    }
}
