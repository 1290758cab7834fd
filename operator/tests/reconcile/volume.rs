//! Stories of the volume: it grows, it has an owner or none, and it is given up.

use serde_json::{Value, json};

use super::{POD, RECORDED, RELAY, STATEFUL_SET, Story};

const CLAIM: &str = "/api/v1/namespaces/relays/persistentvolumeclaims/data-demo-0";

fn with_size(size: &str) -> Value {
    with_storage(json!({"size": size}))
}

fn with_storage(storage: Value) -> Value {
    json!({"hostname": "relay.test", "storage": storage})
}

impl Story {
    /// The StatefulSet makes its claim, and the storage its volume.
    pub(super) fn make_claim(&self, uid: &str) {
        let template = self.api.get(STATEFUL_SET)["spec"]["volumeClaimTemplates"][0].clone();
        let size = template["spec"]["resources"]["requests"]["storage"].clone();
        let metadata = json!({
            "name": "data-demo-0", "namespace": "relays", "uid": uid, "resourceVersion": "7",
            "creationTimestamp": "2026-11-28T10:00:00Z", "labels": template["metadata"]["labels"],
            "annotations": {"volume.kubernetes.io/selected-node": "node-1"},
        });
        let status = json!({"phase": "Bound", "capacity": {"storage": size}});
        self.api.put(CLAIM, json!({"metadata": metadata, "spec": template["spec"], "status": status}));
    }

    /// The storage does what the claim asks for.
    fn storage_grows(&self) {
        let mut claim = self.api.get(CLAIM);
        claim["status"]["capacity"] = claim["spec"]["resources"]["requests"].clone();
        self.api.put(CLAIM, claim);
    }

    /// What was written to the StatefulSet, its claim and its pod.
    fn workload_writes(&self) -> Vec<String> {
        let of_workload = |write: &String| [STATEFUL_SET, CLAIM, POD].iter().any(|path| write.contains(path));
        self.api.writes().into_iter().filter(of_workload).collect()
    }

    fn log_size(&self) -> Value {
        let config: toml::Table = self.api.get(&self.config())["data"]["relay.toml"].as_str().unwrap().parse().unwrap();
        json!(config["replay-max-size"].as_str().unwrap().parse::<u64>().unwrap())
    }
}

const GI: u64 = 1 << 30;

/// What the log may fill of a volume of so many bytes.
fn log_share(bytes: u64) -> Value {
    json!(bytes / 100 * 80)
}

#[tokio::test]
async fn a_volume_grows_and_the_stateful_set_follows_without_its_pod() {
    let mut story = Story::of(with_size("2Gi")).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "False NoVolume");
    story.make_claim("c-1");
    story.start_pod(RECORDED.into()).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "True Bound");
    assert_eq!(story.status()["storage"]["node"], "node-1");
    story.api.writes();

    story.write(with_size("3Gi"));
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), [format!("PATCH {CLAIM}")], "only the claim asks for more");
    assert_eq!(story.api.get(CLAIM)["spec"]["resources"]["requests"]["storage"], "3Gi");
    assert_eq!(story.events_of("VolumeGrows"), ["VolumeGrows: The volume of data-demo-0 grows to 3Gi."]);
    assert_eq!(story.log_size(), log_share(2 * GI), "the relay does not count on what is not there");
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "False Growing");
    assert_eq!(
        (&story.status()["storage"]["size"], &story.status()["storage"]["growingTo"]),
        (&json!("2Gi"), &json!("3Gi"))
    );

    let mut claim = story.api.get(CLAIM);
    claim["status"]["conditions"] = json!([{"type": "FileSystemResizePending", "status": "True"}]);
    story.api.put(CLAIM, claim.clone());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "False FileSystemResizePending");
    claim["status"]["conditions"] = json!([{"type": "ControllerResizeError", "status": "True", "message": "quota"}]);
    story.api.put(CLAIM, claim.clone());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "False GrowthFailed");
    claim["status"]["conditions"] = json!([]);
    story.api.put(CLAIM, claim);
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), Vec::<String>::new());

    story.storage_grows();
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), [format!("DELETE {STATEFUL_SET} Orphan")]);
    assert_ne!(story.api.get(POD), Value::Null, "the pod runs on");
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), [format!("PATCH {STATEFUL_SET}")], "it is made anew");
    let template = &story.api.get(STATEFUL_SET)["spec"]["volumeClaimTemplates"][0];
    assert_eq!(template["spec"]["resources"]["requests"]["storage"], "3Gi");
    assert_eq!(story.log_size(), log_share(3 * GI));
    assert_eq!(story.condition("StorageReady"), "True Bound");
    assert_eq!(story.events_of("VolumeGrown"), ["VolumeGrown: The volume of data-demo-0 has grown to 3Gi."]);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
}

