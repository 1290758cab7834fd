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
pub(super) fn cel(spec: &Value, old: Option<&Value>) -> Vec<String> {
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
        ("no host is trusted", with(minimal(), "/upstream/trustedDomains", json!([]))),
        ("the export of the directory", with(minimal(), "/plcExport", json!({"enabled": true}))),
        ("a log of the most that fits", with(minimal(), "/firehose/maxSize", json!("400Gi"))),
        (
            "caches just below the mark",
            with(minimal(), "/memory", json!({"limit": "1000M", "identityCache": "799999999"})),
        ),
        ("a pod that bears all", with(minimal(), "/pod/tolerations", json!([{"operator": "Exists"}]))),
        (
            "labels of others",
            with(minimal(), "/pod/labels", json!({"app.kubernetes.io/part-of": "a", "example.com/x": ""})),
        ),
        ("equal shares of a processor", with(minimal(), "/pod/cpu", json!({"request": "1500m", "limit": "1500m"}))),
        ("a database that is made", with(full(), "/database", json!({"cloudNativePG": {"instances": 3}}))),
        ("zlay with a database that is made", with(foreign("Zlay"), "/database", json!({"cloudNativePG": {}}))),
        ("snapshots on request alone", with(minimal(), "/backup", json!({}))),
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
        ("/storage/fromSnapshot/name", json!("a/b"), "write the name of an object"),
        ("/backup/every", json!("daily"), "write a whole number of seconds, minutes or hours"),
        ("/backup/snapshotClassName", json!("A"), "write the name of an object"),
        ("/database/cloudNativePG", json!({}), "name either externalSecretRef or cloudNativePG"),
        ("/database/externalSecretRef/name", json!("a/b"), "write the name of an object"),
        ("/database/externalSecretRef/key", json!("a b"), "a key of a Secret"),
        ("/plcURL", json!("plc.directory"), "write a URL"),
        ("/upstream/bootstrapRelays", json!(["https://bsky.network", "wss://x"]), "write a URL"),
        ("/upstream/hosts", json!(["a.b/c"]), "write a host as NAME or NAME:PORT"),
        ("/upstream", json!({"hosts": ["10.0.0.7:2583"]}), "need allowInsecureHosts: true"),
        ("/upstream", json!({"hosts": ["localhost:2583"], "allowInsecureHosts": false}), "need allowInsecureHosts: true"),
        ("/upstream/discoveryInterval", json!("hourly"), "write a whole number of seconds, minutes or hours"),
        ("/upstream/trustedDomains", json!(["*.a.example", "*a.example"]), "write a host, or *. and the domain"),
        ("/upstream/bannedDomains", json!(["spam.example", "*.spam.example"]), "write a domain in lower case"),
        ("/upstream/siblingRelays", json!(["relay2.example.com"]), "write the URL of a service without a path"),
        ("/upstream/siblingRelays", json!([]), "siblingTokenSecretRef needs upstream.siblingRelays"),
        ("/upstream/siblingTokenSecretRef/name", json!("a/b"), "write the name of an object"),
        ("/plcExport/url", json!("plc.directory"), "write a URL"),
        ("/plcExport/enabled", json!(false), "plcExport.url needs plcExport.enabled: true"),
        ("/validation/hosts", json!([{"match": "a b", "mode": "Lenient"}]), "write a host, or *. and the domain"),
        ("/update/gate/within", json!("20 minutes"), "write a whole number of seconds, minutes or hours"),
        ("/firehose/replayWindow", json!("3 days"), "write a whole number of seconds, minutes or hours"),
        ("/firehose/maxSize", json!("all"), "write a whole number of bytes with a unit"),
        ("/firehose/maxSize", json!("1639Mi"), "must not be above 80 % of storage.size"),
        ("/memory/identityCache", json!("64 MB"), "write a whole number of bytes with a unit"),
        ("/memory/identityCache", json!("641Mi"), "together must be below memory.softPercent of memory.limit"),
        ("/memory/blockCache", json!("768Mi"), "together must be below memory.softPercent of memory.limit"),
        ("/collections/enabled", json!(false), "the bundled relay always has the directory"),
        ("/pod/labels", json!({"app.kubernetes.io/instance": "other"}), "must leave to the operator what is its own"),
        ("/pod/labels", json!({"relay.waow.tech/a": "b"}), "must leave to the operator what is its own"),
        ("/pod/annotations", json!({"relay.waow.tech/config": "b"}), "must leave to the operator what is its own"),
        ("/pod/cpu/request", json!("0.5"), "write cores, or thousandths of one"),
        ("/pod/cpu", json!({"request": "3", "limit": "2500m"}), "pod.cpu.request must not be above"),
        ("/pod/priorityClassName", json!("High"), "write the name of an object"),
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
        match &spec["upstream"]["siblingTokenSecretRef"] {
            Value::Null => world.sibling_token = None,
            reference => refer(world.sibling_token.as_mut().unwrap(), reference),
        }
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
        ("/upstream/limits", json!({"newHostsPerDay": -1}), "must not be negative"),
        ("/upstream/limits", json!({"maxHosts": 0}), "between 1 and 100000"),
        (
            "/validation/hosts",
            json!([{"match": "a.b", "mode": "Lenient"}, {"match": "a.b", "mode": "Observe"}]),
            "names a.b twice",
        ),
        ("/firehose/maxConsumers", json!(0), "between 1 and 100000"),
        ("/firehose/maxConsumersPerAddress", json!(100_001), "between 1 and 100000"),
        ("/firehose/initialSeq", json!(0), "between 1 and 4503599627370496"),
        ("/collections/minAccounts", json!(-1), "between 0 and 1000000"),
        ("/pod/labels", json!({"a b": "c"}), "a label's key"),
        ("/pod/labels", json!({"a": "b c"}), "a label's value"),
        ("/pod/annotations", json!({"a": "b".repeat(4097)}), "more than 4096 bytes"),
        ("/pod/env", json!({"A-B": "c"}), "a variable's name"),
        ("/pod/env", json!({"A": "b".repeat(4097)}), "more than 4096 bytes"),
        ("/pod/env", json!({"RELAY_LISTEN": "0.0.0.0:1"}), "RELAY_LISTEN is the operator's to set"),
        ("/pod/tolerations", json!([{"operator": "Gt", "key": "a"}]), "operator is Equal or Exists"),
        ("/pod/tolerations", json!([{"key": "a", "effect": "Never"}]), "effect is NoSchedule"),
        ("/pod/tolerations", json!([{"value": "b"}]), "without a key, operator must be Exists"),
        ("/pod/tolerations", json!([{"key": "a", "operator": "Exists", "value": "b"}]), "there is no value"),
        ("/pod/tolerations", json!([{"key": "a b"}]), "a label's key"),
        ("/pod/tolerations", json!([{"key": "a", "tolerationSeconds": 5}]), "needs effect: NoExecute"),
        ("/access/service", json!({"type": "NodePort", "nodePort": 70000}), "between 1 and 65535"),
        ("/backfill/sources", json!([{"url": "https://a.example"}, {"url": "https://a.example"}]), "twice"),
        ("/backfill/sources", json!([{"url": "https://a.example", "requestsPerSecond": 0}]), "between 0.01 and 1000"),
        ("/backfill/crawl/requestsPerSecond", json!(1001), "between 0.01 and 1000"),
        ("/backfill/verify/requestsPerSecond", json!(-1), "between 0.01 and 1000"),
        ("/backfill/concurrency", json!(0), "between 1 and 64"),
        ("/storage/size", json!("999999999999999Ti"), "too large"),
        ("/backup/every", json!("59m"), "at least 1h"),
        ("/backup/keep", json!(0), "between 1 and 100"),
        ("/database", json!({"cloudNativePG": {"instances": 0}}), "between 1 and 9"),
        ("/database", json!({"cloudNativePG": {"storageSize": "big"}}), "write a whole number of bytes"),
        ("/database", json!({"cloudNativePG": {"storageClassName": "A"}}), "write the name of an object"),
        ("/memory/softPercent", json!(49), "must be between 50 and 92"),
        ("/memory/hardPercent", json!(98), "must be between 55 and 97"),
        ("/memory/maxRestartsPerHour", json!(11), "must be between 0 and 10"),
        ("/memory/maxRestartsPerHour", json!(-1), "must be between 0 and 10"),
        ("/update/gate/minDeliveryPercent", json!(0), "must be between 1 and 100"),
        ("/update/gate/minDeliveryPercent", json!(101), "must be between 1 and 100"),
        ("/terminationGracePeriodSeconds", json!(19), "must be between 20 and 3600"),
    ] {
        let got = message(&with(full(), path, value.clone())).unwrap_or_default();
        assert!(got.contains(sentence), "{path} = {value}: {got:?}");
    }
}

