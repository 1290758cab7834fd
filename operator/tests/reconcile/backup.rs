//! Stories of snapshots.

use relay_operator::relay::OptionalKind;
use serde_json::{Value, json};

use super::{RELAY, Story, minimal};

const SNAPSHOTS: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/relays/volumesnapshots";

fn hourly() -> Value {
    json!({"hostname": "relay.test", "backup": {"every": "1h", "keep": 1}})
}

impl Story {
    async fn with_volume(spec: Value) -> Self {
        let story = Self::of(spec).await;
        story.api.install(OptionalKind::VolumeSnapshot);
        story.reconcile().await.unwrap();
        story.make_claim("c-1");
        story.api.writes();
        story
    }

    /// The cluster gives a snapshot its uid and time, and the storage makes it.
    fn snapshot_is_made(&self, path: &str, at: &str) {
        let mut snapshot = self.api.get(path);
        snapshot["metadata"]["uid"] = json!(path);
        snapshot["metadata"]["creationTimestamp"] = json!(at);
        snapshot["status"] = json!({"readyToUse": true});
        self.api.put(path, snapshot);
    }

    fn snapshot_writes(&self) -> Vec<String> {
        self.api.writes().into_iter().filter(|write| write.contains("volumesnapshots")).collect()
    }

    fn newest(&self) -> String {
        self.api.paths(SNAPSHOTS).pop().unwrap()
    }
}

#[tokio::test]
async fn snapshots_need_a_cluster_that_knows_them() {
    let story = Story::of(hourly()).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("BackupReady"), "False CRDNotInstalled");
    assert_eq!(story.condition("WorkloadReady"), "False NoPod", "the rest goes on");
}

#[tokio::test]
async fn a_snapshot_is_made_in_its_time_and_the_old_one_goes() {
    let story = Story::with_volume(hourly()).await;
    let old = format!("{SNAPSHOTS}/demo-20200101-000000");
    let labels = json!({
        "app.kubernetes.io/managed-by": "relay-operator", "app.kubernetes.io/instance": "demo",
        "relay.waow.tech/snapshot": "scheduled",
    });
    let kind = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot"});
    let mut object = kind;
    object["metadata"] = json!({"name": "demo-20200101-000000", "namespace": "relays", "labels": labels});
    story.api.put(&old, object);
    story.snapshot_is_made(&old, "2020-01-01T00:00:00Z");

    story.reconcile().await.unwrap();
    assert_eq!(story.snapshot_writes(), [format!("POST {SNAPSHOTS}")]);
    let made = story.newest();
    assert_eq!(story.api.get(&made)["metadata"]["ownerReferences"], Value::Null, "it outlives the Relay");
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    story.snapshot_is_made(&made, &now);
    story.reconcile().await.unwrap();
    assert_eq!(story.snapshot_writes(), [format!("DELETE {old}")]);
    assert_eq!(story.condition("BackupReady"), "True SnapshotReady");
    story.reconcile().await.unwrap();
    assert_eq!(story.status()["backup"]["snapshots"].as_array().unwrap().len(), 1);
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
}

#[tokio::test]
async fn a_snapshot_that_is_asked_for_is_made_once() {
    let story = Story::with_volume(minimal()).await;
    let mut relay = story.api.get(RELAY);
    relay["metadata"]["annotations"] = json!({"relay.waow.tech/snapshot": "before-move"});
    story.api.put(RELAY, relay.clone());
    story.reconcile().await.unwrap();
    assert_eq!(story.snapshot_writes(), [format!("POST {SNAPSHOTS}")]);
    let made = format!("{SNAPSHOTS}/demo-before-move");
    story.snapshot_is_made(&made, "2026-11-28T10:00:00Z");
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("BackupReady"), "True SnapshotReady");
    assert_eq!(story.status()["backup"]["requested"], "before-move");

    story.api.put(&made, Value::Null);
    story.reconcile().await.unwrap();
    assert_eq!(story.snapshot_writes(), Vec::<String>::new(), "what somebody deletes is not made again");
}
