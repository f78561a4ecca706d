//! Keys of a product: made once, loaded to sign.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{SigningKey, VerifyingKey};
use edge_ota::signed::{self, Domain, Role};
use edge_ota::{durable, trust};

const NAMES: [&str; 3] = ["root", "channel", "commit"];

/// Fills a buffer with random bytes: the system's own generator, or a fixed one in tests.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<()>;

/// The operating system's random bytes.
pub fn system_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).context("reading random bytes")
}

/// Makes `{root,channel,commit}.{secret,public}` and a self-signed `1.root` in `dir`, and returns
/// their paths. Refuses when any of them is there.
pub fn generate(dir: &Path, random: Random<'_>) -> Result<Vec<PathBuf>> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("making {}", dir.display()))?;
    let first_root = dir.join(trust::file_name(1));
    let paths: Vec<PathBuf> = NAMES
        .iter()
        .flat_map(|name| [secret_path(dir, name), public_path(dir, name)])
        .chain([first_root.clone()])
        .collect();
    for path in &paths {
        if fs::symlink_metadata(path).is_ok() {
            bail!("{} exists; keys are never overwritten", path.display());
        }
    }
    let [root, channel, commit] = [
        make(dir, "root", random)?,
        make(dir, "channel", random)?,
        make(dir, "commit", random)?,
    ];
    let payload = trust::payload(1, &only(&root)?, &only(&channel)?, &only(&commit)?)?;
    let document = signed::create(Domain::Root, &payload, std::slice::from_ref(&root));
    durable::write(&first_root, &document)?;
    Ok(paths)
}

/// Reads a secret key: one line, base64 of 64 bytes (seed, public), as stock ostree has it.
pub fn load_secret(path: &Path) -> Result<SigningKey> {
    parse_secret(&text(path)?).with_context(|| path.display().to_string())
}

/// Reads a public key: one line, base64 of 32 bytes.
pub fn load_public(path: &Path) -> Result<VerifyingKey> {
    trust::public_key(text(path)?.trim_end())
        .with_context(|| format!("{} is not base64 of a 32 byte public key", path.display()))
}

pub fn secret_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.secret"))
}

pub fn public_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.public"))
}

fn make(dir: &Path, name: &str, random: Random<'_>) -> Result<SigningKey> {
    let mut seed = [0; 32];
    random(&mut seed)?;
    let key = SigningKey::from_bytes(&seed);
    let secret = STANDARD.encode(key.to_keypair_bytes()) + "\n";
    durable::write_private(&secret_path(dir, name), secret.as_bytes())?;
    let public = STANDARD.encode(key.verifying_key().as_bytes()) + "\n";
    durable::write(&public_path(dir, name), public.as_bytes())?;
    Ok(key)
}

fn only(key: &SigningKey) -> Result<Role> {
    Role::new(1, vec![key.verifying_key()]).map_err(anyhow::Error::msg)
}

/// Says nothing of the content when it is wrong: it may be half a key.
fn parse_secret(text: &str) -> Result<SigningKey> {
    let Ok(bytes) = STANDARD.decode(text.trim_end()) else {
        bail!("not base64 of a secret key");
    };
    let Ok(bytes) = <[u8; 64]>::try_from(bytes) else {
        bail!("a secret key has 64 bytes, seed and public key");
    };
    SigningKey::from_keypair_bytes(&bytes).context("seed and public key do not belong together")
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use edge_ota::signed::KeyId;

    use super::*;

    /// Counts up, so that each key differs.
    fn counting() -> impl FnMut(&mut [u8]) -> Result<()> {
        let mut next = 0;
        move |bytes| {
            next += 1;
            bytes.fill(next);
            Ok(())
        }
    }

    #[test]
    fn a_device_trusts_what_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("keys");
        let paths = generate(&dir, &mut counting()).unwrap();
        assert_eq!(paths.len(), 7);
        let root = trust::load_highest(&dir).unwrap();
        let roles = [root.root(), root.channel(), root.commit()];
        for (name, role) in NAMES.iter().zip(roles) {
            let secret = load_secret(&secret_path(&dir, name)).unwrap();
            let public = load_public(&public_path(&dir, name)).unwrap();
            assert_eq!(secret.verifying_key(), public);
            assert_eq!(
                role.keys().keys().collect::<Vec<_>>(),
                [&KeyId::of(&public)]
            );
            let mode = fs::metadata(secret_path(&dir, name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn keys_are_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("commit.public"), "precious").unwrap();
        let error = generate(dir.path(), &mut counting()).unwrap_err();
        assert!(
            error.to_string().contains("commit.public exists"),
            "{error}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_wrong_secret_is_named_but_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.secret");
        let swapped = STANDARD.encode([7; 64]);
        for (text, expected) in [
            ("", "64 bytes"),
            ("?!", "not base64"),
            ("AAAA", "64 bytes"),
            (swapped.as_str(), "belong together"),
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", load_secret(&path).unwrap_err());
            assert!(
                error.contains("x.secret") && error.contains(expected),
                "{error}"
            );
            assert!(text.len() < 8 || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn the_system_gives_random_bytes() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        system_random(&mut one).unwrap();
        system_random(&mut two).unwrap();
        assert_ne!(one, two);
    }
}
