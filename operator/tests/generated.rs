//! Files that are generated from the types. `UPDATE_GENERATED=1 cargo test -p relay-operator --test generated`
//! writes them.
#![allow(clippy::unwrap_used)]

use std::path::Path;

fn check(path: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
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
fn the_samples_are_valid() {
    for sample in ["relay.yaml", "relay-production.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples").join(sample);
        let text = std::fs::read_to_string(path).unwrap();
        let relay = serde_yaml_ng::Deserializer::from_str(&text)
            .filter_map(|document| {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(document).unwrap();
                (value["kind"] == "Relay").then_some(value)
            })
            .next()
            .unwrap();
        let schema = serde_json::to_value(<relay_operator::api::Relay as kube::CustomResourceExt>::crd()).unwrap();
        let schema = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let errors = kube_cel::Validator::new().validate(schema, &relay, None);
        assert!(errors.is_ok(), "{sample}: {errors:?}");
        unknown_fields(sample, schema, &relay);
    }
}

/// Fails on a field that the schema does not have: the API server would drop it in silence.
fn unknown_fields(path: &str, schema: &serde_json::Value, value: &serde_json::Value) {
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for (name, field) in fields {
        let path = format!("{path}: {name}");
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let Some(schema) = properties.get(name) else { panic!("{path} is not in the schema") };
        unknown_fields(&path, schema, field);
    }
}
