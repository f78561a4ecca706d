use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ISSUED: u64 = 1_790_000_000;
const EXPIRES: u64 = 1_800_000_000;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn role() -> Role {
    Role::new(1, vec![key().verifying_key()]).unwrap()
}

fn manifest() -> Manifest {
    let release = Release {
        board: "x86_64".parse().unwrap(),
        channel: "stable".parse().unwrap(),
        version: "13.20261122.0".to_owned(),
        commit: format!("{:x}", Sha256::digest(b"commit")).parse().unwrap(),
        r#ref: "edge/13/x86_64/node".parse().unwrap(),
    };
    Manifest::new(release, Sequence(7), Sequence(0), ISSUED, EXPIRES).unwrap()
}

fn expected() -> Expected {
    Expected {
        board: "x86_64".parse().unwrap(),
        channel: "stable".parse().unwrap(),
        floor: Sequence(7),
        now: ISSUED,
    }
}

fn sign(payload: &Value) -> Vec<u8> {
    signed::create(Domain::Manifest, payload.to_string().as_bytes(), &[key()])
}

#[test]
fn what_is_written_is_read() {
    let document = sign(&serde_json::to_value(manifest()).unwrap());
    assert_eq!(Manifest::parse_verified(&document, &role()), Ok(manifest()));
}

#[test]
fn a_device_takes_only_what_is_meant_for_it() {
    let check = |change: fn(&mut Expected), wanted: Option<&str>| {
        let mut expected = expected();
        change(&mut expected);
        let found = manifest().accept(&expected).err().map(|e| e.to_string());
        match (&found, wanted) {
            (None, None) => {}
            (Some(found), Some(text)) if found.contains(text) => {}
            _ => panic!("{found:?}, expected {wanted:?}"),
        }
    };
    check(|_| {}, None);
    check(|e| e.floor = Sequence(0), None);
    check(
        |e| e.floor = Sequence(8),
        Some("sequence 7, 8 was accepted"),
    );
    check(
        |e| e.board = "armhf".parse().unwrap(),
        Some("this device is armhf"),
    );
    check(
        |e| e.channel = "canary".parse().unwrap(),
        Some("follows canary"),
    );
    check(|e| e.now = EXPIRES - 1, None);
    check(|e| e.now = EXPIRES, Some("expired at 2027-01-15T08:00:00Z"));
    check(|e| e.now = u64::MAX, Some("it is 18446744073709551615 s"));
}

#[test]
fn the_clock_never_runs_below_what_is_past() {
    assert_eq!(clock(0, 5, 3), 5);
    assert_eq!(clock(0, 5, 9), 9);
    assert_eq!(clock(10, 5, 9), 10);
    let now = clock(0, ISSUED, EXPIRES + 1);
    let replayed = manifest().accept(&Expected { now, ..expected() });
    assert!(matches!(replayed, Err(Refusal::Expired { .. })));
}

#[test]
fn a_signed_manifest_must_make_sense() {
    let check = |field: &str, value: Value, wanted: Option<&str>| {
        let mut payload = serde_json::to_value(manifest()).unwrap();
        payload[field] = value;
        let found = Manifest::parse_verified(&sign(&payload), &role());
        match (found.err().map(|e| e.to_string()), wanted) {
            (None, None) => {}
            (Some(found), Some(text)) if found.contains(text) => {}
            (found, wanted) => panic!("{field}: {found:?}, expected {wanted:?}"),
        }
    };
    check("packs", json!([]), None);
    check("rollout", json!({"percent": 10}), None);
    check("critical", json!(["min_sequence"]), None);
    check("critical", json!(["rollout"]), Some("demands 'rollout'"));
    check("format", json!(2), Some("format 2"));
    check("min_sequence", json!(8), Some("below its own min_sequence"));
    check("expires", json!(ISSUED), Some("expires before"));
    check("sequence", json!(-1), Some("malformed"));
    check("sequence", json!(1e30), Some("malformed"));
    check("commit", json!("abc"), Some("not a commit checksum"));
    check("board", json!("../x"), Some("not a board name"));
    check("ref", json!("a//b"), Some("not a ref"));
    check("version", json!(""), Some("version must be"));
    check("version", json!("1\u{1b}[2J"), Some("version must be"));
    check("version", json!("1".repeat(65)), Some("version must be"));
}

#[test]
fn the_signature_is_checked_before_the_payload_is_read() {
    let document = signed::create(Domain::Manifest, b"not json", &[key()]);
    let stranger = Role::new(1, vec![SigningKey::from_bytes(&[6; 32]).verifying_key()]).unwrap();
    let found = Manifest::parse_verified(&document, &stranger);
    assert!(matches!(found, Err(Refusal::BadSignature { .. })));
    let found = Manifest::parse_verified(&document, &role());
    assert!(matches!(found, Err(Refusal::Malformed { .. })));
}

#[test]
fn the_commit_must_be_the_one_named() {
    let candidate = manifest().accept(&expected()).unwrap();
    assert_eq!(candidate.check_commit(b"commit"), Ok(()));
    let found = candidate.check_commit(b"another");
    assert!(matches!(found, Err(Refusal::CommitMismatch { .. })));
    assert!(manifest().still_allows(Sequence(0)));
}

proptest! {
    #[test]
    fn any_changed_byte_is_refused(at: prop::sample::Index, by in 1u8..) {
        let mut document = sign(&serde_json::to_value(manifest()).unwrap());
        let index = at.index(document.len());
        document[index] = document[index].wrapping_add(by);
        prop_assert!(Manifest::parse_verified(&document, &role()).is_err());
    }

    #[test]
    fn a_sequence_below_the_floor_is_never_taken(floor: u64, now in ISSUED..EXPIRES) {
        let expected = Expected { floor: Sequence(floor), now, ..expected() };
        prop_assert_eq!(manifest().accept(&expected).is_ok(), floor <= 7);
    }

    #[test]
    fn a_signed_garbage_payload_is_an_error(payload: Vec<u8>) {
        let document = signed::create(Domain::Manifest, &payload, &[key()]);
        prop_assert!(Manifest::parse_verified(&document, &role()).is_err());
    }
}
