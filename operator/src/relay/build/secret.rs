use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// Key of the admin token of a directory of collections that is a program of its own.
pub(super) const COLLECTIONS_TOKEN: &str = "collections-token";

/// The Secret of a new admin token.
pub(super) fn build(relay: &ValidRelay) -> Secret {
    let token = relay.admin.value.expose().as_bytes();
    let mut data = BTreeMap::from([(relay.admin.key.clone(), ByteString(token.to_vec()))]);
    if relay.directory.image().is_some() {
        // From the relay's, which nobody can find from it.
        let key = hmac::Key::new(hmac::HMAC_SHA256, token);
        let derived = HEXLOWER.encode(hmac::sign(&key, COLLECTIONS_TOKEN.as_bytes()).as_ref());
        data.entry(COLLECTIONS_TOKEN.into()).or_insert(ByteString(derived.into_bytes()));
    }
    Secret {
        metadata: names::meta(relay, relay.admin.name.clone()),
        type_: Some("Opaque".into()),
        data: Some(data),
        ..Secret::default()
    }
}
