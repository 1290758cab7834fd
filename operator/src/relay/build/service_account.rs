use k8s_openapi::api::core::v1::ServiceAccount;

use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// The pod's identity. The relay never speaks to the API server, so it gets no token.
pub(super) fn build(relay: &ValidRelay) -> ServiceAccount {
    ServiceAccount {
        metadata: names::meta(relay, names::service_account(&relay.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
