//! What a DID document says of an account (protocol 16). Pure; everything in a document is foreign.

use reqwest::Url;
use serde_json::Value;

use super::{Endpoint, Identity};
use crate::protocol::did::Did;
use crate::protocol::key::PublicKey;
use crate::protocol::syntax;

/// Text that is not the document of the DID that was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not a JSON object.
    #[error("the answer is not a DID document")]
    NoDocument,
    /// A document, of somebody else.
    #[error("the document is that of another DID")]
    OtherDid,
}

/// Reads a document. What is missing in it, or is not as atproto wants it, is absent in the identity.
pub fn read(did: &Did, text: &[u8], fetched_at_ms: i64) -> Result<Identity, DocumentError> {
    let document: Value = serde_json::from_slice(text).map_err(|_| DocumentError::NoDocument)?;
    let id = document.get("id").ok_or(DocumentError::NoDocument)?;
    if id.as_str() != Some(did.as_str()) {
        return Err(DocumentError::OtherDid);
    }
    let key = entries(&document, "verificationMethod").find_map(|method| signing_key(did, method));
    let pds = entries(&document, "service").find_map(|service| pds(did, service));
    let handle = entries(&document, "alsoKnownAs").find_map(handle);
    Ok(Identity { key, pds, handle, fetched_at_ms })
}

fn entries<'a>(document: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry.get(name).and_then(Value::as_str)
}

/// Whether an entry's id is `fragment`, alone or behind the document's DID.
fn has_id(did: &Did, entry: &Value, fragment: &str) -> bool {
    let id = text(entry, "id").unwrap_or_default();
    id.strip_prefix(did.as_str()).unwrap_or(id) == fragment
}

fn signing_key(did: &Did, method: &Value) -> Option<PublicKey> {
    if !has_id(did, method, "#atproto") || text(method, "controller") != Some(did.as_str()) {
        return None;
    }
    PublicKey::from_verification_method(text(method, "type")?, text(method, "publicKeyMultibase")?).ok()
}

fn pds(did: &Did, service: &Value) -> Option<Endpoint> {
    if !has_id(did, service, "#atproto_pds") || text(service, "type") != Some("AtprotoPersonalDataServer") {
        return None;
    }
    Endpoint::parse(text(service, "serviceEndpoint")?)
}

fn handle(alias: &Value) -> Option<String> {
    let handle = alias.as_str()?.strip_prefix("at://")?;
    syntax::is_handle(handle).then(|| handle.to_ascii_lowercase())
}

