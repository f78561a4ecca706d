//! Who signs the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use edge_ota::cmd::Cmd;
use tempfile::TempDir;

/// Who signs the packages.
const SIGNER: &str = "edge-test";

/// GnuPG with the one key of a folder. Its home has a short path, for the agent listens there.
pub struct Signer(TempDir);

impl Signer {
    /// Makes `key.asc` and `key.secret`, without a password, where they are not there.
    pub fn new(dir: &Path) -> Result<Self> {
        let signer = Self(tempfile::tempdir()?);
        let secret = dir.join("key.secret");
        let open = ["--pinentry-mode", "loopback", "--passphrase", ""];
        if secret.exists() {
            signer.gpg().arg("--import").arg(&secret).run()?;
            return Ok(signer);
        }
        let generate = ["--quick-generate-key", SIGNER, "rsa2048", "sign", "never"];
        signer.gpg().args(open).args(generate).run()?;
        let exported = signer.gpg().args(open);
        let exported = exported
            .args(["--armor", "--export-secret-keys"])
            .output()?;
        fs::write(
            dir.join("key.asc"),
            signer.gpg().args(["--armor", "--export"]).output()?,
        )?;
        fs::write(&secret, exported)?;
        Ok(signer)
    }

    fn gpg(&self) -> Cmd {
        Cmd::new("gpg")
            .env("GNUPGHOME", self.0.path())
            .arg("--batch")
    }

    pub fn sign(&self, rpms: &[PathBuf]) -> Result<()> {
        Cmd::new("rpmsign")
            .arg(format!("--define=_gpg_name {SIGNER}"))
            .arg("--define=__gpg /usr/bin/gpg")
            .arg("--addsign")
            .args(rpms)
            .env("GNUPGHOME", self.0.path())
            .run()
    }
}

impl Drop for Signer {
    /// The agent would outlive us.
    fn drop(&mut self) {
        let end = Cmd::new("gpgconf").env("GNUPGHOME", self.0.path());
        if let Err(e) = end.args(["--kill", "all"]).run() {
            eprintln!("ending the agent: {e:#}");
        }
    }
}