#[test]
fn the_schema_refuses_another_place_of_the_volume() {
    let old = full();
    for (path, value, sentence) in [
        ("/storage/storageClassName", json!(null), "storageClassName cannot be changed"),
        ("/storage/storageClassName", json!("slow"), "storageClassName cannot be changed"),
        ("/storage/fromSnapshot", json!(null), "fromSnapshot cannot be changed"),
        ("/storage/fromSnapshot/name", json!("other"), "fromSnapshot cannot be changed"),
    ] {
        let errors = cel(&with(full(), path, value), Some(&old));
        assert!(errors.iter().any(|e| e.contains(sentence)), "{path}: {errors:?}");
    }
    for (path, value) in [
        ("/storage/size", json!("3Gi")),
        // What the cluster refuses to grow is to be put back.
        ("/storage/size", json!("1500Mi")),
        ("/storage/deletionPolicy", json!("Retain")),
    ] {
        assert_eq!(cel(&with(full(), path, value), Some(&old)), Vec::<String>::new(), "{path}");
    }
}

/// The world in which the objects of `spec` are there.
fn world_of(spec: &Value) -> World {
    let mut world = full_world();
    let relay = valid(spec, &world);
    let built = super::super::build::build(&relay, relay.memory.at(relay.memory.limit)).unwrap();
    world.stateful_set = Some(built.stateful_set.into());
    world
}

