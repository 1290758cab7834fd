use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, ContainerResizePolicy, EnvVar, HTTPGetAction, LocalObjectReference,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, TCPSocketAction, TypedLocalObjectReference, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::implementation::{Check, Port, Profile};
use crate::api::{MemoryResize, PullPolicy};
use crate::relay::byte_size::ByteSize;
use crate::relay::names;
use crate::relay::validate::{Cpu, Image, Resources, ValidRelay};

/// Where the volume is mounted.
pub(super) const DATA_DIR: &str = "/data";
/// Where the admin token is mounted.
pub(super) const TOKEN_FILE: &str = "/run/secrets/relay/token";
pub(super) const TOKEN_DIR: &str = "/run/secrets/relay";
/// User and group of the relay, the "nonroot" of distroless images.
const NONROOT: i64 = 65532;
/// Readable by the relay's group, which owns the files of a projected volume.
pub(super) const GROUP_READ: i32 = 0o440;
/// API group of VolumeSnapshot.
const SNAPSHOT_GROUP: &str = "snapshot.storage.k8s.io";
/// The container that is the relay.
pub(in crate::relay) const CONTAINER: &str = "relay";
/// Pod annotation that changes when the relay has to read its files again.
const FINGERPRINT: &str = "relay.waow.tech/config";

/// The StatefulSet of the one pod that is the relay.
pub(super) fn build(relay: &ValidRelay, profile: Profile, fingerprint: &str, memory: Resources) -> StatefulSet {
    StatefulSet {
        metadata: names::meta(relay, names::stateful_set(&relay.name)),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            selector: names::selector(&relay.name),
            service_name: Some(names::admin(&relay.name)),
            // A pod that never became ready is replaced by a repaired template; with OrderedReady the
            // controller would wait for it forever.
            pod_management_policy: Some("Parallel".into()),
            // The operator replaces the pod itself, by eviction, and watches what comes of it.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".into()),
                ..StatefulSetUpdateStrategy::default()
            }),
            // Also with deletionPolicy: Delete: then the claim goes with the Relay, and not with a StatefulSet that is made anew.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".into()),
                when_scaled: Some("Retain".into()),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    // The operator's own go last: they cannot be others'.
                    labels: Some(merged(&relay.pod.labels, names::labels(&relay.name))),
                    annotations: Some(merged(
                        &relay.pod.annotations,
                        BTreeMap::from([(FINGERPRINT.into(), fingerprint.into())]),
                    )),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(relay, profile, memory)),
            },
            volume_claim_templates: Some(vec![data_claim(relay)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn pod(relay: &ValidRelay, mut profile: Profile, memory: Resources) -> PodSpec {
    let volumes = std::mem::take(&mut profile.volumes);
    let beside = profile.beside.take().map(|beside| beside.container);
    PodSpec {
        service_account_name: Some(names::service_account(&relay.name)),
        automount_service_account_token: Some(false),
        host_network: relay.access.host_network.map(|_| true),
        // On the node's network the pod would ask the node's DNS, which knows no Service.
        dns_policy: relay.access.host_network.map(|_| "ClusterFirstWithHostNet".into()),
        // A Service named "relay" in the namespace would set RELAY_… variables, which every relay reads.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(relay.grace_seconds()),
        node_selector: non_empty(relay.node_selector.clone()),
        tolerations: non_empty(relay.pod.tolerations.clone()),
        affinity: relay.pod.affinity.clone(),
        priority_class_name: relay.pod.priority_class.clone(),
        image_pull_secrets: non_empty(pull_secrets(relay)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NONROOT),
            run_as_group: Some(NONROOT),
            fs_group: Some(NONROOT),
            fs_group_change_policy: Some("OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        containers: std::iter::once(container(relay, profile, memory)).chain(beside).collect(),
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

/// The credentials for all images of the pod, each once.
fn pull_secrets(relay: &ValidRelay) -> Vec<LocalObjectReference> {
    let mut secrets: Vec<LocalObjectReference> = Vec::new();
    for image in std::iter::once(&relay.image).chain(relay.directory.image()) {
        for name in &image.pull_secrets {
            if !secrets.iter().any(|secret| secret.name == *name) {
                secrets.push(LocalObjectReference { name: name.clone() });
            }
        }
    }
    secrets
}

fn container(relay: &ValidRelay, profile: Profile, memory: Resources) -> Container {
    Container {
        name: CONTAINER.into(),
        image: Some(relay.image.reference.clone()),
        image_pull_policy: Some(pull_policy(&relay.image)),
        args: profile.args,
        working_dir: profile.working_dir.map(str::to_owned),
        env: non_empty(env(relay, profile.env)),
        ports: Some(std::iter::once(profile.firehose).chain(profile.internal).map(port).collect()),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(memory.request, relay.pod.cpu_request)),
            limits: Some(quantities(memory.limit, relay.pod.cpu_limit)),
            ..ResourceRequirements::default()
        }),
        resize_policy: (relay.memory.resize == MemoryResize::InPlace).then(|| {
            vec![ContainerResizePolicy { resource_name: "memory".into(), restart_policy: "NotRequired".into() }]
        }),
        // A start reads the tail of the log and replays what derived state has not seen: minutes at worst.
        startup_probe: Some(probe(relay, profile.alive, 2, 300)),
        liveness_probe: Some(probe(relay, profile.alive, 10, 6)),
        readiness_probe: Some(probe(relay, profile.ready, 5, 2)),
        termination_message_path: Some("/dev/termination-log".into()),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        security_context: Some(confined()),
        volume_mounts: Some(std::iter::once(mount("data", DATA_DIR, None)).chain(profile.mounts).collect()),
        ..Container::default()
    }
}

/// What the program is told by its environment, and behind it what the spec adds.
fn env(relay: &ValidRelay, mut own: Vec<EnvVar>) -> Vec<EnvVar> {
    let added = relay.pod.env.iter();
    own.extend(added.map(|(name, value)| EnvVar {
        name: name.clone(),
        value: Some(value.clone()).filter(|value| !value.is_empty()), // the API server drops empty ones
        ..EnvVar::default()
    }));
    own
}

fn quantities(memory: ByteSize, cpu: Option<Cpu>) -> BTreeMap<String, Quantity> {
    let cpu = cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.to_string())));
    std::iter::once(("memory".to_owned(), memory.into())).chain(cpu).collect()
}

