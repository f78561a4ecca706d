//! Locks of a small signed repository: what changes in it is seen, what was locked can be fetched.

// clippy lets test functions unwrap, not what they call.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use edge_ota::cmd::Cmd;
use sha2::{Digest, Sha256};

/// What the board itself asks for, beside one package of the treefile.
const NAMES: [&str; 6] = [
    "linux-image-amd64",
    "shim-signed",
    "shim-helpers-amd64-signed",
    "grub-efi-amd64-signed",
    "grub-pc-bin",
    "tool",
];

/// A mirror with one suite, its key and a treefile that uses it.
struct Mirror {
    dir: PathBuf,
}

impl Mirror {
    fn new(dir: &Path) -> Self {
        let gpg = dir.join("gpg");
        fs::create_dir(&gpg).unwrap();
        Cmd::new("chmod").arg("700").arg(&gpg).run().unwrap();
        let mirror = Self {
            dir: dir.to_owned(),
        };
        let user = "test <test@mirror.example>";
        let key = ["--quick-generate-key", user, "ed25519", "sign", "never"];
        mirror
            .gpg()
            .args(["--passphrase", ""])
            .args(key)
            .run()
            .unwrap();
        let keyring = dir.join("keyring.gpg");
        let export = mirror.gpg().arg("--output").arg(&keyring);
        export.arg("--export").run().unwrap();
        let treefile = format!(
            "ref: edge/13/x86_64/node\npackages: [tool]\nedge:\n  suites:\n\
             \x20   - {{suite: small, mirror: 'file:{}', signed-by: keyring.gpg}}\n",
            dir.display()
        );
        fs::write(dir.join("node.yaml"), treefile).unwrap();
        mirror
    }

    fn gpg(&self) -> Cmd {
        Cmd::new("gpg")
            .args(["--batch", "--quiet", "--yes", "--homedir"])
            .arg(self.dir.join("gpg"))
    }

    /// Offers the package `tool` in a version, and the others in their only one.
    fn offer(&self, tool: &str, date: &str) {
        let suite = self.dir.join("dists/small");
        let (index, pool) = (suite.join("main/binary-amd64"), self.dir.join("pool"));
        fs::create_dir_all(&index).unwrap();
        fs::create_dir_all(&pool).unwrap();
        let mut packages = String::new();
        for name in NAMES {
            let (version, essential) = match name {
                "tool" => (tool, "yes"),
                _ => ("1", "no"),
            };
            let (file, bytes) = (
                format!("pool/{name}_{version}.deb"),
                format!("{name} {version}"),
            );
            fs::write(self.dir.join(&file), &bytes).unwrap();
            packages.push_str(&format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nEssential: {essential}\n\
                 Filename: {file}\nSize: {}\nSHA256: {}\n\n",
                bytes.len(),
                sha256(bytes.as_bytes())
            ));
        }
        fs::write(index.join("Packages"), &packages).unwrap();
        let release = format!(
            "Suite: small\nCodename: small\nArchitectures: amd64\nComponents: main\nDate: {date}\nSHA256:\n \
             {} {} main/binary-amd64/Packages\n",
            sha256(packages.as_bytes()),
            packages.len()
        );
        fs::write(suite.join("Release"), release).unwrap();
        let signed = self.gpg().arg("--output").arg(suite.join("InRelease"));
        signed
            .arg("--clearsign")
            .arg(suite.join("Release"))
            .run()
            .unwrap();
    }

    /// What it prints, and its error.
    fn lock(&self, more: &[&str]) -> (String, Result<(), String>) {
        let mut printed = String::new();
        let done = Cmd::new(env!("CARGO_BIN_EXE_edge-build"))
            .args(["lock", "--board", "x86_64", "--boards"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards"))
            .arg("--cache")
            .arg(self.dir.join("cache"))
            .arg("--deb")
            .arg(self.dir.join("own.deb"))
            .arg("--out")
            .arg(self.dir.join("lock.json"))
            .args(more)
            .arg(self.dir.join("node.yaml"))
            .run_with(
                |mut out| Ok(std::io::Read::read_to_string(&mut out, &mut printed)?),
                |_| {},
            );
        (printed, done.map(drop).map_err(|e| format!("{e:#}")))
    }

    /// A package that lies here as a file, with a text in it.
    fn pack_own(&self, text: &str) {
        let tree = self.dir.join("own");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = "Package: own\nVersion: 1\nArchitecture: all\nMaintainer: m <m@mirror.example>\nDescription: d\n";
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        fs::write(tree.join("text"), text).unwrap();
        let pack = Cmd::new("dpkg-deb").args(["--root-owner-group", "-b"]);
        let pack = pack.arg(&tree).arg(self.dir.join("own.deb"));
        pack.env("SOURCE_DATE_EPOCH", "1700000000").run().unwrap();
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let kill = Cmd::new("gpgconf")
            .arg("--homedir")
            .arg(self.dir.join("gpg"));
        // Its own agent, which ends by itself once the folder is gone.
        let _ = kill.args(["--kill", "gpg-agent"]).run();
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_change_of_the_packages_is_a_change_of_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::new(dir.path());
    mirror.pack_own("one");
    mirror.offer("1", "Tue, 14 Nov 2023 22:13:20 UTC");
    let (printed, done) = mirror.lock(&["--download"]);
    done.unwrap();
    assert_eq!(printed, "2 packages\n");
    let text = fs::read(dir.path().join("lock.json")).unwrap();
    let lock: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(lock["snapshot"], 1_700_000_000);
    assert_eq!(lock["firmware"].as_array().unwrap().len(), 4);
    let own = sha256(&fs::read(dir.path().join("own.deb")).unwrap());
    assert_eq!(lock["local"][0]["sha256"], own.as_str());
    for name in NAMES {
        let kept = format!("cache/debs/{}.deb", sha256(format!("{name} 1").as_bytes()));
        assert!(dir.path().join(&kept).exists(), "{name}");
    }
    assert_eq!(mirror.lock(&["--check"]), (String::new(), Ok(())));

    mirror.offer("2", "Tue, 14 Nov 2023 22:13:21 UTC");
    mirror.pack_own("two");
    let (printed, done) = mirror.lock(&["--check"]);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("  own:all 1 ("), "{printed}");
    assert!(lines[1].starts_with("  tool:amd64 1 ("), "{printed}");
    let error = done.unwrap_err();
    assert!(error.contains("is behind by 2 packages"), "{error}");
    assert_eq!(fs::read(dir.path().join("lock.json")).unwrap(), text);
    mirror.lock(&[]).1.unwrap();
    assert_eq!(mirror.lock(&["--check"]), (String::new(), Ok(())));
}

#[test]
fn an_earlier_lock_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::new(dir.path());
    mirror.pack_own("one");
    mirror.offer("1", "Tue, 14 Nov 2023 22:13:20 UTC");
    let earlier = r#"{"format":1,"board":"x86_64","packages":[],"firmware":[]}"#;
    fs::write(dir.path().join("lock.json"), earlier).unwrap();
    let error = mirror.lock(&["--check"]).1.unwrap_err();
    assert!(
        error.contains("has format 1, not 2: make it anew with 'edge-build lock'"),
        "{error}"
    );
    mirror.lock(&[]).1.unwrap();
    mirror.lock(&["--check"]).1.unwrap();
}
