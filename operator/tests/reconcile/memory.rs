//! Stories of memory: ends that are counted, and limits that grow while the relay runs.

use serde_json::{Value, json};

use super::relay::FakeRelay;
use super::{POD, RECORDED, RELAY, STATEFUL_SET, Story};

const TERMINATION: &str = include_str!("../contract/termination.json");
const RESIZE: &str = "PATCH /api/v1/namespaces/relays/pods/demo-0/resize";
const GI: u64 = 1 << 30;

fn with_memory(memory: Value) -> Value {
    json!({"hostname": "relay.test", "memory": memory})
}

fn in_place() -> Value {
    with_memory(json!({"limit": "1Gi", "max": "2Gi", "resize": "InPlace"}))
}

/// The relay's status document when it uses so many percent of the limit of its cgroup.
fn uses(limit: u64, percent: u64) -> String {
    let mut document: Value = serde_json::from_str(RECORDED).unwrap();
    document["memory"] = json!({
        "limitBytes": limit, "workingSetBytes": limit / 100 * percent, "step": "none",
        "softBytes": limit / 100 * 80, "hardBytes": limit / 100 * 90,
    });
    document.to_string()
}

impl Story {
    /// The API server can resize pods.
    fn serve_resize(&self) {
        let resource =
            json!({"name": "pods/resize", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["patch"]});
        let list = json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [resource]});
        self.api.put("/api/v1", list);
    }

    /// A pod of the template that is there now starts, and its relay uses so many percent of its limit.
    async fn start_pod_of_template(&mut self, limit: u64, percent: u64) -> FakeRelay {
        let relay = self.start_pod(uses(limit, percent)).await;
        let mut pod = self.api.get(POD);
        self.pods += 1;
        pod["metadata"]["uid"] = json!(format!("pod-{}", self.pods));
        pod["spec"]["containers"] = self.api.get(STATEFUL_SET)["spec"]["template"]["spec"]["containers"].clone();
        self.api.put(POD, pod);
        self.kubelet_gives();
        relay
    }

    /// The kubelet does what the pod's spec asks for.
    fn kubelet_gives(&self) {
        let resources = self.api.get(POD)["spec"]["containers"][0]["resources"].clone();
        self.container(|container| container["resources"] = resources);
    }

    /// Changes the status of the relay's container.
    fn container(&self, change: impl FnOnce(&mut Value)) {
        let mut pod = self.api.get(POD);
        if pod["status"]["containerStatuses"].is_null() {
            pod["status"]["containerStatuses"] = json!([{
                "name": "relay", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}},
            }]);
        }
        change(&mut pod["status"]["containerStatuses"][0]);
        self.api.put(POD, pod);
    }

    /// The limit that a pod has, or new ones get.
    fn limit(&self, path: &str) -> String {
        let object = self.api.get(path);
        let spec = if path == POD { &object["spec"] } else { &object["spec"]["template"]["spec"] };
        spec["containers"][0]["resources"]["limits"]["memory"].as_str().unwrap().to_owned()
    }

    fn events_of(&self, reason: &str) -> Vec<String> {
        self.api.events().into_iter().filter(|event| event.starts_with(reason)).collect()
    }
}

#[tokio::test]
async fn ends_are_counted_once_and_told_once() {
    let mut story = Story::of(super::minimal()).await;
    story.reconcile().await.unwrap();
    story.start_pod_of_template(4 * GI, 10).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("MemoryHealthy"), "True Healthy");

    let end = |code: i32, reason: &str, message: &str| {
        let at = k8s_openapi::jiff::Timestamp::now().to_string();
        json!({"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": at}})
    };
    story.container(|container| {
        container["restartCount"] = json!(1);
        container["lastState"] = end(75, "Error", TERMINATION);
    });
    // Each of these reconciles is that of an operator that has just been started.
    for _ in 0..3 {
        story.reconcile().await.unwrap();
    }
    let restarts = story.status()["restarts"].clone();
    assert_eq!((&restarts["planned"], &restarts["oomKilled"]), (&json!(1), &json!(0)));
    let last = &restarts["last"][0];
    assert_eq!((&last["cause"], &last["reason"]), (&json!("PlannedRestart"), &json!("MemoryHardMark")));
    assert_eq!((&last["seq"], &last["exitCode"]), (&json!(123_456), &json!(75)));
    assert_eq!(story.events_of("PlannedRestart").len(), 1);
    assert_eq!(story.condition("MemoryHealthy"), "True Healthy", "one restart is no trouble");

    // A spec that makes no sense, meanwhile, is no reason to look away.
    story.write(with_memory(json!({"limit": "1Mi"})));
    story.container(|container| {
        container["restartCount"] = json!(2);
        container["lastState"] = end(137, "OOMKilled", "");
    });
    story.reconcile().await.unwrap();
    assert_eq!(story.status()["restarts"]["oomKilled"], 1);
    story.write(super::minimal());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("MemoryHealthy"), "False OOMKilled");
    assert_eq!(story.events_of("OOMKilled"), ["OOMKilled: The kernel killed the relay at its memory limit of 4Gi."]);
    let counters = story.status()["restarts"].clone();
    let sum: i64 = counters.as_object().unwrap().values().filter_map(Value::as_i64).sum();
    assert_eq!(sum, 2, "{counters}");
    assert_eq!(story.condition("Ready"), "True Delivering", "it delivers all the same");

    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
}

