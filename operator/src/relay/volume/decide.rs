//! What is to be done about the claim of a relay's volume. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::{DeletionPolicy, RefusedGrowth};
use crate::relay::byte_size::ByteSize;
use crate::relay::validate::{ValidRelay, requested};

/// How long after a refusal growth is asked for again.
const RETRY_REFUSED_AFTER: Duration = Duration::from_secs(600);

/// What is to be done about a claim.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// It gets these owners.
    pub(super) owners: Option<Vec<OwnerReference>>,
    /// It asks for this much.
    pub(super) grow: Option<ByteSize>,
    /// It is deleted.
    pub(super) delete: bool,
    /// The pod that uses it goes, so that it can.
    pub(super) evict: bool,
}

/// Decides on `claim`. `asked` is the uid of the claim that somebody wants to be given up.
pub(super) fn decide(
    relay: &ValidRelay,
    claim: &PersistentVolumeClaim,
    asked: Option<&str>,
    refused: Option<&RefusedGrowth>,
    now: Timestamp,
) -> Plan {
    if relay.paused {
        return Plan::default();
    }
    let is_leaving = claim.metadata.deletion_timestamp.is_some();
    if asked.is_some() && asked == claim.metadata.uid.as_deref() {
        return Plan { delete: !is_leaving, evict: true, ..Plan::default() };
    }
    if is_leaving {
        return Plan::default();
    }
    // What is not bound yet cannot ask for another size.
    let is_bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let grow = is_bound && requested(claim).is_some_and(|has| has < relay.storage.size);
    let rests = refused.is_some_and(|refused| {
        let rest = SignedDuration::try_from(RETRY_REFUSED_AFTER).unwrap_or(SignedDuration::MAX);
        refused.size == relay.storage.size.to_string() && now.duration_since(refused.at.0) < rest
    });
    Plan { owners: owners(relay, claim), grow: (grow && !rests).then_some(relay.storage.size), ..Plan::default() }
}

/// The owners that the claim is to have, unless it has them: with [`DeletionPolicy::Delete`] the Relay is one of them, and the
/// garbage collector deletes the claim after it.
fn owners(relay: &ValidRelay, claim: &PersistentVolumeClaim) -> Option<Vec<OwnerReference>> {
    let mut owners = claim.owner_references().to_vec();
    let is_owned = owners.iter().any(|owner| owner.uid == relay.owner.uid);
    match relay.storage.deletion {
        DeletionPolicy::Delete if !is_owned => {
            // Not the controller, which a StatefulSet would take for a stranger; and no deletion waits for it.
            owners.push(OwnerReference { controller: None, block_owner_deletion: None, ..relay.owner.clone() });
            Some(owners)
        }
        DeletionPolicy::Retain if is_owned => {
            owners.retain(|owner| owner.uid != relay.owner.uid);
            Some(owners)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::relay::fixtures::{valid, world};

    fn relay(size: &str, policy: &str, paused: bool) -> ValidRelay {
        let storage = json!({"size": size, "deletionPolicy": policy});
        valid(&json!({"hostname": "relay.test", "storage": storage, "paused": paused}), &world())
    }

    fn claim(edit: impl FnOnce(&mut Value)) -> PersistentVolumeClaim {
        let mut claim = json!({
            "metadata": {"name": "data-demo-0", "uid": "c-1"},
            "spec": {"resources": {"requests": {"storage": "2Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}},
        });
        edit(&mut claim);
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn a_volume_grows_when_it_is_bound_and_nobody_has_refused_it_lately() {
        let now = Timestamp::from_second(10_000).unwrap();
        let refused = |size: &str, seconds: i64| {
            Some(RefusedGrowth {
                size: size.into(),
                at: Time(Timestamp::from_second(10_000 - seconds).unwrap()),
                message: "no".into(),
            })
        };
        type Edit = fn(&mut Value);
        type Case<'a> = (&'a str, &'a str, Edit, Option<RefusedGrowth>, Option<&'a str>);
        #[rustfmt::skip]
        let table: &[Case] = &[
            ("larger", "3Gi", |_| {}, None, Some("3Gi")),
            ("the same", "2Gi", |_| {}, None, None),
            ("the same in other words", "2048Mi", |_| {}, None, None),
            ("smaller", "1Gi", |_| {}, None, None),
            ("asked for already", "3Gi", |c| c["spec"]["resources"]["requests"]["storage"] = json!("3Gi"), None, None),
            ("not bound yet", "3Gi", |c| c["status"] = json!({"phase": "Pending"}), None, None),
            ("on its way out", "3Gi", |c| c["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z"), None, None),
            ("refused a minute ago", "3Gi", |_| {}, refused("3Gi", 60), None),
            ("refused long ago", "3Gi", |_| {}, refused("3Gi", 601), Some("3Gi")),
            ("another size was refused", "3Gi", |_| {}, refused("4Gi", 60), Some("3Gi")),
        ];
        for (case, size, edit, refused, want) in table {
            let plan = decide(&relay(size, "Retain", false), &claim(edit), None, refused.as_ref(), now);
            assert_eq!(plan.grow.map(|size| size.to_string()).as_deref(), *want, "{case}");
            assert_eq!((plan.owners, plan.delete, plan.evict), (None, false, false), "{case}");
        }
        let paused = decide(&relay("3Gi", "Delete", true), &claim(|_| {}), Some("c-1"), None, now);
        assert_eq!(paused, Plan::default(), "a Relay that is paused is left alone");
    }

    #[test]
    fn the_relay_owns_its_claim_only_where_it_is_to_go_with_it() {
        let other = json!({"apiVersion": "v1", "kind": "Pod", "name": "other", "uid": "o"});
        let ours = json!({"apiVersion": "relay.waow.tech/v1alpha1", "kind": "Relay", "name": "demo", "uid": "u-1"});
        let owners = |policy: &str, has: &[&Value]| {
            let claim = claim(|claim| claim["metadata"]["ownerReferences"] = json!(has));
            decide(&relay("2Gi", policy, false), &claim, None, None, Timestamp::UNIX_EPOCH)
                .owners
                .map(|owners| serde_json::to_value(owners).unwrap())
        };
        assert_eq!(owners("Retain", &[&other]), None);
        assert_eq!(owners("Delete", &[&other]), Some(json!([other, ours])), "no controller, nothing that blocks");
        assert_eq!(owners("Delete", &[&ours, &other]), None, "it is so already");
        assert_eq!(owners("Retain", &[&ours, &other]), Some(json!([other])));
    }

    #[test]
    fn only_the_claim_that_is_named_is_given_up() {
        let plan = |asked: Option<&str>, leaving: bool| {
            let claim = claim(|claim| {
                if leaving {
                    claim["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z");
                }
            });
            let plan = decide(&relay("2Gi", "Retain", false), &claim, asked, None, Timestamp::UNIX_EPOCH);
            (plan.delete, plan.evict)
        };
        assert_eq!(plan(None, false), (false, false));
        assert_eq!(plan(Some("c-0"), false), (false, false), "an earlier one, which is gone");
        assert_eq!(plan(Some(""), false), (false, false));
        assert_eq!(plan(Some("c-1"), false), (true, true));
        assert_eq!(plan(Some("c-1"), true), (false, true), "it waits for the pod");
        assert_eq!(plan(None, true), (false, false), "somebody else has deleted it");
    }
}
