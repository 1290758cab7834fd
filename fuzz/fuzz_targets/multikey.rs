//! Any text as a key; one that is taken keeps its forms.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::protocol::key::PublicKey;

const OLD_METHODS: [&str; 2] = ["EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019"];

fuzz_target!(|text: &str| {
    let keys = OLD_METHODS.map(|method| PublicKey::from_verification_method(method, text));
    for key in keys.into_iter().chain([PublicKey::from_multikey(text)]).flatten() {
        assert_eq!(PublicKey::from_bytes(&key.to_bytes()), Ok(key));
        assert_eq!(PublicKey::from_multikey(&key.to_string()), Ok(key));
        assert!(key.verify(&[1; 32], &[1; 64]).is_err());
    }
});
