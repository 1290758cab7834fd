//! The kinds of the API group `relay.waow.tech`: types and the rules of their schema, no behaviour.

mod access;
mod backfill;
mod backup;
mod collections;
mod database;
mod firehose;
mod image;
mod implementation;
mod log_level;
mod memory;
mod monitoring;
mod network_policy;
mod node;
pub mod patterns;
mod plc;
mod pod;
mod relay;
mod status;
mod storage;
mod update;
mod update_status;
mod upstream;
mod validation;

use kube::CustomResourceExt;

pub use access::{
    AccessSpec, DNS_NEEDS_TARGETS, DnsSpec, HOST_NETWORK_NEEDS_BUNDLED, HostNetworkSpec, HttpRouteSpec,
    INGRESS_OR_ROUTE, IngressSpec, ONE_ISSUER, ParentRef, ROUTE_HAS_NO_SECRET, ServiceSpec, ServiceType,
    TARGETS_OF_ONE_SORT, TLS_NEEDS_A_PROXY, TlsSpec,
};
pub use backfill::{
    BackfillCollections, BackfillJobStatus, BackfillSource, BackfillSpec, BackfillStatus, COLLECTIONS_NEED_SOURCES,
    CrawlSpec, SOURCES_NEED_COLLECTIONS, VerifySpec,
};
pub use backup::{BackupSpec, BackupStatus, SnapshotStatus};
pub use collections::{
    BUNDLED_HAS_COLLECTIONS, COLLECTIONS_IMAGE_NEEDS_INDIGO, COLLECTIONS_IMAGE_NEEDS_NAME, CollectionsSpec,
};
pub use database::{
    CLUSTER_RELAY_NAME, CLUSTER_RELAY_NAME_MAX, CloudNativePgSpec, DatabaseKind, DatabaseSecretRef, DatabaseSpec,
    ONE_DATABASE,
};
pub use firehose::{Compression, Durability, FirehoseSpec, MAX_SIZE_NEEDS_ROOM};
pub use image::{ImageSpec, PullPolicy};
pub use implementation::{
    FOREIGN_MIN_LIMIT, FOREIGN_NEEDS_IMAGE, FOREIGN_NEEDS_MEMORY, FOREIGN_NEEDS_NEVER, Implementation,
    ZLAY_NEEDS_DATABASE,
};
pub use log_level::LogLevel;
pub use memory::{CACHES_NEED_ROOM, MemoryResize, MemorySpec};
pub use monitoring::{AlertsSpec, DashboardsSpec, INTERVAL_SHORT, MonitoringSpec, ServiceMonitorSpec};
pub use network_policy::{NetworkPolicySpec, PodsOf};
pub use node::NodeSpec;
pub use plc::{PLC_EXPORT_URL_NEEDS_ENABLED, PlcExportSpec};
pub use pod::{CpuSpec, OPERATORS_DOMAIN, OPERATORS_LABELS, OPERATORS_OWN, PodSpec};
pub use relay::{AdminSecretRef, AdminSpec, LocalRef, Relay, RelaySpec};
pub use status::{
    CountedStatus, HostsStatus, MemoryStatus, RelayStatus, ResizeState, ResizeStatus, RestartCause, RestartStatus,
    RestartsStatus,
};
pub use storage::{CLASS_IS_FIXED, DeletionPolicy, RefusedGrowth, SNAPSHOT_IS_FIXED, StorageSpec, StorageStatus};
pub use update::{GateSpec, UpdateSpec};
pub use update_status::{DeliveryStatus, RefusalStatus, UpdatePhase, UpdateStatus};
pub use upstream::{LimitsSpec, SIBLING_TOKEN_NEEDS_SIBLINGS, UpstreamSpec};
pub use validation::{HostValidation, ValidationMode, ValidationSpec};

/// The CustomResourceDefinition of every kind, as YAML: what `crds/` holds.
///
/// # Errors
///
/// When the schema cannot be written as YAML.
pub fn crd_yaml() -> Result<String, serde_yaml_ng::Error> {
    serde_yaml_ng::to_string(&Relay::crd())
}
