//! A line of the directory's export. Pure; everything in it is foreign.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Identity, document, millis};
use crate::protocol::did::Did;

/// How far ahead of our clock an operation may be dated. Time goes on from the newest one, and must not jump.
const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// An operation on a DID.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) did: Did,
    /// When the directory took it, in milliseconds since 1970.
    pub(super) created_at_ms: i64,
    /// A later operation has undone it.
    pub(super) is_nullified: bool,
    pub(super) states: States,
}

/// What the DID resolves to after an operation, if it is the last one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum States {
    Identity(Identity),
    /// It is tombstoned.
    Nothing,
    /// An operation of a kind that is not known here.
    Unclear,
}

impl States {
    /// Whether this is what is remembered: an identity, or that there is none.
    pub(super) fn is(&self, known: Option<&Identity>) -> bool {
        match (self, known) {
            (States::Nothing, None) => true,
            (States::Identity(stated), Some(known)) => {
                let Identity { key, pds, handle, fetched_at_ms: _ } = known;
                (&stated.key, &stated.pds, &stated.handle) == (key, pds, handle)
            }
            _ => false,
        }
    }
}

/// Reads a line; `None` when it is malformed.
pub(super) fn read(line: &[u8], now_ms: i64) -> Option<Operation> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let did = Did::parse(line.get("did")?.as_str()?).ok()?;
    let created_at: Timestamp = line.get("createdAt")?.as_str()?.parse().ok()?;
    let created_at_ms = created_at.as_millisecond();
    if created_at_ms > now_ms + millis(AHEAD_MAX) {
        return None;
    }
    let is_nullified = line.get("nullified").and_then(Value::as_bool).unwrap_or(false);
    let states = states(&did, line.get("operation")?);
    Some(Operation { did, created_at_ms, is_nullified, states })
}

fn states(did: &Did, operation: &Value) -> States {
    match operation.get("type").and_then(Value::as_str) {
        Some("plc_tombstone") => States::Nothing,
        Some("plc_operation") => {
            let identity = document::read(did, document_of(did, operation).to_string().as_bytes(), 0);
            identity.map_or(States::Unclear, States::Identity)
        }
        _ => States::Unclear,
    }
}

/// The document that the directory makes of an operation, as far as it matters.
fn document_of(did: &Did, operation: &Value) -> Value {
    let text = |path: &str| operation.pointer(path).and_then(Value::as_str);
    let key = text("/verificationMethods/atproto").and_then(|key| key.strip_prefix("did:key:"));
    json!({
        "id": did.as_str(),
        "alsoKnownAs": operation.get("alsoKnownAs"),
        "verificationMethod": [
            {"id": "#atproto", "type": "Multikey", "controller": did.as_str(), "publicKeyMultibase": key},
        ],
        "service": [{
            "id": "#atproto_pds",
            "type": text("/services/atproto_pds/type"),
            "serviceEndpoint": text("/services/atproto_pds/endpoint"),
        }],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Endpoint;
    use super::*;
    use crate::protocol::key::PublicKey;

    const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    const KEY: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";

    fn line(operation: &Value) -> Value {
        json!({"did": DID, "operation": operation, "cid": "bafy", "nullified": false, "createdAt": "1970-01-01T00:00:01.500Z"})
    }

    fn operation() -> Value {
        json!({
            "type": "plc_operation",
            "prev": null,
            "sig": "x",
            "rotationKeys": [],
            "verificationMethods": {"atproto": format!("did:key:{KEY}"), "other": "did:key:z"},
            "alsoKnownAs": ["at://Alice.example.com"],
            "services": {"atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": "https://pds.example.com"}},
        })
    }

    fn identity() -> Identity {
        Identity {
            key: PublicKey::from_multikey(KEY).ok(),
            pds: Endpoint::parse("https://pds.example.com"),
            handle: Some("alice.example.com".to_owned()),
            fetched_at_ms: 0,
        }
    }

    fn states_of(operation: &Value) -> States {
        read(line(operation).to_string().as_bytes(), 0).unwrap().states
    }

    #[test]
    fn an_operation_states_what_its_document_will() {
        let read = read(line(&operation()).to_string().as_bytes(), 0).unwrap();
        let did = Did::parse(DID).unwrap();
        let states = States::Identity(identity());
        assert_eq!(read, Operation { did, created_at_ms: 1500, is_nullified: false, states });
        assert_eq!(states_of(&json!({"type": "plc_tombstone"})), States::Nothing);
        assert_eq!(states_of(&json!({"type": "create", "signingKey": "did:key:z"})), States::Unclear);
        assert_eq!(states_of(&json!({})), States::Unclear);
        let mut bare = operation();
        for name in ["verificationMethods", "alsoKnownAs", "services"] {
            bare.as_object_mut().unwrap().remove(name);
        }
        let nothing = Identity { key: None, pds: None, handle: None, fetched_at_ms: 0 };
        assert_eq!(states_of(&bare), States::Identity(nothing), "what is missing is absent, as in a document");
    }

    #[test]
    fn what_is_remembered_is_compared_in_all_but_its_age() {
        let stated = States::Identity(identity());
        assert!(stated.is(Some(&Identity { fetched_at_ms: 7, ..identity() })));
        assert!(!stated.is(Some(&Identity { key: None, ..identity() })));
        assert!(!stated.is(Some(&Identity { pds: None, ..identity() })));
        assert!(!stated.is(Some(&Identity { handle: None, ..identity() })));
        assert!(!stated.is(None));
        assert!(States::Nothing.is(None));
        assert!(!States::Nothing.is(Some(&identity())));
        assert!(!States::Unclear.is(None) && !States::Unclear.is(Some(&identity())));
    }

    #[test]
    fn lines_that_make_no_sense_are_none() {
        let good = line(&operation());
        let changed = |name: &str, value: Value| {
            let mut line = good.clone();
            line[name] = value;
            line.to_string()
        };
        let mut without_operation = good.clone();
        without_operation.as_object_mut().unwrap().remove("operation");
        let cases = [
            String::new(),
            "<html>".to_owned(),
            "[]".to_owned(),
            good.to_string()[..100].to_owned(),
            changed("did", json!("did:plc:short")),
            changed("did", json!(7)),
            changed("createdAt", json!("yesterday")),
            changed("createdAt", json!("1970-01-01T00:05:01Z")),
            without_operation.to_string(),
        ];
        for text in cases {
            assert_eq!(read(text.as_bytes(), 0), None, "{text}");
        }
        assert!(read(changed("createdAt", json!("1970-01-01T00:05:00Z")).as_bytes(), 0).is_some());
        assert!(read(changed("nullified", json!(true)).as_bytes(), 0).unwrap().is_nullified);
    }
}
