use proptest::prelude::*;

use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn role(threshold: usize, seeds: &[u8]) -> Role {
    let keys = seeds.iter().map(|s| key(*s).verifying_key()).collect();
    Role::new(threshold, keys).unwrap()
}

#[test]
fn thresholds_count_distinct_trusted_keys() {
    let check = |threshold, trusted: &[u8], signers: &[u8], accepted: bool| {
        let signers: Vec<_> = signers.iter().map(|s| key(*s)).collect();
        let document = create(Domain::Manifest, b"payload", &signers);
        let found = verify(Domain::Manifest, &role(threshold, trusted), &document);
        assert_eq!(found.is_ok(), accepted, "{threshold} of {trusted:?}");
    };
    check(1, &[1], &[1], true);
    check(1, &[1], &[2], false);
    check(1, &[1], &[], false);
    check(1, &[1, 2], &[9, 2], true);
    check(2, &[1, 2, 3], &[3, 1], true);
    check(2, &[1, 2], &[1, 1], false);
    check(2, &[1, 2], &[1, 9], false);
}

#[test]
fn roles_must_be_satisfiable() {
    let key = key(1).verifying_key();
    assert!(Role::new(0, vec![key]).is_err());
    assert!(Role::new(2, vec![key, key]).is_err());
    // A small-order point verifies anything in lax implementations.
    let weak = VerifyingKey::from_bytes(&[0; 32]).unwrap();
    assert!(Role::new(1, vec![weak]).is_err());
}

#[test]
fn a_signature_counts_in_its_domain_only() {
    let document = create(Domain::Root, b"payload", &[key(1)]);
    let found = verify(Domain::Manifest, &role(1, &[1]), &document);
    let expected = Refusal::BadSignature {
        what: "manifest",
        valid: 0,
        threshold: 1,
    };
    assert_eq!(found, Err(expected));
}

#[test]
fn grammar_is_strict() {
    let good = String::from_utf8(create(Domain::Manifest, b"{}", &[key(1)])).unwrap();
    let line = good.lines().nth(1).unwrap().to_owned();
    let check = |document: &str, reason: &str| {
        let error = verify(Domain::Manifest, &role(1, &[1]), document.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(reason), "{document:?}: {error}");
    };
    check("", "does not begin");
    check(
        "<!DOCTYPE html><title>Welcome to the hotel</title>",
        "captive portal",
    );
    check("\r\n <HTML>", "captive portal");
    check(&good.replacen('1', "2", 1), "does not begin");
    check(&good.replace("\n\n", "\n"), "ends early");
    check(&good.replace("\n\n", "\n \n"), "bad signature line 2");
    check(&good.replace("sig ", "sig  "), "bad signature line 1");
    check(&good.replace('\n', "\r\n"), "does not begin");
    check(&good.replace("==\n", "\n"), "bad signature line 1");
    check(good.trim_end_matches("\n\n{}"), "ends early");
    let many = good.replacen(&line, &vec![line.as_str(); 17].join("\n"), 1);
    check(&many, "more than 16");
    check(&format!("{good}{}", " ".repeat(MAX_BYTES)), "larger than");
}

#[test]
fn offline_signatures_are_checked_when_attached() {
    let document = create(Domain::Root, b"payload", &[key(1)]);
    let second = key(2).sign(&message(Domain::Root, b"payload")).to_bytes();
    let public = key(2).verifying_key();
    let both = attach(Domain::Root, &document, &public, &second).unwrap();
    let again = attach(Domain::Root, &both, &public, &second).unwrap();
    assert_eq!(both, again);
    assert_eq!(
        verify(Domain::Root, &role(2, &[1, 2]), &both).unwrap(),
        b"payload"
    );
    let other = key(2)
        .sign(&message(Domain::Manifest, b"payload"))
        .to_bytes();
    assert!(attach(Domain::Root, &document, &public, &other).is_err());
}

#[test]
fn every_single_bit_counts() {
    let document = create(Domain::Manifest, b"{\"format\":1}", &[key(1), key(2)]);
    let role = role(2, &[1, 2]);
    for index in 0..document.len() {
        for bit in 0..8 {
            let mut changed = document.clone();
            changed[index] ^= 1 << bit;
            assert!(
                verify(Domain::Manifest, &role, &changed).is_err(),
                "byte {index} bit {bit}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_changed_byte_is_refused(payload: Vec<u8>, at: prop::sample::Index, by in 1u8..) {
        let mut document = create(Domain::Manifest, &payload, &[key(1)]);
        let index = at.index(document.len());
        document[index] = document[index].wrapping_add(by);
        prop_assert!(verify(Domain::Manifest, &role(1, &[1]), &document).is_err());
    }

    #[test]
    fn any_truncation_or_growth_is_refused(payload: Vec<u8>, at: prop::sample::Index, extra: u8) {
        let document = create(Domain::Manifest, &payload, &[key(1)]);
        let cut = &document[..at.index(document.len())];
        prop_assert!(verify(Domain::Manifest, &role(1, &[1]), cut).is_err());
        let grown = [document.as_slice(), &[extra]].concat();
        prop_assert!(verify(Domain::Manifest, &role(1, &[1]), &grown).is_err());
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = verify(Domain::Root, &role(1, &[1]), &bytes);
        let _ = verify(Domain::Root, &role(1, &[1]), &[b"edge-ota-signed 1\n", bytes.as_slice()].concat());
    }
}
