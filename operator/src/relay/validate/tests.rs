#![allow(clippy::unwrap_used)]

use kube::CustomResourceExt;
use kube_cel::Validator;
use serde_json::{Value, json};

use super::super::fixtures::{DEFAULT_IMAGE, full, full_world, minimal, relay, relay_json, valid, world};
use super::*;

/// `spec` with the value at `path` replaced; `null` removes it.
fn with(mut spec: Value, path: &str, value: Value) -> Value {
    let (parents, last) = path.rsplit_once('/').unwrap();
    let mut at = &mut spec;
    for key in parents.split('/').skip(1) {
        at = at.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
    }
    match value {
        Value::Null => at.as_object_mut().unwrap().remove(last),
        value => at.as_object_mut().unwrap().insert(last.into(), value),
    };
    spec
}

/// The messages of the schema's CEL rules that `spec` breaks.
fn cel(spec: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = serde_json::to_value(Relay::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let old = old.map(relay_json);
    match Validator::new().validate(schema, &relay_json(spec), old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().iter().map(ToString::to_string).collect(),
    }
}

fn message(spec: &Value) -> Option<String> {
    validate(&relay(spec), &full_world(), DEFAULT_IMAGE).err().map(|invalid| invalid.to_string())
}

#[test]
fn good_specs_pass_the_schema_and_the_operator() {
    for (case, spec) in [
        ("minimal", minimal()),
        ("full", full()),
        ("limit alone", with(minimal(), "/memory/limit", json!("128Mi"))),
        ("request of the limit", with(minimal(), "/memory/request", json!("4Gi"))),
        ("public hosts", with(minimal(), "/upstream/hosts", json!(["pds.example.com", "pds.example.com:8443"]))),
        ("marks 5 apart", with(minimal(), "/memory", json!({"softPercent": 92, "hardPercent": 97}))),
        (
            "a limit that may not grow",
            with(minimal(), "/memory", json!({"limit": "1Gi", "max": "1Gi", "resize": "InPlace"})),
        ),
        ("the shortest grace", with(minimal(), "/terminationGracePeriodSeconds", json!(20))),
        ("a window of every day", with(minimal(), "/update/window", json!("23:00-01:00 UTC"))),
        ("digest alone", with(with(full(), "/image/tag", json!(null)), "/image/pullSecrets", json!([]))),
        ("limits off", with(minimal(), "/upstream/limits", json!({"accountsPerHost": 0, "eventsPerSecond": 0}))),
        (
            "all collections of a source",
            with(
                minimal(),
                "/backfill",
                json!({"sources": [{"url": "https://a.example"}], "collections": {"all": true}}),
            ),
        ),
        ("a crawl alone", with(minimal(), "/backfill/crawl", json!({"enabled": true}))),
        ("a verification alone", with(minimal(), "/backfill/verify", json!({"enabled": true}))),
        ("node port of a load balancer", with(full(), "/access/service/type", json!("LoadBalancer"))),
    ] {
        assert_eq!(cel(&spec, None), Vec::<String>::new(), "schema: {case}");
        assert_eq!(message(&spec), None, "operator: {case}");
    }
}

#[test]
fn bad_specs_are_refused_by_the_schema_and_by_the_operator_with_the_same_sentence() {
    #[rustfmt::skip]
    let table: &[(&str, Value, &str)] = &[
        ("/hostname", json!("Relay.Example"), "write a DNS name in lower case"),
        ("/hostname", json!("10.0.0.1"), "write a DNS name in lower case"),
        ("/hostname", json!("https://relay.test"), "write a DNS name in lower case"),
        ("/image", json!({"tag": "v1"}), "tag and digest need a repository"),
        ("/image", json!({"repository": "r.test/relay"}), "name a tag or a digest of the repository"),
        ("/image/repository", json!("r.test/relay:v1"), "write the image without its tag"),
        ("/image/tag", json!("a b"), "a tag is at most 128"),
        ("/image/digest", json!("sha256:12"), "a digest is sha256: and 64 hexadecimal digits"),
        ("/image/pullSecrets", json!([{"name": "a/b"}]), "write the name of an object"),
        ("/memory", json!({"limit": "1.5Gi"}), "write a whole number of bytes with a unit"),
        ("/memory", json!({"limit": "64Mi"}), "memory.limit must be at least 128Mi"),
        ("/memory", json!({"request": "2Gi", "limit": "1Gi"}), "must not be above"),
        ("/memory", json!({"limit": "1Gi", "max": "1023Mi"}), "must not be below"),
        ("/memory/max", json!("all"), "write a whole number of bytes with a unit"),
        ("/memory", json!({"softPercent": 86, "hardPercent": 90}), "must be at least 5 below"),
        ("/memory", json!({"softPercent": 90, "hardPercent": 80}), "must be at least 5 below"),
        ("/memory/restartCooldown", json!("soon"), "write a whole number of seconds, minutes or hours"),
        ("/update/window", json!("Sunday night"), "write a time such as Sun 03:00-05:00 UTC"),
        ("/storage/size", json!("big"), "write a whole number of bytes with a unit"),
        ("/storage/storageClassName", json!("A"), "write the name of an object"),
        ("/database/externalSecretRef/name", json!("a/b"), "write the name of an object"),
        ("/database/externalSecretRef/key", json!("a b"), "a key of a Secret"),
        ("/plcURL", json!("plc.directory"), "write a URL"),
        ("/upstream/bootstrapRelays", json!(["https://bsky.network", "wss://x"]), "write a URL"),
        ("/upstream/hosts", json!(["a.b/c"]), "write a host as NAME or NAME:PORT"),
        ("/upstream", json!({"hosts": ["10.0.0.7:2583"]}), "need allowInsecureHosts: true"),
        ("/upstream", json!({"hosts": ["localhost:2583"], "allowInsecureHosts": false}), "need allowInsecureHosts: true"),
        ("/firehose/replayWindow", json!("3 days"), "write a whole number of seconds, minutes or hours"),
        ("/backfill/sources", json!([{"url": "bsky.network"}]), "write the URL of a service"),
        ("/backfill/sources", json!([]), "are asked of backfill.sources; name a source"),
        ("/backfill/collections", json!({}), "need collections to ask for"),
        ("/backfill/collections/names", json!(["app.bsky.feed.post", "app.bsky"]), "write the name of a collection"),
        ("/backfill/collections/lists", json!(["lexicon.garden/llms.txt"]), "write the URL of a list"),
        ("/backfill/crawl/hosts", json!(["https://a.b"]), "write a host as NAME or NAME:PORT"),
        ("/backfill/schedule", json!("weekly"), "write @hourly"),
        ("/backfill/verify/schedule", json!("0 3 * *"), "write @hourly"),
        ("/access/service", json!({"nodePort": 30300}), "nodePort needs type NodePort or LoadBalancer"),
        ("/admin/secretRef/name", json!("../x"), "write the name of an object"),
        ("/admin/secretRef/key", json!("a/b"), "a key of a Secret"),
    ];
    for (path, value, sentence) in table {
        let spec = with(full(), path, value.clone());
        let case = format!("{path} = {value}");
        let cel = cel(&spec, None);
        assert!(cel.iter().any(|message| message.contains(sentence)), "schema: {case}: {cel:?}");

        let mut world = full_world();
        let refer = |secret: &mut SecretValue, reference: &Value| {
            secret.name = reference["name"].as_str().unwrap().into();
            secret.key = reference["key"].as_str().unwrap().into();
        };
        refer(&mut world.admin.secret, &spec["admin"]["secretRef"]);
        refer(world.database_url.as_mut().unwrap(), &spec["database"]["externalSecretRef"]);
        let invalid = validate(&relay(&spec), &world, DEFAULT_IMAGE).unwrap_err();
        assert!(invalid.to_string().contains(sentence), "operator: {case}: {invalid}");
        assert_eq!((invalid.reason(), invalid.is_final()), ("InvalidSpec", true), "operator: {case}");
    }
}

/// A relay of another project.
fn foreign(implementation: &str) -> Value {
    let database = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    let image = json!({"repository": "r.test/relay", "tag": "1"});
    json!({"hostname": "relay.test", "implementation": implementation, "image": image, "database": database})
}

#[test]
fn a_relay_of_another_project_needs_what_it_cannot_do_without() {
    #[rustfmt::skip]
    let good = [
        ("Indigo", "/paused", json!(false)),
        ("Zlay", "/paused", json!(false)),
        ("Indigo", "/database", json!({})),
        ("Zlay", "/memory", json!({"limit": "256Mi"})),
        ("Indigo", "/memory", json!({"limit": "1Gi", "max": "2Gi"})),
        ("Indigo", "/collections", json!({"image": {"repository": "r.test/collectiondir", "tag": "1"}})),
        ("Zlay", "/collections", json!({"enabled": false})),
    ];
    for (implementation, path, value) in good {
        let spec = with(foreign(implementation), path, value.clone());
        assert_eq!(cel(&spec, None), Vec::<String>::new(), "schema: {implementation} {path} = {value}");
        assert_eq!(message(&spec), None, "operator: {implementation} {path} = {value}");
    }
    #[rustfmt::skip]
    let bad = [
        ("Indigo", "/image", json!({}), "name one in spec.image"),
        ("Zlay", "/image", json!({}), "name one in spec.image"),
        ("Zlay", "/database", json!({}), "zlay needs a PostgreSQL database"),
        ("Indigo", "/memory", json!({"limit": "255Mi"}), "needs a memory.limit of at least 256Mi"),
        ("Zlay", "/memory", json!({"limit": "255Mi"}), "needs a memory.limit of at least 256Mi"),
        ("Indigo", "/memory", json!({"resize": "InPlace"}), "InPlace needs implementation: Bundled"),
        ("Zlay", "/memory", json!({"resize": "InPlace", "max": "8Gi"}), "InPlace needs implementation: Bundled"),
        ("Zlay", "/collections", json!({"image": {"repository": "r.test/dir", "tag": "1"}}), "runs beside indigo alone"),
        ("Bundled", "/collections", json!({"image": {"repository": "r.test/dir", "tag": "1"}}), "runs beside indigo alone"),
        ("Indigo", "/collections", json!({"image": {}}), "collections.image needs a repository"),
        ("Indigo", "/collections", json!({"image": {"repository": "r.test/dir"}}), "name a tag or a digest"),
        ("Indigo", "/collections/image", json!({"repository": "r.test/dir:1", "tag": "1"}), "write the image without its tag"),
    ];
    for (implementation, path, value, sentence) in bad {
        let spec = with(foreign(implementation), path, value.clone());
        let cel = cel(&spec, None);
        assert!(cel.iter().any(|message| message.contains(sentence)), "schema: {implementation} {path}: {cel:?}");
        let invalid = validate(&relay(&spec), &full_world(), DEFAULT_IMAGE).unwrap_err();
        assert!(invalid.to_string().contains(sentence), "operator: {implementation} {path} = {value}: {invalid}");
        assert_eq!((invalid.reason(), invalid.is_final()), ("InvalidSpec", true));
    }
}

#[test]
fn the_schema_refuses_another_implementation() {
    let errors = cel(&foreign("Zlay"), Some(&foreign("Indigo")));
    assert!(errors.iter().any(|e| e.contains("implementation cannot be changed")), "{errors:?}");
    let mut bundled = minimal();
    bundled["implementation"] = json!("Bundled");
    assert_eq!(cel(&bundled, Some(&bundled)), Vec::<String>::new());
}

#[test]
fn what_the_schema_bounds_without_cel_is_refused_by_the_operator_too() {
    for (path, value, sentence) in [
        ("/hostname", json!(format!("{}.test", "a.".repeat(130))), "write a DNS name"),
        ("/hostname", json!(format!("a.{}test", "b.".repeat(130))), "more than 253 characters"),
        ("/node/selector", json!({"a b": "c"}), "a label's key"),
        ("/node/selector", json!({"a": "b c"}), "a label's value"),
        ("/upstream/limits", json!({"accountsPerHost": -1}), "must not be negative"),
        ("/access/service", json!({"type": "NodePort", "nodePort": 70000}), "between 1 and 65535"),
        ("/backfill/sources", json!([{"url": "https://a.example"}, {"url": "https://a.example"}]), "twice"),
        ("/backfill/sources", json!([{"url": "https://a.example", "requestsPerSecond": 0}]), "between 0.01 and 1000"),
        ("/backfill/crawl/requestsPerSecond", json!(1001), "between 0.01 and 1000"),
        ("/backfill/verify/requestsPerSecond", json!(-1), "between 0.01 and 1000"),
        ("/backfill/concurrency", json!(0), "between 1 and 64"),
        ("/storage/size", json!("999999999999999Ti"), "too large"),
        ("/memory/softPercent", json!(49), "must be between 50 and 92"),
        ("/memory/hardPercent", json!(98), "must be between 55 and 97"),
        ("/memory/maxRestartsPerHour", json!(11), "must be between 0 and 10"),
        ("/memory/maxRestartsPerHour", json!(-1), "must be between 0 and 10"),
        ("/terminationGracePeriodSeconds", json!(19), "must be between 20 and 3600"),
    ] {
        let got = message(&with(full(), path, value.clone())).unwrap_or_default();
        assert!(got.contains(sentence), "{path} = {value}: {got:?}");
    }
}

#[test]
fn the_schema_refuses_another_volume() {
    let old = full();
    for (path, value) in [("/storage/size", json!("3Gi")), ("/storage/storageClassName", json!(null))] {
        let errors = cel(&with(full(), path, value), Some(&old));
        assert!(errors.iter().any(|e| e.contains("storage cannot be changed")), "{path}: {errors:?}");
    }
    assert_eq!(cel(&full(), Some(&old)), Vec::<String>::new(), "an unchanged volume is no change");
}

#[test]
fn the_operator_refuses_another_volume_than_the_one_there() {
    let spec = with(full(), "/paused", json!(false));
    let mut world = full_world();
    let relay_built = valid(&spec, &world);
    let built = super::super::build::build(&relay_built, relay_built.memory.at(relay_built.memory.limit)).unwrap();
    world.stateful_set = Some(built.stateful_set.into());
    let refused = |spec: &Value| validate(&relay(spec), &world, DEFAULT_IMAGE).err().map(|i| i.reason());
    assert_eq!(refused(&spec), None, "unchanged");
    assert_eq!(refused(&with(spec.clone(), "/storage/size", json!("2048Mi"))), None, "the same size in other words");
    assert_eq!(refused(&with(spec.clone(), "/storage/size", json!("3Gi"))), Some("StorageImmutable"));
    assert_eq!(refused(&with(spec, "/storage/storageClassName", json!("slow"))), Some("StorageImmutable"));
}

#[test]
fn names_that_make_no_service_are_refused() {
    for name in ["2go", "a.b", &"a".repeat(53)] {
        let mut json = relay_json(&minimal());
        json["metadata"]["name"] = json!(name);
        let invalid = validate(&serde_json::from_value(json).unwrap(), &world(), DEFAULT_IMAGE).unwrap_err();
        assert!(invalid.to_string().contains("at most 52 lower-case letters"), "{name}: {invalid}");
    }
}

#[test]
fn secrets_that_are_missing_are_told_and_looked_for_again() {
    let look = |admin: Lookup, database: Lookup| {
        let mut world = full_world();
        world.admin.secret.value = admin;
        world.database_url.as_mut().unwrap().value = database;
        let invalid = validate(&relay(&full()), &world, DEFAULT_IMAGE).unwrap_err();
        assert!(!invalid.is_final(), "{invalid} can heal without a change of the Relay");
        (invalid.reason(), invalid.to_string())
    };
    let text = |text: &str| Lookup::Found(Redacted::new(text.into()));
    let table = [
        (text("t"), Lookup::NoSecret, "SecretNotFound", "relay-db"),
        (text("t"), Lookup::NoKey, "SecretKeyMissing", "relay-db"),
        (text("t"), text(""), "SecretKeyMissing", "relay-db"),
        (Lookup::NoKey, text("u"), "SecretKeyMissing", "my-admin"),
        (text("tökén"), text("u"), "SecretKeyMissing", "my-admin"),
    ];
    for (admin, database, reason, name) in table {
        let case = format!("{admin:?} {database:?} {reason}");
        let got = look(admin, database);
        assert_eq!(got.0, reason, "{case}");
        assert!(got.1.contains(name), "{case}: {}", got.1);
    }
}

#[test]
fn defaults_are_filled_in() {
    let relay = valid(&minimal(), &world());
    assert_eq!(relay.implementation, Implementation::Bundled);
    assert_eq!(relay.memory.restart_cooldown().as_secs(), 600);
    assert_eq!(relay.image.reference, DEFAULT_IMAGE);
    assert_eq!(relay.memory.limit.to_string(), "4Gi");
    assert_eq!(relay.memory.at(relay.memory.limit).request, relay.memory.limit);
    assert_eq!(relay.memory.max, relay.memory.limit);
    assert_eq!(relay.storage_size.to_string(), "500Gi");
    assert_eq!(relay.settings.plc_url, "https://plc.directory");
    let image = valid(&full(), &full_world()).image.reference;
    assert_eq!(image, format!("registry.example.com/relay:v2@sha256:{}", "ab".repeat(32)));
}
