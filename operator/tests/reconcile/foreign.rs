//! Stories of relays of other projects: what is seen of them, and evictions for their memory.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use relay_operator::relay::Histories;
use serde_json::{Value, json};

use super::memory::GI;
use super::{CONFIGS, POD, RELAY, SERVICE_ACCOUNT, STATEFUL_SET, Story};

const POD_METRICS: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/relays/pods/demo-0";
const EVICTION: &str = "POST /api/v1/namespaces/relays/pods/demo-0/eviction";

/// How long memory is not looked at that is far from the limit.
const CALM_EVERY: Duration = Duration::from_secs(60);

fn indigo() -> Value {
    json!({
        "hostname": "relay.test",
        "implementation": "Indigo",
        "image": {"repository": "registry.example.com/relay", "tag": "v1"},
        "memory": {"limit": "1Gi"},
        "collections": {"enabled": false},
    })
}

/// indigo's metrics after so many events.
fn metrics(events: u64) -> Value {
    let text = format!(
        "disk_persister_current_seq {events}\nevents_received_counter{{pds=\"https://a.example\"}} {events}\nprocess_resident_memory_bytes 73400320\n"
    );
    json!({ "metrics": text })
}

impl Story {
    /// The cluster has measured the relay's working set, so many seconds ago.
    fn measured(&self, seconds: i64, mebibytes: u64) {
        let at = Timestamp::now() - SignedDuration::from_secs(seconds);
        let containers = json!([{"name": "relay", "usage": {"cpu": "5m", "memory": format!("{mebibytes}Mi")}}]);
        let metadata = json!({"name": "demo-0", "namespace": "relays"});
        let kind = "PodMetrics";
        let metrics = json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": kind, "metadata": metadata,
            "timestamp": at.to_string(), "window": "15s", "containers": containers,
        });
        self.api.put(POD_METRICS, metrics);
    }

    /// Its working set is that for half a minute, and the operator looks three times.
    async fn stays_at(&self, mebibytes: u64) {
        self.histories.pass(CALM_EVERY);
        for seconds in [40, 25, 10] {
            self.measured(seconds, mebibytes);
            self.reconcile().await.unwrap();
        }
    }

    fn evictions(&self) -> usize {
        self.api.writes().iter().filter(|write| *write == EVICTION).count()
    }
}

#[tokio::test]
async fn a_relay_of_another_project_gets_its_objects_and_is_seen_by_its_metrics() {
    let mut story = Story::of(indigo()).await;
    story.reconcile().await.unwrap();
    let writes = story.api.writes();
    assert!(writes.contains(&format!("PATCH {SERVICE_ACCOUNT}")) && writes.contains(&format!("PATCH {STATEFUL_SET}")));
    assert_eq!(story.api.paths(CONFIGS), Vec::<String>::new(), "it is configured by its environment");
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
    assert_eq!(story.condition("Delivering"), "False NoPod");

    let relay = story.start_pod_of_template(GI, 10).await;
    relay.set_document(metrics(100));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Delivering"), "Unknown NotCounted");
    assert_eq!(story.condition("Ready"), "True PodReady");
    assert_eq!(story.condition("SpecSupported"), "True Supported");
    let status = story.status();
    assert_eq!(
        (&status["seq"], &status["memory"]["summary"]),
        (&json!(100), &json!("70Mi/1Gi")),
        "what it says itself"
    );

    relay.set_document(metrics(200));
    story.measured(0, 100);
    story.histories.pass(CALM_EVERY);
    story.api.read("pods");
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Ready"), "True Delivering");
    assert_eq!(story.condition("MemoryHealthy"), "True Healthy");
    assert!(story.status()["eventsPerSecond"].as_f64().unwrap() > 0.0);
    assert_eq!(story.status()["memory"]["summary"], "100Mi/1Gi", "what the cluster measures is better");
    assert_eq!(story.api.read("pods"), ["demo-0"], "its memory, of metrics.k8s.io");
    for _ in 0..3 {
        story.reconcile().await.unwrap();
    }
    assert_eq!(story.api.read("pods"), Vec::<String>::new(), "far from the limit, it is not asked for all the time");

    let mut spec = indigo();
    spec["upstream"] = json!({"hosts": ["pds.example.com"]});
    story.write(spec);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("SpecSupported"), "False NotSupported");
    assert_eq!(story.condition("Ready"), "True Delivering", "it is a remark");
}

