//! What leads to a relay from outside.

use std::sync::Arc;

use super::super::implementation::Public;
use super::*;
use crate::relay::names;

fn with_access(mut spec: Value, access: Value) -> Value {
    spec["access"] = access;
    spec
}

fn zlay() -> Value {
    let mut spec = foreign("Zlay");
    spec["database"] = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
    spec
}

fn route() -> Value {
    json!({"httpRoute": {"parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "relay"}]}})
}

#[test]
fn objects_of_a_relay_behind_a_gateway() {
    let mut access = route();
    access["tls"] = json!({"issuer": "letsencrypt"});
    access["dns"] = json!({"externalDNS": true, "targets": ["lb.example.com"]});
    let children = objects(&with_access(minimal(), access), &world());
    assert_golden_of("route", &children, &["HTTPRoute", "Certificate", "DNSEndpoint", "ConfigMap"]);
}

#[test]
fn objects_of_a_relay_on_the_nodes_network() {
    let access = json!({"hostNetwork": {"adminAddress": "10.0.0.2"}});
    let children = objects(&with_access(minimal(), access), &world());
    assert_golden_of("host-network", &children, &["StatefulSet", "ConfigMap"]);
    assert_eq!(children.network_policy, None);
}

#[test]
fn what_leads_to_relays_of_other_projects() {
    for (case, spec) in [("indigo", foreign("Indigo")), ("zlay", zlay())] {
        let by_ingress = objects(&with_access(spec.clone(), json!({"ingress": {}, "tls": {}})), &full_world());
        let by_route = objects(&with_access(spec, route()), &full_world());
        assert_golden_of(&format!("{case}-ingress"), &by_ingress, &["Ingress"]);
        assert_golden_of(&format!("{case}-route"), &by_route, &["HTTPRoute"]);
    }
}

#[test]
fn the_record_points_to_what_the_proxy_or_the_balancer_says_and_stays_when_they_are_silent() {
    let status = |points: Value| json!({"loadBalancer": {"ingress": points}});
    let dns = json!({"externalDNS": true});
    let by_ingress = json!({"ingress": {}, "dns": dns});
    let by_balancer = json!({"service": {"type": "LoadBalancer"}, "dns": dns});
    let records = |access: &Value, ingress: Value, service: Value, told: Option<Value>| -> Option<Value> {
        let told = told.map(|endpoints| json!({"metadata": {"name": "demo"}, "spec": {"endpoints": endpoints}}));
        let world = World {
            ingress: Some(Arc::new(serde_json::from_value(json!({"status": status(ingress)})).unwrap())),
            service: Some(Arc::new(serde_json::from_value(json!({"status": status(service)})).unwrap())),
            dns_endpoint: told.map(|told| Arc::new(serde_json::from_value(told).unwrap())),
            ..world()
        };
        let children = objects(&with_access(minimal(), access.clone()), &world);
        let endpoint = children.optional.iter().find(|child| child.kind == OptionalKind::DnsEndpoint)?;
        Some(endpoint.object.data["spec"]["endpoints"].clone())
    };
    let record = |type_: &str, target: &str| json!({"dnsName": "relay.test", "recordType": type_, "recordTTL": 300, "targets": [target]});
    let (v4, v6, name) =
        (json!([{"ip": "203.0.113.7"}]), json!([{"ip": "2001:db8::7"}]), json!([{"hostname": "lb.example.com"}]));
    let told = json!([record("A", "203.0.113.1")]);
    let (two, mut both) = (json!([{"ip": "203.0.113.9"}, {"ip": "203.0.113.8"}]), record("A", ""));
    both["targets"] = json!(["203.0.113.8", "203.0.113.9"]);
    #[rustfmt::skip]
    let table = [
        ("the Ingress", &by_ingress, &v4, &v6, None, Some(json!([record("A", "203.0.113.7")]))),
        ("the Service", &by_balancer, &v4, &v6, None, Some(json!([record("AAAA", "2001:db8::7")]))),
        ("a name", &by_balancer, &v4, &name, None, Some(json!([record("CNAME", "lb.example.com")]))),
        ("several, in whatever order", &by_ingress, &two, &v6, None, Some(json!([both]))),
        ("neither yet", &by_ingress, &json!([]), &v6, None, None),
        ("silence", &by_ingress, &json!([]), &v6, Some(&told), Some(told.clone())),
        ("another address", &by_ingress, &v4, &v6, Some(&told), Some(json!([record("A", "203.0.113.7")]))),
        ("nonsense", &by_ingress, &json!([{"hostname": "a b"}]), &v6, None, None),
    ];
    for (case, access, ingress, service, told, want) in table {
        assert_eq!(records(access, ingress.clone(), service.clone(), told.cloned()), want, "{case}");
    }
}

#[test]
fn one_asks_for_the_record() {
    let annotation = |access: Value| {
        let service = objects(&with_access(minimal(), access), &world()).firehose_service;
        service.metadata.annotations.is_some()
    };
    assert!(annotation(json!({"service": {"type": "LoadBalancer"}})));
    let dns = json!({"externalDNS": true, "targets": ["203.0.113.7"]});
    assert!(!annotation(json!({"service": {"type": "LoadBalancer"}, "dns": dns})));
}

#[test]
fn the_relay_believes_the_proxy_only_where_nobody_comes_past_it() {
    let believes = |access: Value| {
        let config = objects(&with_access(minimal(), access), &world()).config_map.unwrap().data.unwrap();
        config["relay.toml"].contains("trust-forwarded-for = true")
    };
    assert!(believes(json!({"ingress": {}})));
    assert!(believes(route()));
    assert!(!believes(json!({})));
    assert!(!believes(json!({"ingress": {}, "service": {"type": "NodePort"}})));
    assert!(!believes(json!({"ingress": {}, "hostNetwork": {"adminAddress": "10.0.0.2"}})));
}

/// A path, whether it is meant alone, and the Service and port that it leads to.
type Rule = (String, bool, (String, i32));

/// What the Ingress and the HTTPRoute of `children` say.
fn rules(children: &Children) -> Vec<Rule> {
    let mut rules = Vec::new();
    if let Some(ingress) = &children.ingress {
        let spec = ingress.spec.clone().unwrap();
        assert_eq!(spec.default_backend, None);
        for path in spec.rules.unwrap().remove(0).http.unwrap().paths {
            let service = path.backend.service.unwrap();
            let target = (service.name, service.port.unwrap().number.unwrap());
            rules.push((path.path.unwrap(), path.path_type == "Exact", target));
        }
    }
    for child in children.optional.iter().filter(|child| child.kind == OptionalKind::HttpRoute) {
        for rule in child.object.data["spec"]["rules"].as_array().unwrap() {
            let backend = &rule["backendRefs"][0];
            let port = i32::try_from(backend["port"].as_i64().unwrap()).unwrap();
            let target = (backend["name"].as_str().unwrap().to_owned(), port);
            for path in rule["matches"].as_array().unwrap().iter().map(|one| &one["path"]) {
                rules.push((path["value"].as_str().unwrap().to_owned(), path["type"] == "Exact", target.clone()));
            }
        }
    }
    assert_ne!(rules, [], "something leads there");
    rules
}

/// Where a request ends, as the specifications of both kinds have it: an exact path first, then one that it is below.
fn target(rules: &[Rule], asked: &str) -> Option<(String, i32)> {
    let exact = rules.iter().find(|(path, is_exact, _)| *is_exact && path == asked);
    let is_below = |path: &str| asked.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let below = || rules.iter().find(|(path, is_exact, _)| !is_exact && is_below(path));
    exact.or_else(below).map(|(_, _, target)| target.clone())
}

#[test]
fn consumers_reach_what_is_public_and_nobody_the_admin_api() {
    let firehose = |port: i32| Some(("demo".to_owned(), port));
    let http = |port: i32| Some(("demo-admin".to_owned(), port));
    let subscribe = "/xrpc/com.atproto.sync.subscribeRepos";
    let crawl = "/xrpc/com.atproto.sync.requestCrawl";
    #[rustfmt::skip]
    let table = [
        (minimal(), vec![
            (subscribe, firehose(3000)), (crawl, firehose(3000)), ("/", firehose(3000)), ("/_health", firehose(3000)),
            ("/xrpc/_health", firehose(3000)), ("/v1/listCollections", firehose(3000)), ("/v1/getDidsForCollection", firehose(3000)),
        ]),
        (foreign("Indigo"), vec![
            (subscribe, firehose(2470)), (crawl, firehose(2470)), ("/", firehose(2470)), ("/_health", firehose(2470)),
        ]),
        (zlay(), vec![
            (subscribe, firehose(3000)), (crawl, http(3001)), ("/_health", http(3001)), ("/", None),
        ]),
    ];
    // What the three programs have beside XRPC: admin APIs and their pages, metrics, profiles of Go.
    let closed = [
        "/admin",
        "/admin/",
        "/admin/status",
        "/admin/pds/list",
        "/admin/page/app.js",
        "/dash",
        "/dash/index.html",
        "/assets/app.js",
        "/metrics",
        "/livez",
        "/readyz",
        "/debug/pprof/heap",
        "/xrpcadmin",
        "//admin",
        "/v1",
        "/v1/admin",
    ];
    for (spec, open) in table {
        for access in [json!({"ingress": {}}), route()] {
            let case = format!("{} {access}", spec["implementation"]);
            let rules = rules(&objects(&with_access(spec.clone(), access), &full_world()));
            for (path, want) in &open {
                assert_eq!(&target(&rules, path), want, "{case}: {path}");
            }
            for path in closed {
                assert_eq!(target(&rules, path), None, "{case}: {path}");
            }
        }
    }
}

#[test]
fn every_public_path_of_a_profile_is_at_a_port_that_it_has() {
    let mut with_directory = foreign("Indigo");
    with_directory["collections"] = json!({"image": {"repository": "r.test/collectiondir", "tag": "1"}});
    for spec in [minimal(), foreign("Indigo"), with_directory, zlay()] {
        let relay = valid(&spec, &full_world());
        let profile = Profile::of(&relay, relay.memory.at(relay.memory.limit)).unwrap();
        for Public { path, port } in &profile.public {
            assert!(profile.public_ports().contains(port) || profile.internal.contains(port), "{path:?}");
        }
    }
}

#[test]
fn of_the_bundled_relay_nothing_but_the_admin_service_names_the_admin_port() {
    for access in [
        json!({"service": {"type": "NodePort"}, "ingress": {}, "tls": {"clusterIssuer": "a"}}),
        json!({"service": {"type": "LoadBalancer"}, "httpRoute": route()["httpRoute"]}),
        json!({"hostNetwork": {"adminAddress": "10.0.0.2"}, "ingress": {}}),
    ] {
        let mut children = objects(&with_access(minimal(), access.clone()), &world());
        assert_eq!(children.admin_service.spec.as_ref().unwrap().type_.as_deref(), Some("ClusterIP"));
        let admin = children.admin_service.metadata.name.clone();
        assert_eq!(admin.as_deref(), Some(names::admin("demo").as_str()));
        // The pod has the port, and the policy says who may use it.
        let closed = ["StatefulSet-demo", "ConfigMap-demo-config", "NetworkPolicy-demo", "Service-demo-admin"];
        children.admin_secret = None;
        for (name, yaml) in documents(&children).iter().filter(|(name, _)| !closed.contains(&name.as_str())) {
            for word in ["3001", "demo-admin"] {
                assert!(!yaml.contains(word), "{access}: {name} names {word}:\n{yaml}");
            }
        }
    }
}
