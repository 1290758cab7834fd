//! How a relay becomes reachable, with kinds that the cluster may not know.

use super::*;
use relay_operator::relay::OptionalKind;

const INGRESS: &str = "/apis/networking.k8s.io/v1/namespaces/relays/ingresses/demo";
const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/relays/httproutes/demo";
const CERTIFICATE: &str = "/apis/cert-manager.io/v1/namespaces/relays/certificates/demo-tls";
const DNS_ENDPOINT: &str = "/apis/externaldns.k8s.io/v1alpha1/namespaces/relays/dnsendpoints/demo";

fn with_access(access: Value) -> Value {
    json!({"hostname": "relay.test", "access": access})
}

fn route() -> Value {
    with_access(json!({"httpRoute": {"parentRefs": [{"name": "public"}]}}))
}

/// What the controller of an object says of it.
fn answer(story: &Story, path: &str, status: Value) {
    let mut object = story.api.get(path);
    assert_ne!(object, Value::Null, "{path}");
    object["status"] = status;
    story.api.put(path, object);
}

fn address(story: &Story, ip: &str) {
    answer(story, INGRESS, json!({"loadBalancer": {"ingress": [{"ip": ip}]}}));
}

#[tokio::test]
async fn a_kind_that_the_cluster_does_not_know_is_a_condition_until_it_does() {
    let story = Story::of(route()).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False CRDNotInstalled");
    assert_ne!(story.api.get(STATEFUL_SET), Value::Null, "the relay runs all the same");
    assert_eq!(story.status()["endpoint"], "ws://demo.relays.svc:3000", "how it can be reached meanwhile");
    story.api.writes();

    story.api.install(OptionalKind::HttpRoute);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {ROUTE}"), format!("PATCH {RELAY}/status")]);
    assert_eq!(story.api.get(ROUTE)["metadata"]["ownerReferences"][0]["uid"], "u-1", "it goes with the Relay");
    assert_eq!(story.condition("Exposed"), "False RouteNotAccepted");

    let accepted = json!([{"type": "Accepted", "status": "True"}]);
    answer(&story, ROUTE, json!({"parents": [{"parentRef": {"name": "public"}, "conditions": accepted}]}));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "True Exposed");
    assert_eq!(story.status()["endpoint"], "wss://relay.test");
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
}

#[tokio::test]
async fn what_is_taken_out_of_the_spec_goes() {
    let story = Story::of(route()).await;
    story.api.install(OptionalKind::HttpRoute);
    story.reconcile().await.unwrap();
    story.api.writes();
    story.write(with_access(json!({"ingress": {}})));
    story.reconcile().await.unwrap();
    let writes = story.api.writes();
    assert!(writes.contains(&format!("PATCH {INGRESS}")) && writes.contains(&format!("DELETE {ROUTE}")), "{writes:?}");
    story.write(minimal());
    story.reconcile().await.unwrap();
    assert!(story.api.writes().contains(&format!("DELETE {INGRESS}")));
    assert_eq!(story.condition("Exposed"), "True ClusterOnly");
}

#[tokio::test]
async fn an_object_of_someone_else_is_told_and_left_alone() {
    let story = Story::of(route()).await;
    story.api.install(OptionalKind::HttpRoute);
    let metadata = json!({"name": "demo", "namespace": "relays"});
    let theirs = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata});
    story.api.put(ROUTE, theirs.clone());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False NameTaken");
    assert_eq!(story.api.get(ROUTE), theirs);
    assert_ne!(story.api.get(STATEFUL_SET), Value::Null, "the relay runs all the same");

    story.write(minimal());
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(ROUTE), theirs, "it is not the Relay's to take away");
}

#[tokio::test]
async fn a_name_with_a_certificate_and_a_record_is_ready_when_all_of_it_is() {
    let access =
        json!({"ingress": {"className": "traefik"}, "tls": {"clusterIssuer": "le"}, "dns": {"externalDNS": true}});
    let story = Story::of(with_access(access)).await;
    story.api.install(OptionalKind::Certificate);
    story.api.install(OptionalKind::DnsEndpoint);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False IngressNotReady");
    assert_eq!(story.api.get(DNS_ENDPOINT), Value::Null, "nobody knows yet where it should point to");

    address(&story, "203.0.113.7");
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False CertificateNotReady");
    assert_eq!(story.api.get(DNS_ENDPOINT)["spec"]["endpoints"][0]["targets"], json!(["203.0.113.7"]));

    answer(&story, CERTIFICATE, json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False DNSNotReady");

    answer(&story, DNS_ENDPOINT, json!({"observedGeneration": 1}));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "True Exposed");
    assert_eq!(story.status()["endpoint"], "wss://relay.test");
    story.api.writes();

    // The proxy restarts and says nothing for a while.
    answer(&story, INGRESS, json!({}));
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {RELAY}/status")], "the record stays");
    address(&story, "203.0.113.8");
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(DNS_ENDPOINT)["spec"]["endpoints"][0]["targets"], json!(["203.0.113.8"]));
}

#[tokio::test]
async fn a_paused_relay_is_told_what_it_lacks_and_nothing_is_made() {
    let mut spec = route();
    spec["paused"] = json!(true);
    let story = Story::of(spec).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False CRDNotInstalled");
    story.api.install(OptionalKind::HttpRoute);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False Paused");
    assert_eq!(story.api.get(ROUTE), Value::Null);
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_looked_for() {
    let story = Story::of(with_access(json!({"ingress": {}, "tls": {"secretName": "mine"}}))).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "False SecretNotFound");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": "relays"}});
    story.api.put("/api/v1/namespaces/relays/secrets/mine", secret);
    address(&story, "203.0.113.7");
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Exposed"), "True Exposed");
}
