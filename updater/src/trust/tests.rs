use ed25519_dalek::{Signer, SigningKey};

use super::*;
use crate::signed;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn role_of(threshold: usize, seeds: &[u8]) -> Role {
    let keys = seeds.iter().map(|s| key(*s).verifying_key()).collect();
    Role::new(threshold, keys).unwrap()
}

/// A document whose root role is `threshold` of `trusted`, signed by `signers`; the channel's key
/// is 50, those of commits 60 and 61, of which one must sign.
fn document(version: u64, threshold: usize, trusted: &[u8], signers: &[u8]) -> Vec<u8> {
    let payload = payload(
        version,
        &role_of(threshold, trusted),
        &role_of(1, &[50]),
        &role_of(1, &[60, 61]),
    );
    let signers: Vec<_> = signers.iter().map(|s| key(*s)).collect();
    signed::create(Domain::Root, &payload.unwrap(), &signers)
}

fn first() -> Root {
    Root::parse_self_signed(&document(1, 1, &[1], &[1])).unwrap()
}

#[test]
fn a_tree_root_signs_itself() {
    let root = first();
    assert_eq!(root.version(), 1);
    assert!(
        root.channel()
            .keys()
            .contains_key(&KeyId::of(&key(50).verifying_key()))
    );
    assert!(Root::parse_self_signed(&document(1, 1, &[1], &[2])).is_err());
    assert!(Root::parse_self_signed(&document(1, 2, &[1, 2], &[1, 1])).is_err());
    assert!(Root::parse_self_signed(&document(0, 1, &[1], &[1])).is_err());
}

#[test]
fn a_step_needs_both_thresholds_and_the_next_version() {
    let check = |next: Vec<u8>, expected: Option<&str>| {
        let found = first().walk(&next).err().map(|e| e.to_string());
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(text)) if found.contains(text) => {}
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    };
    check(document(2, 1, &[2], &[1, 2]), None);
    check(document(2, 2, &[2, 3], &[1, 2, 3]), None);
    check(document(2, 1, &[2], &[1]), Some("0 valid signatures of 1"));
    check(document(2, 1, &[2], &[2]), Some("0 valid signatures of 1"));
    check(
        document(2, 2, &[2, 3], &[1, 2, 2]),
        Some("1 valid signatures of 2"),
    );
    check(
        document(3, 1, &[2], &[1, 2]),
        Some("2 is expected next, not 3"),
    );
    check(
        document(1, 1, &[1], &[1]),
        Some("2 is expected next, not 1"),
    );
}

#[test]
fn documents_must_be_whole() {
    let good = serde_json::from_slice::<serde_json::Value>(
        &payload(1, &role_of(1, &[1]), &role_of(1, &[50]), &role_of(1, &[60])).unwrap(),
    )
    .unwrap();
    let check = |pointer: &str, value: serde_json::Value, expected: &str| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let document = signed::create(Domain::Root, changed.to_string().as_bytes(), &[key(1)]);
        let error = Root::parse_self_signed(&document).unwrap_err().to_string();
        assert!(error.contains(expected), "{pointer}: {error}");
    };
    let id = KeyId::of(&key(50).verifying_key()).to_string();
    check("/format", 2.into(), "newer edge-ota");
    check("/critical", serde_json::json!(["expires"]), "'expires'");
    check("/roles/commit/threshold", 0.into(), "trusts anybody");
    check("/roles/commit/threshold", 2.into(), "role commit");
    check(
        "/roles/channel/keys",
        serde_json::json!(["0".repeat(64)]),
        "unknown key",
    );
    check(&format!("/keys/{id}/public"), "AAAA".into(), "bad key");
    check(&format!("/keys/{id}/type"), "rsa".into(), "rsa");
    let other = STANDARD.encode(key(51).verifying_key().as_bytes());
    check(
        &format!("/keys/{id}/public"),
        other.into(),
        "is another key",
    );
}

#[test]
fn any_changed_byte_of_a_step_is_refused() {
    let root = first();
    let next = document(2, 1, &[2], &[1, 2]);
    for index in 0..next.len() {
        let mut changed = next.clone();
        changed[index] ^= 1;
        assert!(root.walk(&changed).is_err(), "byte {index}");
    }
}

#[test]
fn commits_are_signed_by_the_commit_role_alone() {
    let root = first();
    let sign = |seed: u8| key(seed).sign(b"commit").to_vec();
    assert!(root.verify_commit(b"commit", &[sign(60)]).is_ok());
    assert!(
        root.verify_commit(b"commit", &[vec![1, 2], sign(9), sign(61)])
            .is_ok()
    );
    for signatures in [vec![], vec![sign(50)], vec![sign(1)], vec![vec![0; 64]]] {
        assert!(root.verify_commit(b"commit", &signatures).is_err());
    }
    assert!(root.verify_commit(b"commit2", &[sign(60)]).is_err());
}

#[test]
fn a_history_is_fetched_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, stored) = (dir.path().join("tree"), dir.path().join("state/root"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("1.root"), document(1, 1, &[1], &[1])).unwrap();
    fs::write(tree.join("x.root"), "").unwrap();
    fs::write(tree.join("02.root"), "").unwrap();
    let served = |name: &str| -> Result<Option<Vec<u8>>> {
        Ok(match name {
            "root/2.root" => Some(document(2, 1, &[2], &[1, 2])),
            "root/3.root" => Some(document(3, 1, &[3], &[2, 3])),
            _ => None,
        })
    };
    let root = load_highest(&tree).unwrap();
    let root = advance(root, &stored, served).unwrap();
    assert_eq!(root.version(), 3);

    let walked = walk_stored(load_highest(&tree).unwrap(), &stored);
    assert!(walked.damaged.is_none());
    assert_eq!(walked.root, root);
    assert!(walked.root.not_behind(3).is_ok());
    assert!(walked.root.not_behind(4).is_err());

    fs::write(stored.join("3.root"), "garbage").unwrap();
    let walked = walk_stored(load_highest(&tree).unwrap(), &stored);
    assert!(format!("{:#}", walked.damaged.unwrap()).contains("3.root"));
    assert_eq!(advance(walked.root, &stored, served).unwrap(), root);
    assert!(walk_stored(first(), &stored).damaged.is_none());
}

#[test]
fn a_hostile_history_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut version = 1;
    let root = advance(first(), dir.path(), |_| {
        version += 1;
        Ok(Some(document(version, 1, &[1], &[1])))
    });
    assert_eq!(root.unwrap().version(), 1 + MAX_STEPS as u64);
    let error = advance(first(), dir.path(), |_| Ok(Some(b"<html>".to_vec()))).unwrap_err();
    assert!(error.downcast_ref::<Refusal>().is_some());
}
