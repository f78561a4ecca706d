//! What the builder publishes and serves, a device fetches, verifies and accepts.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use edge_build::release::{self, Terms};
use edge_build::serve::Serving;
use edge_build::{key, sign};
use edge_ota::channel::{self, Expected, Manifest, Release};
use edge_ota::exit::{self, Exit};
use edge_ota::fetch::{Answer, Limits, Location, Source};
use edge_ota::signed::MAX_BYTES;
use edge_ota::trust::{self, Root};
use edge_ota::types::Sequence;
use sha2::{Digest, Sha256};

const NOW: u64 = 1_790_000_000;
const COMMIT: &[u8] = b"a raw commit";

fn release(board: &str) -> Release {
    Release {
        board: board.parse().unwrap(),
        channel: "stable".parse().unwrap(),
        version: "13.20261122.0".to_owned(),
        commit: format!("{:x}", Sha256::digest(COMMIT)).parse().unwrap(),
        r#ref: "edge/13/x86_64/node".parse().unwrap(),
    }
}

fn publish(dir: &Path, board: &str, now: u64) {
    let keys = dir.join("keys");
    let signer = key::load_secret(&key::secret_path(&keys, "channel")).unwrap();
    let (served, terms) = (dir.join("served"), Terms::default());
    release::publish(&served, &keys, &[signer], release(board), &terms, now).unwrap();
}

/// What a device that follows `stable` as `board` makes of the answer.
fn accept(root: &Root, document: &[u8], board: &str, now: u64) -> Result<Manifest, Exit> {
    let expected = Expected {
        board: board.parse().unwrap(),
        channel: "stable".parse().unwrap(),
        floor: Sequence(1),
        now,
    };
    let candidate = Manifest::parse_verified(document, root.channel())
        .and_then(|manifest| manifest.accept(&expected))
        .and_then(|candidate| candidate.check_commit(COMMIT).map(|()| candidate))
        .map_err(|e| exit::of(&e.into()))?;
    Ok(candidate.manifest().clone())
}

fn check(location: &Location, dir: &Path) {
    let limits = Limits {
        connect: Duration::from_secs(10),
        stall: Duration::from_secs(10),
        total: Duration::from_secs(10),
    };
    let source = Source::new(location.clone(), limits).unwrap();
    let tree_root = trust::load_highest(&dir.join("keys")).unwrap();
    let cap = MAX_BYTES as u64;
    let fetch = |path: &str| Ok(source.get_if_there(path, cap)?);
    let root = trust::advance(tree_root, &dir.join("state/root"), fetch).unwrap();
    assert_eq!(root.version(), 1);

    let x86 = release("x86_64");
    let path = channel::path(&x86.channel, &x86.board);
    let Answer::Changed { bytes, etag } = source.get_if_changed(&path, cap, None).unwrap() else {
        panic!("nothing was known, nothing can be unchanged");
    };
    assert_eq!(
        accept(&root, &bytes, "x86_64", NOW).unwrap().version,
        x86.version
    );
    assert_eq!(accept(&root, &bytes, "armhf", NOW), Err(Exit::WrongBoard));
    assert_eq!(accept(&root, &bytes, "x86_64", NOW * 2), Err(Exit::Stale));
    if let Some(etag) = etag {
        let again = source.get_if_changed(&path, cap, Some(&etag)).unwrap();
        assert_eq!(again, Answer::Unchanged);
        publish(dir, "x86_64", NOW + 1);
        let changed = source.get_if_changed(&path, cap, Some(&etag)).unwrap();
        assert_ne!(changed, Answer::Unchanged);
    }

    let key = key::load_secret(&key::secret_path(&dir.join("keys"), "commit")).unwrap();
    let signature = sign::sign_commit(COMMIT, &key).to_vec();
    assert_eq!(root.verify_commit(COMMIT, &[signature]), Ok(()));
}

#[test]
fn a_release_reaches_a_device_by_web_and_by_stick() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    key::generate(&dir.join("keys"), &mut key::system_random).unwrap();
    publish(dir, "x86_64", NOW);
    let served = dir.join("served");
    check(&served.display().to_string().parse().unwrap(), dir);

    let serving = Serving::bind(&served, 0).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| serving.run());
        check(&serving.url().parse().unwrap(), dir);
        serving.stop();
    });
    assert!(
        fs::read_dir(served.join("channels/stable"))
            .unwrap()
            .count()
            == 1
    );
}
