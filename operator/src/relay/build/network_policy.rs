use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::implementation::Profile;
use crate::relay::validate::ValidRelay;

/// Who may reach the pod, and whom it may reach, unless the spec leaves that open.
pub(super) fn build(_relay: &ValidRelay, _profile: &Profile) -> Option<NetworkPolicy> {
    None
}
