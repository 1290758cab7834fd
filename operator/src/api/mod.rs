//! The kinds of the API group `relay.waow.tech`: types and the rules of their schema, no behaviour.

mod backfill;
mod memory;
pub mod patterns;
mod relay;
mod status;

use kube::CustomResourceExt;

pub use backfill::{
    BackfillCollections, BackfillJobStatus, BackfillSource, BackfillSpec, BackfillStatus, COLLECTIONS_NEED_SOURCES,
    CrawlSpec, SOURCES_NEED_COLLECTIONS, VerifySpec,
};
pub use memory::{MemoryResize, MemorySpec};
pub use relay::{
    AccessSpec, AdminSecretRef, AdminSpec, DatabaseSecretRef, DatabaseSpec, Durability, FirehoseSpec, ImageSpec,
    LimitsSpec, LocalRef, NodeSpec, PullPolicy, Relay, RelaySpec, ServiceSpec, ServiceType, StorageSpec, UpdateSpec,
    UpstreamSpec, ValidationMode, ValidationSpec,
};
pub use status::{
    CountedStatus, HostsStatus, MemoryStatus, RelayStatus, ResizeState, ResizeStatus, RestartCause, RestartStatus,
    RestartsStatus,
};

/// The CustomResourceDefinition of every kind, as YAML: what `crds/` holds.
///
/// # Errors
///
/// When the schema cannot be written as YAML.
pub fn crd_yaml() -> Result<String, serde_yaml_ng::Error> {
    serde_yaml_ng::to_string(&Relay::crd())
}
