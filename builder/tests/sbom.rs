//! The documents of a commit are those that its metadata names.

// clippy lets test functions unwrap, not what they call.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use edge_build::repo::Repo;
use edge_build::sbom::{self, Format};
use edge_build::tree::rooted;
use edge_build::treefile::Metadata;
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, RefName};
use sha2::{Digest, Sha256};

mod common;

use common::{description, lay_out};

fn install(root: &Path) {
    let put = |path: &str, text: &str| rooted::put(&root.join(path), text).unwrap();
    let stanza = |name: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\
             Maintainer: m <m@mirror.example>\n\n"
        )
    };
    let status = ["tool", "linked", "bare"].map(stanza).concat();
    put("usr/lib/sysimage/dpkg/status", &status);
    let copyright = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
                     Files: *\nCopyright: me\nLicense: Expat\n";
    put("usr/share/doc/tool/copyright", copyright);
    rooted::link(&root.join("usr/share/doc/linked"), "tool").unwrap();
    rooted::link(
        &root.join("usr/share/doc/bare/copyright"),
        "../tool/copyright",
    )
    .unwrap();
}

#[test]
fn documents_are_named_by_their_hashes() {
    let (dir, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, place) = (dir.path().join("root"), dir.path().join("repo"));
    lay_out(&root, roots.path());
    install(&root);
    let contents = sbom::contents_of_tree(&root, &description()).unwrap();
    let repo = Repo::open_or_create(&place).unwrap();
    let name: RefName = "edge/13/x86_64/node".parse().unwrap();
    let mut metadata = sbom::hashes(&contents).unwrap();
    let commit = repo
        .commit(&root, &name, &description(), &metadata)
        .unwrap();

    let run = |commit: &CommitChecksum, format: &str, more: &[&str]| {
        let run = Cmd::new(env!("CARGO_BIN_EXE_edge-build")).args(["sbom", "--format", format]);
        let run = run
            .args(["--commit", commit.as_str(), "--repo"])
            .arg(&place);
        run.args(more).text()
    };
    for (format, word) in [(Format::Spdx, "spdx"), (Format::Cyclonedx, "cyclonedx")] {
        let printed = run(&commit, word, &[]).unwrap();
        assert_eq!(printed, sbom::document(&contents, format).unwrap());
        let digest = Sha256::digest(printed.as_bytes());
        let hash: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let key = format!("edge-ota.sbom.{word}.sha256");
        assert_eq!(repo.text(&commit, &key).unwrap(), Some(hash));
        assert!(printed.contains("MIT") && !printed.contains(commit.as_str()));

        let another = Metadata::Text("0".repeat(64));
        metadata.insert(key, another);
    }
    let other = repo
        .commit(&root, &name, &description(), &metadata)
        .unwrap();
    let error = format!("{:#}", run(&other, "spdx", &[]).unwrap_err());
    assert!(error.contains("is not the one that commit"), "{error}");
    run(&other, "spdx", &["--anew"]).unwrap();
    run(&other, "licences", &[]).unwrap();
}
