//! The signature of a commit, in OSTree's own form.

use ed25519_dalek::{Signer, SigningKey};

/// Signs the raw commit variant. The 64 bytes belong into the detached metadata
/// `ostree.sign.ed25519`, an `aay`.
pub fn sign_commit(raw_commit: &[u8], key: &SigningKey) -> [u8; 64] {
    key.sign(raw_commit).to_bytes()
}

#[cfg(test)]
mod tests {
    use edge_ota::signed::{self, Domain, Role};
    use edge_ota::trust::{self, Root};

    use super::*;

    #[test]
    fn a_device_accepts_it() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let role = Role::new(1, vec![key.verifying_key()]).unwrap();
        let payload = trust::payload(1, &role, &role, &role).unwrap();
        let document = signed::create(Domain::Root, &payload, std::slice::from_ref(&key));
        let root = Root::parse_self_signed(&document).unwrap();
        let signature = sign_commit(b"commit", &key).to_vec();
        assert_eq!(root.verify_commit(b"commit", &[signature]), Ok(()));
    }

    /// RFC 8032, section 7.1, test 2: the signature is plain ed25519, over the bytes alone.
    #[test]
    fn it_is_plain_ed25519() {
        let hex = |text: &str| -> Vec<u8> {
            let pairs = text.as_bytes().chunks(2);
            pairs
                .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
                .collect()
        };
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let key = SigningKey::from_bytes(&seed.try_into().unwrap());
        assert_eq!(sign_commit(&[0x72], &key).to_vec(), hex(expected));
    }
}
