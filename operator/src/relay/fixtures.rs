//! What the tests of the steps begin with.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::read::{AdminSecret, Lookup, SecretValue, World};
use super::update::LastGood;
use super::validate::{ValidRelay, validate};
use crate::api::Relay;
use crate::secret::Redacted;

/// The image of relays whose spec names none.
pub(super) const DEFAULT_IMAGE: &str = "relay.test/relay:1";

/// The Relay `demo` in the namespace `relays` with this spec, as JSON.
pub(super) fn relay_json(spec: &Value) -> Value {
    json!({
        "apiVersion": "relay.waow.tech/v1alpha1",
        "kind": "Relay",
        "metadata": {"name": "demo", "namespace": "relays", "uid": "u-1", "generation": 1},
        "spec": spec,
    })
}

/// The same, as a Relay.
pub(super) fn relay(spec: &Value) -> Relay {
    serde_json::from_value(relay_json(spec)).unwrap()
}

/// A spec with nothing but what is required.
pub(super) fn minimal() -> Value {
    json!({"hostname": "relay.test"})
}

/// A spec with every field set to something else than its default.
pub(super) fn full() -> Value {
    json!({
        "hostname": "relay.example.com",
        "image": {
            "repository": "registry.example.com/relay",
            "tag": "v2",
            "digest": format!("sha256:{}", "ab".repeat(32)),
            "pullPolicy": "Always",
            "pullSecrets": [{"name": "registry"}],
        },
        "memory": {
            "request": "512Mi", "limit": "1024Mi", "max": "2Gi", "softPercent": 75, "hardPercent": 85,
            "resize": "InPlace", "maxRestartsPerHour": 4, "restartCooldown": "5m",
            "identityCache": "64Mi", "blockCache": "128Mi",
        },
        "terminationGracePeriodSeconds": 90,
        "update": {
            "window": "Sun 03:00-05:00 UTC",
            "gate": {"enabled": true, "minDeliveryPercent": 90, "within": "30m"},
        },
        "storage": {
            "size": "2Gi", "storageClassName": "fast", "deletionPolicy": "Delete", "fromSnapshot": {"name": "main-before"},
        },
        "backup": {"every": "24h", "keep": 7, "snapshotClassName": "csi"},
        "node": {"selector": {"topology.kubernetes.io/region": "fsn1"}},
        "database": {"externalSecretRef": {"name": "relay-db", "key": "uri"}},
        "plcURL": "http://10.99.0.1:2582",
        "plcExport": {"enabled": true, "url": "https://plc-mirror.example.com"},
        "upstream": {
            "bootstrapRelays": ["https://bsky.network"],
            "hosts": ["10.99.0.1:2583", "pds.example.com"],
            "allowInsecureHosts": true,
            "discoveryInterval": "4h",
            "trustedDomains": ["*.host.bsky.network", "pds.example.com"],
            "bannedDomains": ["spam.example"],
            "siblingRelays": ["https://relay2.example.com"],
            "siblingTokenSecretRef": {"name": "sibling", "key": "admin"},
            "limits": {"accountsPerHost": 1000, "eventsPerSecond": 0, "newHostsPerDay": 200, "maxHosts": 3000},
        },
        "validation": {"mode": "Lenient", "hosts": [
            {"match": "*.legacy.example", "mode": "Observe"},
            {"match": "pds.example.com", "mode": "Enforce"},
        ]},
        "firehose": {
            "replayWindow": "24h", "maxSize": "1Gi", "durability": "Os", "compression": "None", "maxConsumers": 200,
            "maxConsumersPerAddress": 10, "trustForwardedFor": true, "initialSeq": 1_000_000,
        },
        "collections": {"minAccounts": 5},
        "backfill": {
            "sources": [
                {"url": "https://bsky.network", "requestsPerSecond": 8.0},
                {"url": "http://10.99.0.1:2510"},
            ],
            "collections": {
                "names": ["app.bsky.feed.post"],
                "lists": ["https://lexicon.garden/llms.txt"],
                "seen": true,
                "ofSources": true,
                "all": false,
            },
            "crawl": {"enabled": true, "hosts": ["pds.example.com"], "requestsPerSecond": 4.5},
            "verify": {"enabled": true, "schedule": "0 3 * * 1", "requestsPerSecond": 2.0},
            "schedule": "@weekly",
            "concurrency": 4,
        },
        "access": {
            "service": {"type": "NodePort", "nodePort": 30300},
            "ingress": {
                "className": "nginx",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "3600"},
            },
            "tls": {"clusterIssuer": "letsencrypt"},
            "dns": {"externalDNS": true, "ttl": 60, "targets": ["203.0.113.7", "2001:db8::7"]},
        },
        "networkPolicy": {"adminFrom": [{"namespaces": {"kubernetes.io/metadata.name": "monitoring"}}]},
        "admin": {"secretRef": {"name": "my-admin", "key": "password"}},
        "logLevel": "Debug",
        "pod": {
            "labels": {"team": "relays"},
            "annotations": {"example.com/owner": "ada"},
            "cpu": {"request": "500m", "limit": "2000m"},
            "env": {"RUST_BACKTRACE": "full"},
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "relay", "effect": "NoSchedule"}],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "relay"}},
                    "topologyKey": "kubernetes.io/hostname",
                },
            }]}},
            "priorityClassName": "high",
        },
        "monitoring": {
            "serviceMonitor": {"labels": {"release": "prometheus"}, "interval": "15s"},
            "alerts": {"labels": {"team": "relays"}, "runbookURL": "https://runbooks.example.com/relay/"},
            "dashboards": {"labels": {"grafana": "yes"}, "folder": "AT Protocol"},
        },
        "paused": true,
    })
}

/// A cluster with the Secrets that specs refer to, and nothing else.
pub(super) fn world() -> World {
    let secret = |name: &str, key: &str, value: &str| SecretValue {
        name: name.into(),
        key: key.into(),
        value: Lookup::Found(Redacted::new(value.into())),
    };
    World {
        admin: AdminSecret { secret: secret("demo-admin", "token", "t0ken"), generated: false },
        database_url: None,
        sibling_token: None,
        stateful_set: None,
        service: None,
        claim: None,
        snapshots: None,
        ingress: None,
        dns_endpoint: None,
        tls_secret_missing: false,
        operator_namespace: "relay-operator".into(),
        pod: None,
        gone_pod: None,
        foreign: None,
        door: None,
        document: None,
        banned_domains: None,
        last_good: LastGood::NotAsked,
        can_resize: false,
    }
}

/// The world that [`full`] refers to.
pub(super) fn full_world() -> World {
    let mut world = world();
    world.admin.secret.name = "my-admin".into();
    world.admin.secret.key = "password".into();
    world.sibling_token = Some(SecretValue {
        name: "sibling".into(),
        key: "admin".into(),
        value: Lookup::Found(Redacted::new("t0ken-of-siblings".into())),
    });
    world.database_url = Some(SecretValue {
        name: "relay-db".into(),
        key: "uri".into(),
        value: Lookup::Found(Redacted::new("postgres://u:p@db/relay".into())),
    });
    world
}

/// A valid relay.
pub(super) fn valid(spec: &Value, world: &World) -> ValidRelay {
    validate(&relay(spec), world, DEFAULT_IMAGE).unwrap()
}