#[tokio::test]
async fn a_relay_of_another_project_at_its_hard_mark_is_evicted_and_that_is_a_planned_restart() {
    let mut story = Story::of(indigo()).await;
    story.reconcile().await.unwrap();
    story.start_pod_of_template(GI, 10).await.set_document(metrics(100));
    story.measured(60, 950);
    story.reconcile().await.unwrap();
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("MemoryHealthy"), "False NearLimit");
    assert_eq!(story.evictions(), 0, "a peak passes");
    story.stays_at(950).await;
    assert_eq!(story.evictions(), 1);
    let note = "MemoryEviction: The relay uses 950Mi of 1Gi, and stays above its hard mark of 90 %: its pod is evicted, to start anew.";
    assert_eq!(story.events_of("MemoryEviction"), [note]);

    // The pod is on its way, also for an operator that has just been started.
    story.reconcile().await.unwrap();
    story.histories = Histories::default();
    story.stays_at(950).await;
    assert_eq!(story.evictions(), 0);
    story.container(|container| {
        container["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": "shutting down"}});
    });
    story.api.put(POD, Value::Null);
    story.start_pod_of_template(GI, 10).await.set_document(metrics(100));
    story.measured(50, 70);
    story.reconcile().await.unwrap();
    let restarts = story.status()["restarts"].clone();
    assert_eq!((&restarts["planned"], &restarts["evicted"]), (&json!(1), &json!(0)), "{restarts}");
    assert_eq!(story.events_of("PlannedRestart").len(), 1);
    assert_eq!(story.condition("MemoryHealthy"), "True Healthy");

    story.api.writes();
    story.stays_at(990).await;
    assert_eq!(story.evictions(), 0, "it cools down first");
    assert_eq!(story.condition("MemoryHealthy"), "False NearLimit");
}

#[tokio::test]
async fn an_eviction_that_is_refused_is_told_and_rests() {
    let mut story = Story::of(indigo()).await;
    story.reconcile().await.unwrap();
    story.start_pod_of_template(GI, 10).await;
    story.api.refuse(Some("Cannot evict pod as it would violate the pod's disruption budget."));
    story.stays_at(950).await;
    for _ in 0..2 {
        story.reconcile().await.unwrap();
    }
    assert_eq!(story.evictions(), 1, "it is not asked again at once");
    let told = story.events_of("MemoryEvictionRefused");
    assert!(told.len() == 1 && told[0].contains("disruption budget"), "{told:?}");
    assert_eq!(story.status()["restarts"]["planned"], 0);

    let mut paused = indigo();
    paused["paused"] = json!(true);
    story.api.refuse(None);
    story.write(paused);
    story.histories = Histories::default();
    story.stays_at(950).await;
    assert_eq!(story.evictions(), 0, "the operator changes nothing of a Relay that is paused");
    assert!(story.api.get(RELAY)["status"]["memory"]["workingSetBytes"].as_i64().unwrap() > 0, "it looks all the same");
}

#[tokio::test]
async fn our_own_relay_is_never_evicted() {
    let mut story = Story::of(json!({"hostname": "relay.test", "memory": {"limit": "1Gi"}})).await;
    story.reconcile().await.unwrap();
    story.start_pod_of_template(GI, 95).await;
    story.stays_at(990).await;
    assert_eq!(story.evictions(), 0, "it restarts by itself");
}