#[tokio::test]
async fn a_pod_that_goes_is_known_by_its_last_state() {
    let mut story = Story::of(super::minimal()).await;
    story.reconcile().await.unwrap();
    story.start_pod_of_template(4 * GI, 10).await;
    story.reconcile().await.unwrap();

    let mut pod = story.api.get(POD);
    pod["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z");
    pod["status"]["conditions"] = json!([
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"},
    ]);
    story.api.put(POD, pod);
    let stopped = TERMINATION.replace("MemoryHardMark", "Stopped");
    story.container(|container| {
        container["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": stopped}});
    });
    // Nobody looks before the next pod is there.
    story.api.put(POD, Value::Null);
    story.start_pod_of_template(4 * GI, 10).await;
    for _ in 0..2 {
        story.reconcile().await.unwrap();
    }
    let restarts = story.status()["restarts"].clone();
    assert_eq!((&restarts["evicted"], &restarts["last"][0]["seq"]), (&json!(1), &json!(123_456)), "{restarts}");
    assert_eq!(story.events_of("Evicted").len(), 1);
}

#[tokio::test]
async fn under_pressure_the_limit_grows_in_place_and_the_template_stays() {
    let mut story = Story::of(in_place()).await;
    story.serve_resize();
    story.reconcile().await.unwrap();
    let relay = story.start_pod_of_template(GI, 10).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.status()["resize"], Value::Null);
    story.api.writes();

    relay.set_document(serde_json::from_str(&uses(GI, 86)).unwrap());
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [RESIZE.into(), format!("PATCH {RELAY}/status")], "no new template, no new pod");
    assert_eq!((story.limit(POD), story.limit(STATEFUL_SET)), ("1280Mi".into(), "1Gi".into()));
    assert_eq!(story.condition("MemoryHealthy"), "False ResizePending");
    assert_eq!(
        story.events_of("MemoryLimitGrows"),
        ["MemoryLimitGrows: Memory is short: the limit grows from 1Gi to 1280Mi."]
    );

    // The next step waits until this one is in force.
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new());
    story.kubelet_gives();
    relay.set_document(serde_json::from_str(&uses(1280 << 20, 60)).unwrap());
    story.reconcile().await.unwrap();
    assert_eq!(story.events_of("MemoryResized"), ["MemoryResized: The memory limit of 1280Mi is in force."]);
    assert_eq!(story.condition("MemoryHealthy"), "True Healthy");
    let resize = story.status()["resize"].clone();
    assert_eq!(
        (&resize["limit"], &resize["grownFrom"], &resize["state"]),
        (&json!("1280Mi"), &json!("1Gi"), &json!("Done"))
    );
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");

    // A pod that is made anew comes from the template, and gets what the one before had.
    story.start_pod_of_template(GI, 10).await;
    assert_eq!(story.limit(POD), "1Gi");
    story.reconcile().await.unwrap();
    assert_eq!(story.limit(POD), "1280Mi");
    story.kubelet_gives();

    // Something else changes the template: then it takes the limit along.
    let mut other = in_place();
    other["plcURL"] = json!("https://plc.test");
    story.write(other);
    story.reconcile().await.unwrap();
    assert_eq!(story.limit(STATEFUL_SET), "1280Mi");
}

#[tokio::test]
async fn another_limit_of_the_spec_is_given_in_place() {
    let mut story = Story::of(in_place()).await;
    story.serve_resize();
    story.reconcile().await.unwrap();
    let relay = story.start_pod_of_template(GI, 10).await;
    story.reconcile().await.unwrap();
    story.api.writes();

    story.write(with_memory(json!({"limit": "1536Mi", "max": "2Gi", "resize": "InPlace"})));
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [RESIZE.into(), format!("PATCH {RELAY}/status")]);
    assert_eq!((story.limit(POD), story.limit(STATEFUL_SET)), ("1536Mi".into(), "1Gi".into()));
    story.kubelet_gives();
    relay.set_document(serde_json::from_str(&uses(1536 << 20, 10)).unwrap());
    story.reconcile().await.unwrap();
    assert_eq!(story.status()["resize"]["state"], "Done", "new pods would have another");
    assert_eq!(story.events_of("MemoryResized"), ["MemoryResized: The memory limit of 1536Mi is in force."]);
}

#[tokio::test]
async fn a_resize_that_is_refused_is_a_condition_and_rests() {
    let mut story = Story::of(in_place()).await;
    story.serve_resize();
    story.reconcile().await.unwrap();
    story.start_pod_of_template(GI, 95).await;
    story.api.refuse_resizes(Some("node didn't have enough allocatable resources"));
    story.api.writes();
    for _ in 0..2 {
        story.reconcile().await.unwrap();
    }
    let resizes = story.api.writes().iter().filter(|write| *write == RESIZE).count();
    assert_eq!(resizes, 1, "it is not asked again at once");
    assert_eq!(story.condition("MemoryHealthy"), "False ResizeInfeasible");
    let message = story.status()["resize"]["message"].clone();
    assert_eq!(message, "node didn't have enough allocatable resources");
    assert_eq!(story.events_of("ResizeInfeasible").len(), 1);
    assert_eq!(story.condition("Ready"), "True Delivering", "a reconcile does not fail of it");
}

#[tokio::test]
async fn where_pods_cannot_be_resized_the_pod_is_replaced() {
    let mut story = Story::of(in_place()).await;
    story.api.put("/api/v1", json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": []}));
    story.reconcile().await.unwrap();
    story.start_pod_of_template(GI, 86).await;
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.limit(STATEFUL_SET), "1280Mi", "there is no window: any time will do");
    assert_eq!(story.condition("MemoryHealthy"), "False ResizePending");
    assert!(!story.api.writes().contains(&RESIZE.to_owned()));
    story.start_pod_of_template(1280 << 20, 10).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("MemoryHealthy"), "True Healthy");
    assert_eq!(story.status()["resize"]["state"], "Done");
}
