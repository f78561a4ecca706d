use edge_ota::refusal::Refusal;

use super::*;
use crate::key;
use crate::rehearsal::record::tests::{commit, record};

const NOW: u64 = 1_790_000_000;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut next = 0;
        let mut random = |bytes: &mut [u8]| -> Result<()> {
            next += 1;
            bytes.fill(next);
            Ok(())
        };
        key::generate(&dir.path().join("keys"), &mut random).unwrap();
        Self { dir }
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn served(&self) -> PathBuf {
        self.dir.path().join("served")
    }

    fn manifest(&self) -> PathBuf {
        self.served().join("channels/stable/x86_64")
    }

    fn signer(&self, name: &str) -> SigningKey {
        key::load_secret(&key::secret_path(&self.keys(), name)).unwrap()
    }

    fn publish(&self, terms: &Terms, now: u64) -> Result<Manifest> {
        self.publish_by(&[self.signer("channel")], terms, now)
    }

    fn publish_by(&self, signers: &[SigningKey], terms: &Terms, now: u64) -> Result<Manifest> {
        let release = Release {
            board: "x86_64".parse().unwrap(),
            channel: "stable".parse().unwrap(),
            version: "13.20261122.0".to_owned(),
            commit: "c".repeat(64).parse().unwrap(),
            r#ref: "edge/13/x86_64/node".parse().unwrap(),
        };
        publish(&self.served(), &self.keys(), signers, release, terms, now).map(|(_, m)| m)
    }
}

#[test]
fn a_device_accepts_what_is_published() {
    let fixture = Fixture::new();
    let manifest = fixture.publish(&Terms::default(), NOW).unwrap();
    assert_eq!(manifest.sequence, Sequence(1));
    assert_eq!(manifest.expires, NOW + 90 * 86400);
    let root = trust::load_highest(&fixture.served().join("root")).unwrap();
    let document = fs::read(fixture.manifest()).unwrap();
    assert_eq!(
        Manifest::parse_verified(&document, root.channel()),
        Ok(manifest)
    );
}

#[test]
fn sequences_and_times_go_on() {
    let fixture = Fixture::new();
    let min = |n| Terms {
        min_sequence: Some(Sequence(n)),
        ..Terms::default()
    };
    fixture.publish(&Terms::default(), NOW).unwrap();
    let second = fixture.publish(&min(2), NOW - 100).unwrap();
    assert_eq!(
        (second.sequence, second.min_sequence),
        (Sequence(2), Sequence(2))
    );
    assert_eq!(second.issued, NOW);
    let third = fixture.publish(&Terms::default(), NOW + 5).unwrap();
    assert_eq!(
        (third.sequence, third.min_sequence),
        (Sequence(3), Sequence(2))
    );
    let error = fixture.publish(&min(1), NOW).unwrap_err().to_string();
    assert!(error.contains("can't go back to 1"), "{error}");
    let error = format!("{:#}", fixture.publish(&min(9), NOW).unwrap_err());
    assert!(error.contains("below its own min_sequence"), "{error}");
    let old = Terms {
        sequence: Some(Sequence(1)),
        ..Terms::default()
    };
    assert_eq!(fixture.publish(&old, NOW).unwrap().sequence, Sequence(1));
}

#[test]
fn only_what_was_rehearsed_from_the_present_release_is_signed() {
    let fixture = Fixture::new();
    let rehearsed = Terms {
        require_rehearsal: true,
        ..Terms::default()
    };
    let refused = |expected: &str| {
        let before = fs::read(fixture.manifest()).ok();
        let error = format!("{:#}", fixture.publish(&rehearsed, NOW).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read(fixture.manifest()).ok(), before);
    };
    refused("edge-build rehearse --board x86_64 --to cccc");
    record(Some("b"), "c").save(&fixture.served()).unwrap();
    refused("rehearsed from bbbbbbbbbbbb, but the channel offers nothing");
    record(None, "c").save(&fixture.served()).unwrap();
    fixture.publish(&rehearsed, NOW).unwrap();
    let offered = offered(
        &fixture.served(),
        &fixture.keys(),
        &"stable".parse().unwrap(),
        &"x86_64".parse().unwrap(),
    );
    assert_eq!(offered.unwrap().unwrap().commit, commit("c"));
    // To offer the same release for longer is no other release.
    let again = fixture.publish(&rehearsed, NOW).unwrap();
    assert_eq!(again.sequence, Sequence(2));
}

#[test]
fn a_damaged_manifest_ends_the_release() {
    let fixture = Fixture::new();
    fixture.publish(&Terms::default(), NOW).unwrap();
    let mut document = fs::read(fixture.manifest()).unwrap();
    let last = document.len() - 2;
    document[last] ^= 1;
    for damaged in [document, Vec::new()] {
        fs::write(fixture.manifest(), &damaged).unwrap();
        let error = fixture.publish(&Terms::default(), NOW).unwrap_err();
        assert!(error.downcast_ref::<Refusal>().is_some(), "{error:#}");
        assert_eq!(fs::read(fixture.manifest()).unwrap(), damaged);
    }
}

#[test]
fn only_the_channel_role_publishes() {
    let fixture = Fixture::new();
    for signers in [
        vec![],
        vec![fixture.signer("commit")],
        vec![fixture.signer("root")],
    ] {
        let error = fixture
            .publish_by(&signers, &Terms::default(), NOW)
            .unwrap_err();
        assert!(
            error.to_string().contains("channel keys of root 1"),
            "{error:#}"
        );
    }
    assert!(!fixture.manifest().exists());
}

#[test]
fn a_served_root_is_never_changed() {
    let fixture = Fixture::new();
    fixture.publish(&Terms::default(), NOW).unwrap();
    fs::write(fixture.served().join("root/1.root"), "other").unwrap();
    let error = fixture.publish(&Terms::default(), NOW).unwrap_err();
    assert!(error.to_string().contains("another content"), "{error:#}");
}
