#![allow(clippy::unwrap_used)]

use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::fixtures::{full, full_world, minimal, valid, world};
use super::super::read::{Lookup, World};
use super::*;
use crate::secret::Redacted;

/// The objects of a relay, each by kind and name as YAML.
fn documents(children: &Children) -> Vec<(String, String)> {
    fn document<K: Resource + Serialize>(kind: &K::DynamicType, object: &K) -> (String, String) {
        (format!("{}-{}", K::kind(kind), object.name_any()), serde_yaml_ng::to_string(object).unwrap())
    }
    // Without "..": a new child cannot be forgotten here.
    let Children {
        service_account,
        admin_secret,
        config_map,
        dashboards,
        firehose_service,
        admin_service,
        ingress,
        network_policy,
        disruption_budget,
        stateful_set,
        optional,
    } = children;
    let mut all = vec![document(&(), service_account)];
    all.extend(admin_secret.iter().map(|object| document(&(), object)));
    all.extend(config_map.iter().chain(dashboards).map(|object| document(&(), object)));
    all.extend([firehose_service, admin_service].map(|object| document(&(), object)));
    all.extend(ingress.iter().map(|object| document(&(), object)));
    all.extend(network_policy.iter().map(|object| document(&(), object)));
    all.push(document(&(), disruption_budget));
    all.push(document(&(), stateful_set));
    all.extend(optional.iter().map(|OptionalChild { kind, object }| document(&kind.resource(), object)));
    all
}

/// Holds each object against its golden file, `CASE-KIND-NAME`.
fn assert_golden(case: &str, children: &Children) {
    for (name, yaml) in documents(children) {
        insta::assert_snapshot!(format!("{case}-{name}"), yaml);
    }
}

fn objects(spec: &Value, world: &World) -> Children {
    let relay = valid(spec, world);
    build(&relay, relay.memory.at(relay.memory.limit)).unwrap()
}

#[test]
fn objects_of_a_minimal_relay() {
    let mut world = world();
    world.admin.generated = true;
    assert_golden("minimal", &objects(&minimal(), &world));
}

#[test]
fn objects_of_a_relay_with_every_field_set() {
    assert_golden("full", &objects(&full(), &full_world()));
}

fn foreign(implementation: &str) -> Value {
    json!({
        "hostname": "relay.test",
        "implementation": implementation,
        "image": {"repository": "registry.example.com/relay", "tag": "v1"},
        "memory": {"limit": "4Gi", "request": "1Gi"},
        "storage": {"size": "20Gi"},
    })
}

#[test]
fn objects_of_an_indigo_with_its_own_database() {
    let mut world = world();
    world.admin.generated = true;
    assert_golden("indigo", &objects(&foreign("Indigo"), &world));
}

#[test]
fn objects_of_an_indigo_with_what_it_can_do() {
    let mut spec = foreign("Indigo");
    spec["database"] = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    spec["plcURL"] = json!("http://10.99.0.1:2582");
    spec["upstream"] = json!({"allowInsecureHosts": true, "limits": {"accountsPerHost": 1000}});
    spec["validation"] = json!({"mode": "Lenient"});
    spec["firehose"] = json!({"replayWindow": "24h"});
    spec["terminationGracePeriodSeconds"] = json!(90);
    spec["access"] = json!({"service": {"type": "NodePort", "nodePort": 30301}});
    spec["image"]["pullSecrets"] = json!([{"name": "registry"}]);
    spec["collections"] = json!({"image": {
        "repository": "registry.example.com/collectiondir", "tag": "v1",
        "pullSecrets": [{"name": "registry"}, {"name": "directory"}],
    }});
    assert_golden("indigo-full", &objects(&spec, &full_world()));
}

/// An indigo with its directory of collections.
fn with_directory() -> Value {
    let mut spec = foreign("Indigo");
    spec["collections"] = json!({"image": {"repository": "registry.example.com/collectiondir", "tag": "v1"}});
    spec
}

#[test]
fn a_directory_that_is_switched_off_or_has_no_image_is_not_there() {
    let mut off = with_directory();
    off["collections"]["enabled"] = json!(false);
    for spec in [off, foreign("Indigo")] {
        let children = objects(&spec, &world());
        let pod = children.stateful_set.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.containers.iter().map(|container| &container.name).collect::<Vec<_>>(), [CONTAINER]);
        assert_eq!(children.firehose_service.spec.unwrap().ports.unwrap().len(), 1);
    }
}

