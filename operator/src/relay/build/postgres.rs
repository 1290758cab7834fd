//! The PostgreSQL that CloudNativePG makes for the relay.

use serde_json::json;

use super::OptionalChild;
use crate::api::DeletionPolicy;
use crate::relay::names;
use crate::relay::optional::OptionalKind;
use crate::relay::validate::ValidRelay;

/// Name of the database in it, and of the role that owns it.
const DATABASE: &str = "relay";

/// The Cluster, where the spec asks for one. It has the owner that the volume has: by default none, so that it outlives the
/// Relay.
pub(super) fn build(relay: &ValidRelay) -> Option<OptionalChild> {
    let cluster = relay.database.cluster.as_ref()?;
    let mut storage = json!({"size": cluster.storage_size.to_string()});
    if let Some(class) = &cluster.storage_class {
        storage["storageClass"] = json!(class);
    }
    let spec = json!({
        "instances": cluster.instances,
        "storage": storage,
        "bootstrap": {"initdb": {"database": DATABASE, "owner": DATABASE}},
    });
    let mut child = OptionalChild::new(OptionalKind::PostgresCluster, relay, names::database(&relay.name), &spec);
    if relay.storage.deletion == DeletionPolicy::Retain {
        child.object.metadata.owner_references = None;
    }
    Some(child)
}
