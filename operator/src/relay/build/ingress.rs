use k8s_openapi::api::networking::v1::Ingress;

use super::implementation::Profile;
use crate::relay::validate::ValidRelay;

/// The Ingress of the firehose and XRPC, where the spec asks for one.
pub(super) fn build(_relay: &ValidRelay, _profile: &Profile) -> Option<Ingress> {
    None
}
