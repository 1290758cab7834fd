//! DID documents, the keys and the names in them.

use relay::host::HostName;
use relay::identity::document;
use relay::protocol::did::Did;
use relay::protocol::key::PublicKey;
use relay::protocol::syntax;

/// The account whose document it is, in every input that gets far.
const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const OLD_METHODS: [&str; 2] = ["EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019"];

/// Any bytes as the DID document of an account. What is found in one is what the protocol allows.
pub fn did_document(data: &[u8]) {
    let did = Did::parse(DID).expect("a DID");
    let Ok(identity) = document::read(&did, data, 0) else { return };
    if let Some(handle) = &identity.handle {
        assert!(syntax::is_handle(handle), "{handle:?}");
        assert_eq!(*handle, handle.to_ascii_lowercase());
    }
    if let Some(key) = identity.key {
        assert_eq!(PublicKey::from_bytes(&key.to_bytes()), Ok(key));
    }
    if let Some(pds) = &identity.pds {
        let scheme = if pds.secure { "https" } else { "http" };
        let again = document::read(&did, &with_pds(&format!("{scheme}://{}", pds.host)), 0);
        assert_eq!(
            again.ok().and_then(|identity| identity.pds).as_ref(),
            Some(pds),
            "a form that is not the normal one"
        );
        // The comparison with the host that an event comes from: whatever the name is, this must not fail.
        let _ = HostName::parse(&pds.host, true);
    }
}

fn with_pds(url: &str) -> Vec<u8> {
    let service =
        serde_json::json!({"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url});
    serde_json::json!({"id": DID, "service": [service]}).to_string().into_bytes()
}

/// Any text as a key, a DID and a host; what is taken keeps its forms.
pub fn multikey(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let keys = OLD_METHODS.map(|method| PublicKey::from_verification_method(method, text));
    for key in keys.into_iter().chain([PublicKey::from_multikey(text)]).flatten() {
        assert_eq!(PublicKey::from_bytes(&key.to_bytes()), Ok(key));
        assert_eq!(PublicKey::from_multikey(&key.to_string()), Ok(key));
        assert!(key.verify(&[1; 32], &[1; 64]).is_err());
    }
    if let Ok(did) = Did::parse(text) {
        assert_eq!(Did::parse(did.as_str()), Ok(did.clone()), "a normal form that is not its own");
        assert!(text.eq_ignore_ascii_case(did.as_str()));
    }
    for allow_insecure in [false, true] {
        if let Ok(name) = HostName::parse(text, allow_insecure) {
            assert_eq!(HostName::parse(name.as_str(), allow_insecure), Ok(name.clone()));
            assert!(name.is_secure() || allow_insecure);
            assert!(name.address().1 != 0);
        }
    }
    if let Some((collection, record_key)) = syntax::check_path(text) {
        assert_eq!(format!("{collection}/{record_key}"), text);
    }
}
