//! A new version of the operator must not change the pod template of a relay that nobody has changed: it would replace the pod.
//!
//! `tests/templates/vVERSION.json` has the digest of the template of each spec below, as the operator of that version built it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::fixtures::{full_world, minimal, valid, world};

/// Specs, one or more for each field that the pod depends on, and each implementation.
fn specs() -> BTreeMap<String, Value> {
    let database = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    let image = json!({"repository": "registry.example.com/relay", "tag": "v1"});
    let changes = [
        ("minimal", json!({})),
        (
            "image",
            json!({"image": {"repository": "r.test/relay", "tag": "2", "pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]}}),
        ),
        ("memory", json!({"memory": {"request": "512Mi", "limit": "1Gi", "softPercent": 75, "hardPercent": 85}})),
        ("memory-in-place", json!({"memory": {"limit": "1Gi", "max": "2Gi", "resize": "InPlace"}})),
        ("restarts", json!({"memory": {"maxRestartsPerHour": 4, "restartCooldown": "5m"}})),
        ("grace", json!({"terminationGracePeriodSeconds": 90})),
        ("storage", json!({"storage": {"size": "2Gi", "storageClassName": "fast"}})),
        ("node", json!({"node": {"selector": {"topology.kubernetes.io/region": "fsn1"}}})),
        ("database", json!({"database": database})),
        ("plc", json!({"plcURL": "http://10.99.0.1:2582"})),
        (
            "upstream",
            json!({"upstream": {
                "bootstrapRelays": ["https://bsky.network"], "hosts": ["10.99.0.1:2583"], "allowInsecureHosts": true,
                "limits": {"accountsPerHost": 1000, "eventsPerSecond": 0},
            }}),
        ),
        ("validation", json!({"validation": {"mode": "Lenient"}})),
        ("firehose", json!({"firehose": {"replayWindow": "24h", "durability": "Os"}})),
        ("admin", json!({"admin": {"secretRef": {"name": "my-admin", "key": "password"}}})),
        ("indigo", json!({"implementation": "Indigo", "image": image})),
        ("indigo-database", json!({"implementation": "Indigo", "image": image, "database": database})),
        (
            "indigo-settings",
            json!({
                "implementation": "Indigo", "image": image, "terminationGracePeriodSeconds": 90,
                "memory": {"limit": "8Gi", "request": "1Gi"}, "plcURL": "http://10.99.0.1:2582",
                "upstream": {"allowInsecureHosts": true, "limits": {"accountsPerHost": 1000}},
                "validation": {"mode": "Lenient"}, "firehose": {"replayWindow": "24h"},
            }),
        ),
        ("zlay", json!({"implementation": "Zlay", "image": image, "database": database})),
        (
            "zlay-memory",
            json!({"implementation": "Zlay", "image": image, "database": database, "memory": {"limit": "8Gi"}}),
        ),
    ];
    let spec = |change: Value| {
        let mut spec = minimal();
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        spec
    };
    changes.map(|(name, change)| (name.to_owned(), spec(change))).into()
}

fn digest(spec: &Value) -> String {
    let mut world = world();
    if !spec["database"].is_null() {
        world.database_url = full_world().database_url;
    }
    if !spec["admin"].is_null() {
        world.admin = full_world().admin;
    }
    let relay = valid(spec, &world);
    let set = super::build(&relay, relay.memory.at(relay.memory.limit)).unwrap().stateful_set;
    super::digest(&serde_json::to_vec(&set.spec.unwrap().template).unwrap())
}

#[test]
fn no_template_differs_from_that_of_this_release() {
    let file = format!("tests/templates/v{}.json", env!("CARGO_PKG_VERSION"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let now: BTreeMap<String, String> = specs().iter().map(|(name, spec)| (name.clone(), digest(spec))).collect();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!(
            "there is no {file}: this is a new release. Write it with UPDATE_GENERATED=1 cargo test --lib templates, compare it with the file of the release before, and name in the release notes whose pods the update replaces: every line that differs"
        )
    });
    let recorded: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    for (name, digest) in &now {
        let Some(recorded) = recorded.get(name) else {
            panic!("{name} is not in {file}; add it with UPDATE_GENERATED=1")
        };
        assert!(
            digest == recorded,
            "the pod template of {name:?} is not that of {file}: an update of the operator alone would replace the pods of such relays. Leave the template as it was, where the spec says nothing of what is new. If it has to change, that is a release of its own: a new version in Cargo.toml, a new file by UPDATE_GENERATED=1, and a release note that says whose pods are replaced"
        );
    }
    assert_eq!(now.len(), recorded.len(), "{file} has specs that nobody looks at any more");
}
