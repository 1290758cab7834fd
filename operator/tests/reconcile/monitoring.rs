//! Prometheus and Grafana, in clusters that know the Prometheus operator's kinds and that do not.

use relay_operator::relay::OptionalKind::{PrometheusRule, ServiceMonitor};
use serde_json::{Value, json};

use super::{DASHBOARD, RECORDED, Story, minimal};

const SERVICE_MONITOR: &str = "/apis/monitoring.coreos.com/v1/namespaces/relays/servicemonitors/demo";
const PROMETHEUS_RULE: &str = "/apis/monitoring.coreos.com/v1/namespaces/relays/prometheusrules/demo";

fn with(monitoring: Value) -> Value {
    let mut spec = minimal();
    spec["monitoring"] = monitoring;
    spec
}

/// `VERB PATH` of what was written but for the status.
fn writes(story: &Story) -> Vec<String> {
    story.api.writes().into_iter().filter(|write| !write.ends_with("/status")).collect()
}

#[tokio::test]
async fn a_cluster_without_prometheus_has_a_remark_and_a_relay_that_is_ready() {
    let mut story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    story.start_pod(RECORDED.into()).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Monitored"), "False CRDNotInstalled");
    assert_eq!(story.condition("Ready"), "True Delivering", "it is no failure");
    assert_eq!(story.api.get(SERVICE_MONITOR), Value::Null);
    assert!(!story.api.get(DASHBOARD).is_null(), "a dashboard needs no kind of others");
    assert!(!story.api.events().iter().any(|event| event.contains("CRD")), "{:?}", story.api.events());
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "said once");
}

#[tokio::test]
async fn what_prometheus_finds_is_made_when_the_cluster_comes_to_know_it() {
    let story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    writes(&story);
    story.api.install(ServiceMonitor);
    story.reconcile().await.unwrap();
    assert_eq!(writes(&story), [format!("PATCH {SERVICE_MONITOR}")]);
    assert_eq!(story.condition("Monitored"), "False CRDNotInstalled", "alerts are still missing");
    story.api.install(PrometheusRule);
    story.reconcile().await.unwrap();
    assert_eq!(writes(&story), [format!("PATCH {PROMETHEUS_RULE}")]);
    assert_eq!(story.condition("Monitored"), "True Monitored");
    for path in [SERVICE_MONITOR, PROMETHEUS_RULE] {
        assert_eq!(story.api.get(path)["metadata"]["ownerReferences"][0]["uid"], "u-1", "{path} goes with the Relay");
    }
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
}

#[tokio::test]
async fn what_is_switched_off_is_taken_away() {
    let story = Story::of(minimal()).await;
    story.api.install(ServiceMonitor);
    story.api.install(PrometheusRule);
    story.reconcile().await.unwrap();
    writes(&story);
    let off = json!({"enabled": false});
    story.write(with(json!({"serviceMonitor": off, "alerts": off, "dashboards": off})));
    story.reconcile().await.unwrap();
    let mut deleted = writes(&story);
    deleted.sort();
    let gone = [DASHBOARD, PROMETHEUS_RULE, SERVICE_MONITOR].map(|path| format!("DELETE {path}"));
    assert_eq!(deleted, gone);
    assert_eq!(story.condition("Monitored"), "True Disabled");
}

#[tokio::test]
async fn a_rule_of_someone_else_stops_nothing_but_itself() {
    let mut story = Story::of(minimal()).await;
    story.api.install(ServiceMonitor);
    story.api.install(PrometheusRule);
    let theirs = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": "demo", "namespace": "relays"}, "spec": {"groups": []},
    });
    story.api.put(PROMETHEUS_RULE, theirs.clone());
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(PROMETHEUS_RULE), theirs);
    assert!(!story.api.get(SERVICE_MONITOR).is_null(), "the others go on");
    assert_eq!(story.condition("Monitored"), "False Refused");
    story.start_pod(RECORDED.into()).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Ready"), "True Delivering");
}

#[tokio::test]
async fn labels_and_interval_of_the_spec_are_those_of_the_objects() {
    let monitoring = json!({
        "serviceMonitor": {"labels": {"release": "prometheus"}, "interval": "15s"},
        "alerts": {"labels": {"team": "relays"}},
        "dashboards": {"labels": {"grafana": "yes"}, "folder": "AT Protocol"},
    });
    let story = Story::of(with(monitoring)).await;
    story.api.install(ServiceMonitor);
    story.api.install(PrometheusRule);
    story.reconcile().await.unwrap();
    let monitor = story.api.get(SERVICE_MONITOR);
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"][0]["interval"], "15s");
    assert_eq!(story.api.get(PROMETHEUS_RULE)["metadata"]["labels"]["team"], "relays");
    let dashboard = &story.api.get(DASHBOARD)["metadata"];
    assert_eq!(dashboard["labels"]["grafana"], "yes");
    assert_eq!(dashboard["labels"].get("grafana_dashboard"), None, "labels of the spec stand for those by default");
    assert_eq!(dashboard["annotations"]["grafana_folder"], "AT Protocol");
}