#[test]
fn a_directory_has_a_token_of_its_own_and_its_paths_lead_to_it() {
    let mut world = world();
    world.admin.generated = true;
    let relay = valid(&with_directory(), &world);
    let data = objects(&with_directory(), &world).admin_secret.unwrap().data.unwrap();
    let of = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    assert_eq!((of("token").as_str(), of("collections-token").len()), ("t0ken", 64));

    let profile = Profile::of(&relay, relay.memory.at(relay.memory.limit)).unwrap();
    assert_eq!(profile.public_ports(), [("firehose", 2470), ("collections", 2510)]);
    assert_eq!(profile.internal_ports(), [("metrics", 2471), ("dir-metrics", 2511)]);
    assert_eq!(profile.paths[0], ("/xrpc/com.atproto.sync.listReposByCollection", ("collections", 2510)));
    assert!(profile.paths.iter().all(|(path, _)| !path.contains("admin")), "its admin API is not public");
}

#[test]
fn objects_of_a_zlay() {
    let mut spec = foreign("Zlay");
    spec["database"] = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    assert_golden("zlay", &objects(&spec, &full_world()));
}

#[test]
fn jobs_of_a_relay_with_every_field_set() {
    let named = |declared: &Declared| json!({ (declared.name.clone()): declared.spec });
    let wanted: Vec<Value> = jobs(&valid(&full(), &full_world())).iter().map(named).collect();
    insta::assert_snapshot!("jobs", serde_yaml_ng::to_string(&wanted).unwrap());
    assert_eq!(jobs(&valid(&minimal(), &world())), [], "nothing is declared by default");
    let mut indigo = foreign("Indigo");
    indigo["backfill"] = full()["backfill"].clone();
    assert_eq!(jobs(&valid(&indigo, &world())), [], "a relay of another project has no jobs");
}

#[test]
fn all_collections_are_those_seen_and_those_of_the_sources() {
    let mut spec = full();
    spec["backfill"]["collections"] = json!({"all": true});
    let all = jobs(&valid(&spec, &full_world()));
    spec["backfill"]["collections"] = json!({"seen": true, "ofSources": true});
    assert_eq!(all, jobs(&valid(&spec, &full_world())));
}

#[test]
fn the_configuration_is_the_recorded_one() {
    let config = objects(&full(), &full_world()).config_map.unwrap().data.unwrap().remove("relay.toml").unwrap();
    let recorded = include_str!("../../../tests/contract/relay.toml");
    assert_eq!(config, recorded, "the relay tests that it accepts tests/contract/relay.toml");
}

#[test]
fn no_object_but_the_secret_holds_a_secret() {
    let mut world = full_world();
    world.admin.generated = true;
    let mut children = objects(&full(), &world);
    children.admin_secret = None;
    let mut zlay = foreign("Zlay");
    zlay["database"] = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    let mut foreign = objects(&zlay, &world);
    foreign.admin_secret = None;
    let yaml: String = documents(&children).into_iter().chain(documents(&foreign)).map(|(_, yaml)| yaml).collect();
    for secret in ["t0ken", "postgres://"] {
        assert!(!yaml.contains(secret), "{secret:?} is in an object that anyone may read");
    }
}

#[test]
fn the_pod_is_replaced_when_its_files_change_and_only_then() {
    let template = |spec: &Value, world: &World| objects(spec, world).stateful_set.spec.unwrap().template;
    let base = template(&full(), &full_world());

    let mut spec = full();
    spec["upstream"]["hosts"] = json!([]);
    assert_ne!(template(&spec, &full_world()), base, "another host is another configuration");

    let mut world = full_world();
    world.admin.secret.value = Lookup::Found(Redacted::new("other".into()));
    assert_ne!(template(&full(), &world), base, "another admin token is another file");

    let mut world = full_world();
    world.database_url.as_mut().unwrap().value = Lookup::Found(Redacted::new("postgres://other".into()));
    assert_ne!(template(&full(), &world), base, "another database is another connection");

    let mut spec = full();
    spec["memory"]["softPercent"] = json!(70);
    assert_ne!(template(&spec, &full_world()), base, "another mark is another configuration");

    let mut spec = full();
    spec["memory"]["max"] = json!("4Gi");
    spec["update"] = json!({});
    assert_eq!(template(&spec, &full_world()), base, "how far the limit may grow is the operator's");

    let mut spec = full();
    spec["backfill"] = json!({});
    assert_eq!(template(&spec, &full_world()), base, "jobs are the admin API's");

    let mut spec = full();
    spec["access"]["service"] = json!({"type": "ClusterIP"});
    spec["hostname"] = json!("other.example.com");
    assert_eq!(template(&spec, &full_world()), base, "how consumers come is nothing to the pod");
}