fn merged(others: &BTreeMap<String, String>, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
    others.clone().into_iter().chain(own).collect()
}

/// What a container of the pod may do on its node: nothing.
pub(super) fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

pub(super) fn pull_policy(image: &Image) -> String {
    match image.pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
    .into()
}

fn data_claim(relay: &ValidRelay) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".into()),
            labels: Some(names::labels(&relay.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: relay.storage.class.clone(),
            data_source: relay.storage.snapshot.as_ref().map(|name| TypedLocalObjectReference {
                api_group: Some(SNAPSHOT_GROUP.into()),
                kind: "VolumeSnapshot".into(),
                name: name.clone(),
            }),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".into(), relay.storage.usable.into())])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

pub(super) fn probe(relay: &ValidRelay, check: Check, period_seconds: i32, failure_threshold: i32) -> Probe {
    let named = |port: &str| IntOrString::String(port.into());
    let (http_get, tcp_socket) = match check {
        Check::Http(path, port) => {
            // By default the pod's address, where the admin API does not listen on the node's network.
            let host = relay.access.host_network.map(|address| address.to_string());
            let action = HTTPGetAction { path: Some(path.into()), port: named(port), host, ..HTTPGetAction::default() };
            (Some(action), None)
        }
        Check::Tcp(port) => (None, Some(TCPSocketAction { port: named(port), ..TCPSocketAction::default() })),
    };
    Probe {
        http_get,
        tcp_socket,
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

pub(super) fn port((name, port): Port) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

pub(super) fn mount(name: &str, path: &str, read_only: Option<bool>) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: path.into(), read_only, ..VolumeMount::default() }
}

/// The API server drops empty collections; what is applied must not have them either.
fn non_empty<C: IntoIterator + Default + PartialEq>(collection: C) -> Option<C> {
    (collection != C::default()).then_some(collection)
}
