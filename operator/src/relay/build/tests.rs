#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::super::fixtures::{full, full_world, minimal, valid, world};
use super::super::read::{Lookup, World};
use super::*;
use crate::secret::Redacted;

/// The objects of a relay as YAML documents, in the order in which they are applied.
fn yaml(children: &Children) -> String {
    let Children { service_account, admin_secret, config_map, firehose_service, admin_service, stateful_set } =
        children;
    [
        Some(serde_yaml_ng::to_string(service_account).unwrap()),
        admin_secret.as_ref().map(|secret| serde_yaml_ng::to_string(secret).unwrap()),
        Some(serde_yaml_ng::to_string(config_map).unwrap()),
        Some(serde_yaml_ng::to_string(firehose_service).unwrap()),
        Some(serde_yaml_ng::to_string(admin_service).unwrap()),
        Some(serde_yaml_ng::to_string(stateful_set).unwrap()),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("---\n")
}

fn objects(spec: &Value, world: &World) -> Children {
    let relay = valid(spec, world);
    build(&relay, relay.memory.at(relay.memory.limit)).unwrap()
}

#[test]
fn objects_of_a_minimal_relay() {
    let mut world = world();
    world.admin.generated = true;
    insta::assert_snapshot!("minimal", yaml(&objects(&minimal(), &world)));
}

#[test]
fn objects_of_a_relay_with_every_field_set() {
    insta::assert_snapshot!("full", yaml(&objects(&full(), &full_world())));
}

#[test]
fn jobs_of_a_relay_with_every_field_set() {
    let named = |declared: &Declared| json!({ (declared.name.clone()): declared.spec });
    let wanted: Vec<Value> = jobs(&valid(&full(), &full_world()).backfill).iter().map(named).collect();
    insta::assert_snapshot!("jobs", serde_yaml_ng::to_string(&wanted).unwrap());
    assert_eq!(jobs(&valid(&minimal(), &world()).backfill), [], "nothing is declared by default");
}

#[test]
fn all_collections_are_those_seen_and_those_of_the_sources() {
    let mut spec = full();
    spec["backfill"]["collections"] = json!({"all": true});
    let all = jobs(&valid(&spec, &full_world()).backfill);
    spec["backfill"]["collections"] = json!({"seen": true, "ofSources": true});
    assert_eq!(all, jobs(&valid(&spec, &full_world()).backfill));
}

#[test]
fn the_configuration_is_the_recorded_one() {
    let config = objects(&full(), &full_world()).config_map.data.unwrap().remove("relay.toml").unwrap();
    let recorded = include_str!("../../../tests/contract/relay.toml");
    assert_eq!(config, recorded, "the relay tests that it accepts tests/contract/relay.toml");
}

#[test]
fn no_object_but_the_secret_holds_a_secret() {
    let mut world = full_world();
    world.admin.generated = true;
    let mut children = objects(&full(), &world);
    children.admin_secret = None;
    let yaml = yaml(&children);
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