/// A claim that asks for `requested` and has `capacity`.
fn claim(requested: &str, capacity: &str) -> std::sync::Arc<k8s_openapi::api::core::v1::PersistentVolumeClaim> {
    let claim = json!({
        "metadata": {"name": "data-demo-0", "uid": "c-1", "creationTimestamp": "2026-11-28T10:00:00Z"},
        "spec": {"resources": {"requests": {"storage": requested}}},
        "status": {"phase": "Bound", "capacity": {"storage": capacity}},
    });
    std::sync::Arc::new(serde_json::from_value(claim).unwrap())
}

#[test]
fn the_operator_refuses_another_volume_than_the_one_there() {
    let spec = with(full(), "/paused", json!(false));
    let world = world_of(&spec);
    let refused = |spec: &Value| validate(&relay(spec), &world, DEFAULT_IMAGE).err().map(|i| i.reason());
    assert_eq!(refused(&spec), None, "unchanged");
    assert_eq!(refused(&with(spec.clone(), "/storage/size", json!("2048Mi"))), None, "the same size in other words");
    assert_eq!(refused(&with(spec.clone(), "/storage/size", json!("3Gi"))), None, "it may grow");
    assert_eq!(refused(&with(spec.clone(), "/storage/size", json!("1Gi"))), Some("StorageShrinks"));
    assert_eq!(refused(&with(spec.clone(), "/storage/storageClassName", json!("slow"))), Some("StorageImmutable"));
    assert_eq!(refused(&with(spec, "/storage/fromSnapshot", json!(null))), Some("StorageImmutable"));
}

