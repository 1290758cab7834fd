#![allow(clippy::unwrap_used)]

mod access;

use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::fixtures::{full, full_world, minimal, valid, world};
use super::super::read::{Lookup, World};
use super::*;
use crate::api::Implementation;
use crate::relay::validate::is_set_by_the_operator;
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
    // Its name has a digest of its content, which a golden file shows anyway.
    all.extend(config_map.iter().map(|object| ("ConfigMap-demo-config".into(), document(&(), object).1)));
    all.extend(dashboards.iter().map(|object| document(&(), object)));
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

/// The same of those of `kinds` only.
fn assert_golden_of(case: &str, children: &Children, kinds: &[&str]) {
    for (name, yaml) in documents(children) {
        if kinds.iter().any(|kind| name.starts_with(&format!("{kind}-"))) {
            insta::assert_snapshot!(format!("{case}-{name}"), yaml);
        }
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

#[test]
fn objects_of_a_relay_with_a_database_of_its_own() {
    let mut spec = minimal();
    spec["database"] = json!({"cloudNativePG": {"instances": 2, "storageSize": "5Gi", "storageClassName": "fast"}});
    let cluster = |spec: &Value| objects(spec, &world()).optional.pop().unwrap().object;
    let kept = cluster(&spec);
    insta::assert_snapshot!("postgres-Cluster-demo-db", serde_yaml_ng::to_string(&kept).unwrap());
    assert_eq!(kept.metadata.owner_references, None, "it outlives the Relay, like the volume");
    spec["storage"] = json!({"deletionPolicy": "Delete"});
    assert_eq!(cluster(&spec).owner_references()[0].uid, "u-1");
}

#[test]
fn the_policy_of_deletion_changes_no_stateful_set() {
    let mut spec = minimal();
    let before = objects(&spec, &world()).stateful_set;
    spec["storage"] = json!({"deletionPolicy": "Delete"});
    spec["backup"] = json!({"every": "24h"});
    assert_eq!(objects(&spec, &world()).stateful_set, before);
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
    spec["upstream"] = json!({
        "allowInsecureHosts": true, "trustedDomains": ["*.host.bsky.network", "pds.example.com"],
        "siblingRelays": ["https://relay2.example.com", "http://relay3.example.com"],
        "limits": {"accountsPerHost": 1000, "newHostsPerDay": 200},
    });
    spec["validation"] = json!({"mode": "Lenient"});
    spec["firehose"] = json!({
        "replayWindow": "24h", "compression": "None", "trustForwardedFor": true, "initialSeq": 1_000_000,
    });
    spec["memory"]["identityCache"] = json!("1536Mi");
    spec["collections"] = json!({"enabled": false});
    spec["logLevel"] = json!("Warn");
    spec["pod"] = full()["pod"].clone();
    spec["pod"]["env"] = json!({"RELAY_HOST_CONCURRENCY": "4"});
    spec["terminationGracePeriodSeconds"] = json!(90);
    spec["access"] = json!({"service": {"type": "NodePort", "nodePort": 30301}});
    spec["image"]["pullSecrets"] = json!([{"name": "registry"}]);
    spec["collections"] = json!({"minAccounts": 5, "image": {
        "repository": "registry.example.com/collectiondir", "tag": "v1",
        "pullSecrets": [{"name": "registry"}, {"name": "directory"}],
    }});
    assert_eq!(unsupported(&valid(&spec, &full_world())), [""; 0], "all of it");
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
    let policy = serde_json::to_value(objects(&with_directory(), &world).network_policy.unwrap()).unwrap();
    let open =
        |rule: usize| policy["spec"]["ingress"][rule]["ports"].as_array().unwrap().iter().map(|port| &port["port"]);
    assert!(open(0).eq(&[json!(2470), json!(2510)]), "who reaches the Service reaches the directory: {policy}");
    assert!(open(1).eq(&[json!(2471), json!(2511)]), "Prometheus reaches both: {policy}");
}

#[test]
fn what_is_without_a_limit_is_so_for_indigo_too() {
    let mut spec = foreign("Indigo");
    spec["upstream"] = json!({"trustedDomains": [], "limits": {"accountsPerHost": 0, "newHostsPerDay": 0}});
    let env = environment(objects(&spec, &world()));
    assert_eq!(env["RELAY_DEFAULT_ACCOUNT_LIMIT"], "10000000", "0 lets nobody in");
    assert_eq!(env["RELAY_NEW_HOSTS_PER_DAY_LIMIT"], "1000000000", "0 lets nobody in");
    assert_eq!(env["RELAY_TRUSTED_DOMAINS"], "nobody.invalid", "an empty list would be its default");
}

/// The variables of the relay's container that are no secrets.
fn environment(children: Children) -> std::collections::BTreeMap<String, String> {
    let pod = children.stateful_set.spec.unwrap().template.spec.unwrap();
    let variables = pod.containers.into_iter().next().unwrap().env.unwrap_or_default();
    variables.into_iter().map(|variable| (variable.name, variable.value.unwrap_or_default())).collect()
}

#[test]
fn what_the_operator_sets_in_the_environment_no_spec_sets() {
    for (implementation, spec) in of_each_program() {
        let mut relay = valid(&spec, &full_world());
        relay.pod.env.clear();
        for name in environment(build(&relay, relay.memory.at(relay.memory.limit)).unwrap()).into_keys() {
            assert!(is_set_by_the_operator(implementation, &name), "{implementation:?} {name}");
        }
    }
}

/// A spec of each program that says all that it has a variable for.
fn of_each_program() -> [(Implementation, Value); 3] {
    let mut zlay = foreign("Zlay");
    zlay["database"] = full()["database"].clone();
    zlay["firehose"] = json!({"replayWindow": "90m"});
    zlay["upstream"] = json!({"bootstrapRelays": ["https://bsky.network"]});
    let mut indigo = foreign("Indigo");
    for section in ["upstream", "firehose", "validation", "logLevel", "plcURL"] {
        indigo[section] = full()[section].clone();
    }
    [(Implementation::Bundled, full()), (Implementation::Indigo, indigo), (Implementation::Zlay, zlay)]
}

#[test]
fn objects_of_a_zlay() {
    let mut spec = foreign("Zlay");
    spec["database"] = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    assert_golden("zlay", &objects(&spec, &full_world()));
}

#[test]
fn objects_of_a_zlay_with_what_it_can_do() {
    let mut spec = foreign("Zlay");
    spec["database"] = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    spec["upstream"] = json!({"bootstrapRelays": ["https://relay.example.com"]});
    spec["firehose"] = json!({"replayWindow": "90m"});
    spec["pod"] = full()["pod"].clone();
    spec["pod"]["env"] = json!({"FRAME_WORKERS": "32"});
    assert_eq!(unsupported(&valid(&spec, &full_world())), [""; 0], "all of it");
    assert_golden("zlay-full", &objects(&spec, &full_world()));
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
fn every_setting_is_in_the_reference() {
    let page = include_str!("../../../../docs/reference/settings.md");
    let is_there = |name: &str| page.contains(&format!("`{name}`"));
    let configuration = include_str!("../../../../docs/reference/configuration.md");
    for row in configuration.lines().filter(|line| line.starts_with("| `--")) {
        let setting = row.trim_start_matches("| `--").split([' ', '`', ',']).next().unwrap();
        // A list is named in the plural there.
        let named = [setting.to_owned(), format!("{setting}s")];
        let is_log = setting == "log"; // `RELAY_LOG` here, since it is none of the file
        assert!(is_log || named.iter().any(|name| is_there(name)), "docs/reference/settings.md: {setting}");
    }
    for field in unsupported_of_every_program() {
        let field = field.trim_start_matches("spec.");
        let elsewhere = field == "backfill" || field.starts_with("collections.enabled");
        assert!(elsewhere || is_there(field), "docs/reference/settings.md: {field}");
    }
    for (_, spec) in of_each_program() {
        let relay = valid(&spec, &full_world());
        let added = &relay.pod.env;
        for name in environment(build(&relay, relay.memory.at(relay.memory.limit)).unwrap()).into_keys() {
            assert!(added.contains_key(&name) || is_there(&name), "docs/reference/settings.md: {name}");
        }
    }
}

/// Fields that one program or another does nothing about.
fn unsupported_of_every_program() -> Vec<&'static str> {
    let of = |implementation: &str| {
        let mut every = full();
        every["implementation"] = json!(implementation);
        every["memory"].as_object_mut().unwrap().remove("resize");
        unsupported(&valid(&every, &full_world()))
    };
    [of("Indigo"), of("Zlay")].concat()
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
    for secret in ["t0ken", "t0ken-of-siblings", "postgres://"] {
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

    let mut world = full_world();
    world.sibling_token.as_mut().unwrap().value = Lookup::Found(Redacted::new("t0ken-of-others".into()));
    assert_ne!(template(&full(), &world), base, "another token of siblings is another environment");

    let mut spec = full();
    spec["upstream"]["bannedDomains"] = json!([]);
    assert_eq!(template(&spec, &full_world()), base, "bans are the admin API's");

    let mut spec = full();
    spec["backfill"] = json!({});
    assert_eq!(template(&spec, &full_world()), base, "jobs are the admin API's");

    let mut spec = full();
    spec["access"] = json!({"service": {"type": "ClusterIP"}});
    spec["networkPolicy"] = json!({"enabled": false});
    spec["hostname"] = json!("other.example.com");
    assert_eq!(template(&spec, &full_world()), base, "how consumers come is nothing to the pod");

    spec["firehose"].as_object_mut().unwrap().remove("trustForwardedFor");
    let base = template(&spec, &full_world());
    spec["access"]["ingress"] = json!({});
    assert_ne!(template(&spec, &full_world()), base, "but by a proxy alone, which says who they are");
}
