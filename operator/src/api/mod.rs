//! The kinds of the API group `relay.waow.tech`: types and the rules of their schema, no behaviour.

mod access;
mod backfill;
mod collections;
mod database;
mod firehose;
mod image;
mod implementation;
mod memory;
mod monitoring;
mod network_policy;
mod node;
pub mod patterns;
mod pod;
mod relay;
mod status;
mod storage;
mod update;
mod upstream;
mod validation;

use kube::CustomResourceExt;

pub use access::{AccessSpec, ServiceSpec, ServiceType};
pub use backfill::{
    BackfillCollections, BackfillJobStatus, BackfillSource, BackfillSpec, BackfillStatus, COLLECTIONS_NEED_SOURCES,
    CrawlSpec, SOURCES_NEED_COLLECTIONS, VerifySpec,
};
pub use collections::{COLLECTIONS_IMAGE_NEEDS_INDIGO, COLLECTIONS_IMAGE_NEEDS_NAME, CollectionsSpec};
pub use database::{DatabaseSecretRef, DatabaseSpec};
pub use firehose::{Durability, FirehoseSpec};
pub use image::{ImageSpec, PullPolicy};
pub use implementation::{
    FOREIGN_MIN_LIMIT, FOREIGN_NEEDS_IMAGE, FOREIGN_NEEDS_MEMORY, FOREIGN_NEEDS_NEVER, Implementation,
    ZLAY_NEEDS_DATABASE,
};
pub use memory::{MemoryResize, MemorySpec};
pub use monitoring::{AlertsSpec, DashboardsSpec, MonitoringSpec, ServiceMonitorSpec};
pub use network_policy::NetworkPolicySpec;
pub use node::NodeSpec;
pub use pod::PodSpec;
pub use relay::{AdminSecretRef, AdminSpec, LocalRef, Relay, RelaySpec};
pub use status::{
    CountedStatus, HostsStatus, MemoryStatus, RelayStatus, ResizeState, ResizeStatus, RestartCause, RestartStatus,
    RestartsStatus,
};
pub use storage::StorageSpec;
pub use update::UpdateSpec;
pub use upstream::{LimitsSpec, UpstreamSpec};
pub use validation::{ValidationMode, ValidationSpec};

/// The CustomResourceDefinition of every kind, as YAML: what `crds/` holds.
///
/// # Errors
///
/// When the schema cannot be written as YAML.
pub fn crd_yaml() -> Result<String, serde_yaml_ng::Error> {
    serde_yaml_ng::to_string(&Relay::crd())
}