#[test]
fn the_relay_counts_on_what_the_volume_has() {
    let spec = |size: &str| with(minimal(), "/storage/size", json!(size));
    let with_claim = |mut world: World, requested: &str, capacity: &str| {
        world.claim = Some(claim(requested, capacity));
        world
    };
    #[rustfmt::skip]
    let table = [
        ("new", world(), "2Gi", "2Gi"),
        ("unchanged", with_claim(world_of(&spec("2Gi")), "2Gi", "2Gi"), "2Gi", "2Gi"),
        ("to grow", with_claim(world_of(&spec("2Gi")), "2Gi", "2Gi"), "3Gi", "2Gi"),
        ("growing", with_claim(world_of(&spec("2Gi")), "3Gi", "2Gi"), "3Gi", "2Gi"),
        ("grown", with_claim(world_of(&spec("2Gi")), "3Gi", "3Gi"), "3Gi", "3Gi"),
        ("the storage rounds up", with_claim(world_of(&spec("2Gi")), "2Gi", "10Gi"), "2Gi", "2Gi"),
        ("what was always told", with_claim(world_of(&spec("2Gi")), "2Gi", "1Gi"), "2Gi", "2Gi"),
        ("no claim to grow", world_of(&spec("2Gi")), "3Gi", "3Gi"),
        ("a smaller one of before", with_claim(world(), "2Gi", "2Gi"), "3Gi", "2Gi"),
        ("a larger one of before", with_claim(world(), "5Gi", "5Gi"), "3Gi", "3Gi"),
    ];
    for (case, world, size, usable) in table {
        assert_eq!(valid(&spec(size), &world).storage.usable.to_string(), usable, "{case}");
    }
}

#[test]
fn a_snapshot_does_not_fill_a_volume_that_is_there() {
    let mut world = world();
    world.claim = Some(claim("2Gi", "2Gi"));
    let refused = |created: &str, world: &World| {
        let mut json = relay_json(&with(minimal(), "/storage", json!({"fromSnapshot": {"name": "s"}})));
        json["metadata"]["creationTimestamp"] = json!(created);
        validate(&serde_json::from_value(json).unwrap(), world, DEFAULT_IMAGE).err().map(|invalid| invalid.reason())
    };
    assert_eq!(refused("2026-11-28T11:00:00Z", &world), Some("VolumeExists"), "of an earlier Relay");
    assert_eq!(refused("2026-11-28T09:00:00Z", &world), None, "the one that the snapshot has filled");
    world.claim = None;
    assert_eq!(refused("2026-11-28T11:00:00Z", &world), None);
}

#[test]
fn a_change_of_database_waits_until_somebody_allows_it() {
    let embedded = minimal();
    let external = with(minimal(), "/database", json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}}));
    let other = with(minimal(), "/database", json!({"externalSecretRef": {"name": "other-db", "key": "uri"}}));
    let cluster = with(minimal(), "/database", json!({"cloudNativePG": {}}));
    let indigo = foreign("Indigo");
    let indigo_embedded = with(foreign("Indigo"), "/database", json!({}));
    let held = |had: &Value, wants: &Value, allowed: Option<&str>| {
        let refer = |mut world: World, spec: &Value| {
            world.database_url.as_mut().unwrap().name = match &spec["database"] {
                database if database["cloudNativePG"].is_object() => "demo-db-app".into(),
                database => database["externalSecretRef"]["name"].as_str().unwrap_or_default().into(),
            };
            world
        };
        let before = valid(had, &refer(full_world(), had));
        let built = super::super::build::build(&before, before.memory.at(before.memory.limit)).unwrap();
        let mut world = refer(full_world(), wants);
        world.stateful_set = Some(built.stateful_set.into());
        let mut json = relay_json(wants);
        if let Some(allowed) = allowed {
            json["metadata"]["annotations"] = json!({CHANGE_DATABASE: allowed});
        }
        let relay = validate(&serde_json::from_value(json).unwrap(), &world, DEFAULT_IMAGE).unwrap();
        assert_eq!(relay.database.held_at.is_some(), relay.database.is_awaited());
        relay.database.held_at.map(|kind| kind.name())
    };
    #[rustfmt::skip]
    let table = [
        ("stays embedded", &embedded, &embedded, None, None),
        ("stays external", &external, &external, None, None),
        ("another Secret", &external, &other, None, None),
        ("stays a cluster", &cluster, &cluster, None, None),
        ("embedded to external", &embedded, &external, None, Some("Embedded")),
        ("allowed", &embedded, &external, Some("Embedded-to-External"), None),
        ("another change is allowed", &embedded, &external, Some("External-to-Embedded"), Some("Embedded")),
        ("an old permission", &external, &embedded, Some("Embedded-to-External"), Some("External")),
        ("and back", &external, &embedded, Some("External-to-Embedded"), None),
        ("to a cluster", &embedded, &cluster, None, Some("Embedded")),
        ("from a cluster", &cluster, &external, None, Some("CloudNativePG")),
        ("indigo stays", &indigo, &indigo, None, None),
        ("indigo to SQLite", &indigo, &indigo_embedded, None, Some("External")),
    ];
    for (case, had, wants, allowed, want) in table {
        assert_eq!(held(had, wants, allowed), want, "{case}");
    }
}

