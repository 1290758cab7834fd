//! Names and routes of kinds that the cluster may know: HTTPRoute, Certificate, DNSEndpoint.

use super::OptionalChild;
use super::implementation::Profile;
use crate::relay::validate::ValidRelay;

/// What the spec asks for.
pub(super) fn build(_relay: &ValidRelay, _profile: &Profile) -> Vec<OptionalChild> {
    Vec::new()
}