#[tokio::test]
async fn a_stateful_set_that_is_on_its_way_out_is_waited_for() {
    let story = Story::of(with_size("2Gi")).await;
    story.reconcile().await.unwrap();
    let mut set = story.api.get(STATEFUL_SET);
    set["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z");
    set["spec"]["replicas"] = json!(0);
    story.api.put(STATEFUL_SET, set);
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn growth_that_is_refused_is_told_and_can_be_taken_back() {
    let story = Story::of(with_size("2Gi")).await;
    story.reconcile().await.unwrap();
    story.make_claim("c-1");
    story.api.refuse(Some("only dynamically provisioned pvc can be resized"));
    story.write(with_size("3Gi"));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "False GrowthRefused");
    assert_eq!(story.status()["storage"]["refused"]["size"], "3Gi");
    assert_eq!(story.condition("WorkloadReady"), "False NoPod", "the rest goes on");
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), Vec::<String>::new(), "it is not asked again at once");
    assert_eq!(story.events_of("VolumeGrowthRefused").len(), 1);

    story.write(with_size("2Gi"));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "True Bound");
    assert_eq!(story.status()["storage"]["refused"], Value::Null);

    story.write(with_size("1Gi"));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Ready"), "False StorageShrinks");
    assert_eq!(story.condition("StorageReady"), "Unknown StorageShrinks");
}

#[tokio::test]
async fn the_relay_owns_its_claim_where_it_is_to_go_with_it() {
    let story = Story::of(with_storage(json!({"size": "2Gi", "deletionPolicy": "Delete"}))).await;
    story.reconcile().await.unwrap();
    story.make_claim("c-1");
    story.reconcile().await.unwrap();
    let owners = || story.api.get(CLAIM)["metadata"]["ownerReferences"].clone();
    assert_eq!(owners()[0]["uid"], "u-1");
    assert_eq!(owners()[0]["controller"], Value::Null, "a StatefulSet leaves alone what another controls");
    let policy = &story.api.get(STATEFUL_SET)["spec"]["persistentVolumeClaimRetentionPolicy"];
    assert_eq!(policy["whenDeleted"], "Retain", "a StatefulSet that is made anew takes no volume along");
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), Vec::<String>::new());

    story.write(with_size("2Gi"));
    story.reconcile().await.unwrap();
    assert_eq!(owners(), json!([]));
}

#[tokio::test]
async fn a_volume_of_an_earlier_relay_is_gone_on_with_and_that_is_told() {
    let story = Story::of(with_size("2Gi")).await;
    story.reconcile().await.unwrap();
    story.make_claim("c-1");
    let mut relay = story.api.get(RELAY);
    relay["metadata"]["creationTimestamp"] = json!("2026-11-28T11:00:00Z");
    story.api.put(RELAY, relay);
    story.reconcile().await.unwrap();
    story.reconcile().await.unwrap();
    assert_eq!(story.status()["storage"]["adopted"], true);
    assert_eq!(story.events_of("VolumeAdopted").len(), 1);
}

#[tokio::test]
async fn a_pod_that_cannot_reach_its_volume_says_so_and_the_volume_is_given_up_by_its_uid_only() {
    let mut story = Story::of(with_size("2Gi")).await;
    story.reconcile().await.unwrap();
    story.make_claim("c-1");
    story.start_pod(RECORDED.into()).await;
    let mut pod = story.api.get(POD);
    pod["metadata"]["uid"] = json!("p-1");
    pod["status"] = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False",
        "message": "0/2 nodes are available: 1 node(s) were unschedulable, 1 node(s) had volume node affinity conflict.",
    }]});
    story.api.put(POD, pod);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("WorkloadReady"), "False VolumeOnOtherNode");
    let conditions = story.status()["conditions"].clone();
    let message = conditions[0]["message"].as_str().unwrap().to_owned();
    for part in ["node-1", "kubectl uncordon", "relay.waow.tech/rebuild-volume=c-1", "were unschedulable"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    story.api.writes();

    story.annotate("relay.waow.tech/rebuild-volume", "c-0");
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), Vec::<String>::new(), "that is another volume");

    story.annotate("relay.waow.tech/rebuild-volume", "c-1");
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), [format!("DELETE {CLAIM}"), format!("POST {POD}/eviction")]);
    assert_eq!(story.events_of("VolumeGivenUp").len(), 1);

    story.api.put(POD, Value::Null);
    story.make_claim("c-2");
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), Vec::<String>::new(), "the new volume is not the one that was named");
    assert_eq!(story.condition("StorageReady"), "True Bound");
}

#[tokio::test]
async fn a_claim_that_waits_for_its_pod_gets_rid_of_it() {
    let mut story = Story::of(with_size("2Gi")).await;
    story.reconcile().await.unwrap();
    story.make_claim("c-1");
    story.start_pod(RECORDED.into()).await;
    let mut claim = story.api.get(CLAIM);
    claim["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z");
    story.api.put(CLAIM, claim);
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("StorageReady"), "False BeingDeleted");
    assert_eq!(story.workload_writes(), Vec::<String>::new(), "somebody else has deleted it");
    let mut pod = story.api.get(POD);
    pod["metadata"]["uid"] = json!("p-1");
    story.api.put(POD, pod);
    story.annotate("relay.waow.tech/rebuild-volume", "c-1");
    story.reconcile().await.unwrap();
    assert_eq!(story.workload_writes(), [format!("POST {POD}/eviction")]);
}