#[test]
fn the_url_of_a_database_is_one_of_a_postgresql() {
    let refused = |url: &str| {
        let mut world = full_world();
        world.database_url.as_mut().unwrap().value = Lookup::Found(Redacted::new(url.into()));
        validate(&relay(&full()), &world, DEFAULT_IMAGE).err()
    };
    for good in
        ["postgres://u:p@db/relay", "postgresql://db:5432/relay?sslmode=require", "postgres://u:p%40@[::1]:5432/x"]
    {
        assert_eq!(refused(good), None, "{good}");
    }
    for bad in [
        "db",
        "mysql://u:s3cret@db/relay",
        "sqlite:///data/relay.sqlite",
        "postgres://",
        "postgres:///relay",
        "postgres://u:s3cret@/relay",
        "host=db password=s3cret",
        "postgres://db/a b",
    ] {
        let invalid = refused(bad).unwrap();
        assert_eq!((invalid.reason(), invalid.is_final()), ("SecretValueInvalid", false), "{bad}");
        let message = invalid.to_string();
        assert!(message.contains("relay-db") && message.contains("uri"), "{bad}: {message}");
        assert!(!message.contains("s3cret") && !message.contains("mysql"), "{bad}: a value is in {message}");
    }
}

#[test]
fn a_database_that_is_being_made_is_waited_for() {
    let spec = with(minimal(), "/database", json!({"cloudNativePG": {}}));
    let look = |value: Lookup| {
        let mut world = full_world();
        world.database_url = Some(SecretValue { name: "demo-db-app".into(), key: "uri".into(), value });
        validate(&relay(&spec), &world, DEFAULT_IMAGE).map(|relay| relay.database.is_awaited())
    };
    assert_eq!(look(Lookup::NoSecret), Ok(true));
    assert_eq!(
        look(Lookup::Found(Redacted::new("postgresql://relay:p@demo-db-rw.relays:5432/relay".into()))),
        Ok(false)
    );
    assert_eq!(look(Lookup::NoKey).unwrap_err().reason(), "SecretKeyMissing");
}

#[test]
fn another_program_than_the_one_there_is_refused_under_an_older_schema_too() {
    let kinds = ["Bundled", "Indigo", "Zlay"];
    for live in kinds {
        for wanted in kinds {
            let world = world_of(&foreign(live));
            let invalid = validate(&relay(&foreign(wanted)), &world, DEFAULT_IMAGE).err();
            match invalid {
                None => assert_eq!(live, wanted),
                Some(invalid) => {
                    assert_ne!(live, wanted);
                    assert_eq!(invalid.reason(), "ImplementationImmutable");
                    assert!(invalid.to_string().contains(&format!("put {live} back")), "{invalid}");
                }
            }
        }
    }
}

