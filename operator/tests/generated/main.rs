//! Files that are generated from the types. `UPDATE_GENERATED=1 cargo test -p relay-operator --test generated`
//! writes them.
#![allow(clippy::unwrap_used)]

mod reference;

use std::path::Path;

use kube::CustomResourceExt;
use relay_operator::api::Relay;
use serde_json::Value;

fn check(path: &str, want: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, want).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == want,
        "{} is stale; run: UPDATE_GENERATED=1 cargo test --release -p relay-operator --test generated",
        path.display()
    );
}

#[test]
fn the_definitions_are_those_of_the_types() {
    check("crds/relay.waow.tech_relays.yaml", &relay_operator::api::crd_yaml().unwrap());
}

#[test]
fn the_chart_installs_the_same_definitions() {
    check("charts/relay-operator/files/relay.waow.tech_relays.yaml", &relay_operator::api::crd_yaml().unwrap());
}

#[test]
fn the_reference_is_that_of_the_types() {
    check("docs/reference/relay.md", &reference::markdown(&crd()));
}

#[test]
fn the_samples_are_valid() {
    let crd = crd();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for sample in
        ["relay.yaml", "relay-production.yaml", "relay-backfill.yaml", "relay-monitored.yaml", "relay-indigo.yaml"]
    {
        let text = std::fs::read_to_string(root().join("config/samples").join(sample)).unwrap();
        let documents = serde_yaml_ng::Deserializer::from_str(&text);
        let mut objects = documents.map(|document| <Value as serde::Deserialize>::deserialize(document).unwrap());
        let relay = objects.find(|object| object["kind"] == "Relay").unwrap();
        let errors = kube_cel::Validator::new().validate(schema, &relay, None);
        assert!(errors.is_ok(), "{sample}: {errors:?}");
        no_unknown_fields(sample, schema, &relay);
    }
}

/// Fails on a field that the schema does not have: an API server drops it in silence.
fn no_unknown_fields(path: &str, schema: &Value, value: &Value) {
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for (name, field) in fields {
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let path = format!("{path}: {name}");
        let Some(schema) = properties.get(name) else { panic!("{path} is not in the schema") };
        no_unknown_fields(&path, schema, field);
    }
}

fn crd() -> Value {
    serde_json::to_value(Relay::crd()).unwrap()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
