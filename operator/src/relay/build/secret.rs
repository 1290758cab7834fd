use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// The Secret of a new admin token.
pub(super) fn build(relay: &ValidRelay) -> Secret {
    let token = ByteString(relay.admin.value.expose().as_bytes().to_vec());
    Secret {
        metadata: names::meta(relay, relay.admin.name.clone()),
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(relay.admin.key.clone(), token)])),
        ..Secret::default()
    }
}