impl Endpoint {
    /// Reads the URL of a server: a scheme, a host and perhaps a port, nothing else.
    pub fn parse(url: &str) -> Option<Endpoint> {
        let url = Url::parse(url).ok()?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let name = url.host_str()?;
        let host = match url.port_or_known_default()? {
            443 if secure => name.to_owned(),
            port => format!("{name}:{port}"),
        };
        (is_bare && is_anonymous).then_some(Endpoint { host, secure })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    const KEY: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";
    const OTHER_KEY: &str = "zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo";

    fn read_json(document: &Value) -> Result<Identity, DocumentError> {
        read(&Did::parse(DID).unwrap(), document.to_string().as_bytes(), 7)
    }

    fn endpoint(host: &str) -> Option<Endpoint> {
        Some(Endpoint { host: host.to_owned(), secure: true })
    }

    /// Protocol 16.
    #[test]
    fn the_document_of_a_directory_is_read() {
        let identity = read_json(&json!({
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": DID,
            "alsoKnownAs": ["https://example.com", "at://Alice.example.com", "at://other.example.com"],
            "verificationMethod": [
                {"id": format!("{DID}#other"), "type": "Multikey", "controller": DID, "publicKeyMultibase": OTHER_KEY},
                {"id": format!("{DID}#atproto"), "type": "Multikey", "controller": DID, "publicKeyMultibase": KEY},
                {"id": format!("{DID}#atproto"), "type": "Multikey", "controller": DID, "publicKeyMultibase": OTHER_KEY},
            ],
            "service": [
                {"id": "#other", "type": "Other", "serviceEndpoint": {"an": "object"}},
                {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example.com"},
            ],
        }));
        let expected = Identity {
            key: PublicKey::from_multikey(KEY).ok(),
            pds: endpoint("pds.example.com"),
            handle: Some("alice.example.com".to_owned()),
            fetched_at_ms: 7,
        };
        assert!(expected.key.is_some());
        assert_eq!(identity, Ok(expected));
    }

    /// Protocol 16.
    #[test]
    fn only_the_document_of_the_did_counts() {
        let cases = [
            (r#"{"id": "did:plc:7iza6de2dwap2sbkpav7c6c6"}"#, None),
            (r#"{"id": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}"#, Some(DocumentError::OtherDid)),
            (r#"{"id": 7}"#, Some(DocumentError::OtherDid)),
            (r#"{"message": "not found"}"#, Some(DocumentError::NoDocument)),
            ("[]", Some(DocumentError::NoDocument)),
            ("<html>", Some(DocumentError::NoDocument)),
            ("", Some(DocumentError::NoDocument)),
        ];
        for (text, error) in cases {
            assert_eq!(read(&Did::parse(DID).unwrap(), text.as_bytes(), 0).err(), error, "{text}");
        }
    }

    /// Protocol 16.
    #[test]
    fn the_signing_key_is_the_first_valid_one() {
        let method = |id: &str, kind: &str, controller: &str, key: &str| json!({"id": id, "type": kind, "controller": controller, "publicKeyMultibase": key});
        let absolute = format!("{DID}#atproto");
        let cases = [
            ("relative id", vec![method("#atproto", "Multikey", DID, KEY)], Some(KEY)),
            ("absolute id", vec![method(&absolute, "Multikey", DID, KEY)], Some(KEY)),
            ("id of another DID", vec![method("did:web:example.com#atproto", "Multikey", DID, KEY)], None),
            ("other fragment", vec![method("#atproto_label", "Multikey", DID, KEY)], None),
            ("other controller", vec![method("#atproto", "Multikey", "did:web:example.com", KEY)], None),
            ("unknown type", vec![method("#atproto", "Ed25519VerificationKey2020", DID, KEY)], None),
            ("no key", vec![method("#atproto", "Multikey", DID, "zzz")], None),
            (
                "an invalid one first",
                vec![method("#atproto", "Multikey", DID, ""), method("#atproto", "Multikey", DID, KEY)],
                Some(KEY),
            ),
            ("no object", vec![json!("#atproto")], None),
        ];
        for (name, methods, key) in cases {
            let identity = read_json(&json!({"id": DID, "verificationMethod": methods})).unwrap();
            assert_eq!(identity.key, key.map(|key| PublicKey::from_multikey(key).unwrap()), "{name}");
        }
    }

    #[test]
    fn endpoints_are_brought_to_one_form() {
        let insecure = |host: &str| Some(Endpoint { host: host.to_owned(), secure: false });
        let cases = [
            ("https://pds.example.com", endpoint("pds.example.com")),
            ("https://PDS.Example.com/", endpoint("pds.example.com")),
            ("https://pds.example.com:443", endpoint("pds.example.com")),
            ("https://pds.example.com:8443", endpoint("pds.example.com:8443")),
            ("http://localhost:2583", insecure("localhost:2583")),
            ("http://10.0.0.1:2583/", insecure("10.0.0.1:2583")),
            // With its port, so that it is never taken for the same host over TLS.
            ("http://pds.example.com", insecure("pds.example.com:80")),
            ("https://pds.example.com/path", None),
            ("https://pds.example.com/?query", None),
            ("https://pds.example.com/#fragment", None),
            ("https://user@pds.example.com", None),
            ("wss://pds.example.com", None),
            ("pds.example.com", None),
            ("", None),
        ];
        for (url, expected) in cases {
            assert_eq!(Endpoint::parse(url), expected, "{url:?}");
        }
    }
}