#[test]
fn objects_of_an_older_or_newer_schema_are_read() {
    let older = json!({"hostname": "relay.test", "storage": {"size": "2Gi"}, "database": {}});
    assert_eq!(
        valid(&older, &world()).storage.deletion,
        crate::api::DeletionPolicy::Retain,
        "what is missing is a default"
    );
    let newer = json!({"hostname": "relay.test", "storage": {"size": "2Gi", "tier": "hot"}, "moon": {"phase": 7}});
    assert_eq!(valid(&newer, &world()), valid(&older, &world()), "what is unknown is nothing");
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
fn a_database_of_its_own_leaves_less_for_the_name() {
    let spec = with(minimal(), "/database", json!({"cloudNativePG": {}}));
    for (length, is_good) in [(47, true), (48, false)] {
        let mut json = relay_json(&spec);
        json["metadata"]["name"] = json!("a".repeat(length));
        let crd = serde_json::to_value(Relay::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(Validator::new().validate(schema, &json, None).is_ok(), is_good, "schema: {length}");
        let refused = validate(&serde_json::from_value(json).unwrap(), &world(), DEFAULT_IMAGE).err();
        assert_eq!(refused.is_none(), is_good, "operator: {length}: {refused:?}");
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
        (Lookup::NoKey, text("postgres://u"), "SecretKeyMissing", "my-admin"),
        (text("tökén"), text("postgres://u"), "SecretKeyMissing", "my-admin"),
    ];
    for (admin, database, reason, name) in table {
        let case = format!("{admin:?} {database:?} {reason}");
        let got = look(admin, database);
        assert_eq!(got.0, reason, "{case}");
        assert!(got.1.contains(name), "{case}: {}", got.1);
    }
}

#[test]
fn the_token_of_siblings_is_one_token() {
    let look = |value| {
        let mut world = full_world();
        world.sibling_token.as_mut().unwrap().value = value;
        validate(&relay(&full()), &world, DEFAULT_IMAGE).err().map(|invalid| {
            assert!(!invalid.is_final(), "{invalid} can heal without a change of the Relay");
            assert!(invalid.to_string().contains("sibling"), "{invalid}");
            invalid.reason()
        })
    };
    let text = |text: &str| Lookup::Found(Redacted::new(text.into()));
    assert_eq!(look(text("t0ken")), None);
    assert_eq!(look(text("t0ken ada")), Some("SecretKeyMissing"), "the name would be sent with it");
    assert_eq!(look(text("t0ken\nother")), Some("SecretKeyMissing"));
    assert_eq!(look(Lookup::NoSecret), Some("SecretNotFound"));
}

#[test]
fn variables_that_the_operator_sets_are_refused_of_each_program() {
    for (implementation, name) in [("Indigo", "RELAY_PLC_HOST"), ("Indigo", "GOMEMLIMIT"), ("Zlay", "RELAY_UPSTREAM")] {
        let spec = with(foreign(implementation), "/pod/env", json!({ name: "x" }));
        let said = message(&spec).unwrap_or_default();
        assert!(said.contains(&format!("{name} is the operator's to set")), "{said}");
    }
    for (implementation, name) in [("Indigo", "RELAY_HOST_CONCURRENCY"), ("Zlay", "FRAME_WORKERS")] {
        assert_eq!(message(&with(foreign(implementation), "/pod/env", json!({ name: "4" }))), None, "{name}");
    }
    let off = with(foreign("Zlay"), "/collections/enabled", json!(false));
    assert_eq!((cel(&off, None), message(&off)), (Vec::new(), None), "SpecSupported tells what zlay has all the same");
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
    assert_eq!(relay.storage.size.to_string(), "500Gi");
    assert_eq!(relay.settings.plc_url, "https://plc.directory");
    let image = valid(&full(), &full_world()).image.reference;
    assert_eq!(image, format!("registry.example.com/relay:v2@sha256:{}", "ab".repeat(32)));
}
