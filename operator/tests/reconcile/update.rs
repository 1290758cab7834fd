//! Stories of updates: the operator replaces the pod, and looks what comes of it.

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::relay::FakeRelay;
use super::{CONFIGS, POD, RECORDED, RELAY, STATEFUL_SET, Story, minimal};

const EVICTION: &str = "POST /api/v1/namespaces/relays/pods/demo-0/eviction";
const DELETION: &str = "DELETE /api/v1/namespaces/relays/pods/demo-0";
const RESTART: &str = "relay.waow.tech/restart-requested-at";

/// The relay's status document when it delivers so many events per second from so many hosts.
fn delivers(events: f64, hosts: u64) -> Value {
    let mut document: Value = serde_json::from_str(RECORDED).unwrap();
    document["events"]["perSecond"] = json!(events);
    document["hosts"] = json!({"total": 10, "connected": hosts});
    document["backfill"]["jobs"] = json!([]);
    document
}

/// A spec whose pods have another configuration file.
fn other() -> Value {
    json!({"hostname": "relay.test", "plcURL": "https://plc.test"})
}

/// A window that is closed now, and for days.
fn closed() -> String {
    let day = Timestamp::now() + SignedDuration::from_hours(72);
    format!("{} 00:00-01:00 UTC", day.strftime("%a"))
}

impl Story {
    /// A relay of this spec that delivers 100 events per second from 10 hosts.
    async fn delivering(spec: Value) -> (Self, FakeRelay) {
        let mut story = Self::of(spec).await;
        story.api.run_controllers();
        story.reconcile().await.unwrap();
        let relay = story.run_pod(true).await;
        relay.set_document(delivers(100.0, 10));
        story.reconcile().await.unwrap();
        story.reconcile().await.unwrap();
        assert_eq!(story.condition("Updated"), "True UpToDate");
        story.api.writes();
        (story, relay)
    }

    /// The StatefulSet's controller makes the pod that there is none of.
    async fn run_pod(&mut self, is_ready: bool) -> FakeRelay {
        let (relay, port) = FakeRelay::start(delivers(0.0, 0)).await;
        self.admin_port = port;
        self.pods += 1;
        let set = self.api.get(STATEFUL_SET);
        let template = &set["spec"]["template"];
        let mut labels = template["metadata"]["labels"].clone();
        labels["controller-revision-hash"] = set["status"]["updateRevision"].clone();
        let container = json!({
            "name": "relay", "image": "", "imageID": "", "ready": is_ready, "restartCount": 0, "state": {"running": {}},
        });
        self.api.put(
            POD,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "demo-0", "namespace": "relays", "uid": format!("pod-{}", self.pods), "labels": labels},
                "spec": template["spec"],
                "status": {
                    "phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [container],
                    "conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" }}],
                },
            }),
        );
        relay
    }

    /// The pod, which was told to go, has gone.
    fn pod_goes(&self) {
        assert!(!self.api.get(POD)["metadata"]["deletionTimestamp"].is_null(), "nobody has told it to go");
        self.container(|container| {
            container["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": "stopped"}});
        });
        self.api.put(POD, Value::Null);
    }

    /// The phase after a reconcile of an operator that has just been started; one before it has died without a trace in the
    /// status.
    async fn phase(&self) -> String {
        let before = self.api.get(RELAY);
        self.reconcile().await.unwrap();
        self.api.put(RELAY, before);
        self.reconcile().await.unwrap();
        self.status()["update"]["phase"].as_str().unwrap().to_owned()
    }

    /// The phases until nothing moves any more: one takes at most four reconciles.
    async fn phases(&self) -> Vec<String> {
        let (mut phases, mut same) = (vec![self.phase().await], 1);
        while same < 4 {
            let phase = self.phase().await;
            if phases.last() == Some(&phase) {
                same += 1;
            } else {
                phases.push(phase);
                same = 1;
            }
        }
        phases
    }

    /// So many minutes pass.
    fn minutes_pass(&self, minutes: i64) {
        let mut relay = self.api.get(RELAY);
        let update = &mut relay["status"]["update"];
        let ago = |time: &Value| {
            let time: Timestamp = time.as_str().unwrap().parse().unwrap();
            json!((time - SignedDuration::from_mins(minutes)).to_string())
        };
        update["since"] = ago(&update["since"]);
        if !update["refused"].is_null() {
            update["refused"]["at"] = ago(&update["refused"]["at"]);
        }
        self.api.put(RELAY, relay);
    }

    fn count(&self, write: &str) -> usize {
        self.api.writes().iter().filter(|found| *found == write).count()
    }

    /// The ConfigMap and the image that pods of the StatefulSet's template have.
    fn template(&self) -> (String, String) {
        let spec = self.api.get(STATEFUL_SET)["spec"]["template"]["spec"].clone();
        let volume = spec["volumes"][0]["configMap"]["name"].as_str().unwrap().to_owned();
        (volume, spec["containers"][0]["image"].as_str().unwrap().to_owned())
    }

    /// How many different Events were told for this reason; who dies may have told one that is told again.
    fn told(&self, reason: &str) -> usize {
        self.events_of(&format!("{reason}:")).into_iter().collect::<BTreeSet<_>>().len()
    }
}

#[tokio::test]
async fn another_template_is_followed_by_an_eviction_and_proves_itself() {
    let (mut story, _) = Story::delivering(minimal()).await;
    let before = story.status()["update"].clone();
    assert_eq!(before["before"], json!({"eventsPerSecond": 100.0, "hostsConnected": 10.0}));
    let config = story.config();
    story.write(other());
    assert_eq!(story.phases().await, ["Evicting"]);
    assert_eq!(story.condition("Updated"), "False Evicting");
    assert_eq!(story.count(EVICTION), 1, "whoever dies in between, and however often");
    assert_eq!(story.api.paths(CONFIGS).len(), 2, "the pod that goes keeps its file");

    story.pod_goes();
    assert_eq!(story.phases().await, ["Starting"]);
    let relay = story.run_pod(true).await;
    assert_eq!(story.phases().await, ["Proving"]);
    assert_eq!(story.status()["update"]["now"], json!({"eventsPerSecond": 0.0, "hostsConnected": 0.0}));
    relay.set_document(delivers(79.0, 10));
    assert_eq!(story.phases().await, ["Proving"], "it is not enough yet");
    relay.set_document(delivers(80.0, 8));
    assert_eq!(story.phases().await, ["UpToDate"]);
    assert_eq!(story.condition("Updated"), "True UpToDate");
    let update = story.status()["update"].clone();
    assert_eq!(update["lastGood"], story.api.get(STATEFUL_SET)["status"]["updateRevision"]);
    assert_ne!(update["lastGood"], before["lastGood"]);
    for reason in ["UpdateStarted", "UpdateProved"] {
        assert!(story.told(reason) >= 1, "{:?}", story.api.events());
    }
    assert_ne!(story.config(), config, "nobody refers to the old file any more");
    let restarts = story.status()["restarts"].clone();
    assert_eq!((&restarts["stopped"], &restarts["evicted"]), (&json!(1), &json!(0)), "{restarts}");
    story.reconcile().await.unwrap();
    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
}

#[tokio::test]
async fn a_template_that_does_not_deliver_is_followed_by_the_last_good_one_with_its_configuration() {
    let (mut story, _) = Story::delivering(minimal()).await;
    let good = story.template();
    story.write(other());
    story.phases().await;
    story.pod_goes();
    let relay = story.run_pod(true).await;
    relay.set_document(delivers(12.5, 10));
    assert_eq!(story.phases().await, ["Proving"]);
    story.minutes_pass(19);
    assert_eq!(story.phase().await, "Proving");
    story.api.writes();
    story.minutes_pass(1);
    assert_eq!(story.phases().await, ["RollingBack"]);
    assert_eq!(story.template(), good, "the template, and with it the file");
    assert!(story.api.paths(CONFIGS).iter().any(|path| path.ends_with(&good.0)), "which is there");
    assert_eq!(story.count(EVICTION), 1);
    story.pod_goes();
    let relay = story.run_pod(true).await;
    assert_eq!(story.phases().await, ["RolledBack"]);
    assert_eq!(story.api.get(POD)["spec"]["volumes"][0]["configMap"]["name"], *good.0);
    relay.set_document(delivers(100.0, 10));
    story.reconcile().await.unwrap();
    assert_eq!(
        (story.condition("Updated"), story.condition("Ready")),
        ("False RolledBack".into(), "True Delivering".into())
    );
    let conditions = story.status()["conditions"].clone();
    let updated = conditions.as_array().unwrap().iter().find(|condition| condition["type"] == "Updated").unwrap();
    let message = updated["message"].as_str().unwrap();
    for part in ["12.5 of 100 events per second", "80 %", "again", "next change"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!((story.told("UpdateFailed"), story.told("UpdateRolledBack")), (1, 1), "{:?}", story.api.events());

    // It is not tried again, not even when something else of the spec changes.
    let mut renamed = other();
    renamed["hostname"] = json!("other.test");
    story.write(renamed);
    story.api.writes();
    assert_eq!(story.phases().await, ["RolledBack"]);
    assert_eq!((story.count(EVICTION), story.template()), (0, good.clone()));
    // Drift is put right meanwhile.
    let mut set = story.api.get(STATEFUL_SET);
    set["metadata"]["labels"] = json!({});
    story.api.put(STATEFUL_SET, set);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(STATEFUL_SET)["metadata"]["labels"]["app.kubernetes.io/instance"], "demo");

    // Somebody asks for another try, or changes it.
    story.annotate(RESTART, "2026-11-28T10:00:00Z");
    assert_eq!(story.phases().await, ["Evicting"]);
    assert_ne!(story.template(), good);
    story.pod_goes();
    story.write(json!({"hostname": "relay.test", "plcURL": "https://plc2.test"}));
    assert_eq!(story.phases().await, ["Starting"]);
    story.run_pod(true).await.set_document(delivers(100.0, 10));
    assert_eq!(story.phases().await, ["UpToDate"]);
}

#[tokio::test]
async fn a_pod_that_never_gets_ready_is_rolled_back_whatever_a_budget_says() {
    let (mut story, _) = Story::delivering(minimal()).await;
    let good = story.template();
    story.write(json!({"hostname": "relay.test", "image": {"repository": "relay.test/none", "tag": "1"}}));
    story.phases().await;
    story.pod_goes();
    story.run_pod(false).await;
    assert_eq!(story.phases().await, ["Starting"]);
    story.minutes_pass(20);
    story.api.refuse(Some("Cannot evict pod as it would violate the pod's disruption budget."));
    story.api.writes();
    assert_eq!(story.phases().await, ["RollingBack"]);
    assert_eq!(story.count(DELETION), 1, "a pod that does not work protects nothing");
    assert_eq!((story.template(), story.api.get(POD)), (good, Value::Null));
    story.run_pod(true).await;
    assert_eq!(story.phases().await, ["RolledBack"]);
}

#[tokio::test]
async fn a_budget_that_refuses_is_told_and_tried_again() {
    let (story, _) = Story::delivering(minimal()).await;
    story.api.refuse(Some("Cannot evict pod as it would violate the pod's disruption budget."));
    story.write(other());
    story.reconcile().await.unwrap();
    story.reconcile().await.unwrap();
    story.api.writes();
    for _ in 0..3 {
        story.reconcile().await.unwrap();
    }
    assert_eq!(story.condition("Updated"), "False EvictionRefused");
    assert_eq!(story.told("EvictionRefused"), 1);
    assert_eq!(story.count(EVICTION), 1, "not at once");
    assert!(story.api.get(POD)["metadata"]["deletionTimestamp"].is_null(), "a pod that works is not deleted");
    story.api.refuse(None);
    story.minutes_pass(1);
    story.reconcile().await.unwrap();
    assert_eq!(story.count(EVICTION), 1);
    assert_eq!(story.condition("Updated"), "False Evicting");
    story.pod_goes();
}

#[tokio::test]
async fn a_new_default_image_waits_for_the_window_and_what_a_person_changes_does_not() {
    let windowed = |window: &str| json!({"hostname": "relay.test", "update": {"window": window}});
    let (mut story, _) = Story::delivering(windowed(&closed())).await;
    story.default_image = "relay.test/relay:2".into();
    assert_eq!(story.phases().await, ["WaitingForWindow"]);
    assert_eq!(story.condition("Updated"), "False WaitingForWindow");
    assert_eq!((story.count(EVICTION), story.template().1), (0, "relay.test/relay:1".into()));
    // Neither does it come with what is nothing to the pod.
    let mut renamed = windowed(&closed());
    renamed["hostname"] = json!("other.test");
    story.write(renamed);
    assert_eq!(story.phases().await, ["WaitingForWindow"]);
    assert_eq!((story.count(EVICTION), story.told("UpdateWaiting")), (0, 1));

    story.write(windowed("00:00-00:00 UTC"));
    assert_eq!(story.phases().await, ["Evicting"]);
    assert_eq!((story.count(EVICTION), story.template().1), (1, "relay.test/relay:2".into()));
    story.pod_goes();
    story.run_pod(true).await.set_document(delivers(100.0, 10));
    assert_eq!(story.phases().await, ["UpToDate"]);

    let mut changed = windowed(&closed());
    changed["plcURL"] = json!("https://plc.test");
    story.write(changed);
    assert_eq!(story.phases().await, ["Evicting"], "it is closed");
}

#[tokio::test]
async fn a_restart_is_made_once_for_each_time_that_is_asked_for() {
    let (mut story, _) = Story::delivering(minimal()).await;
    for (n, value) in [(1, "2026-11-28T10:00:00Z"), (2, "again")] {
        story.annotate(RESTART, value);
        assert_eq!(story.phases().await, ["Evicting"]);
        assert_eq!(story.count(EVICTION), 1);
        story.pod_goes();
        assert_eq!(story.phases().await, ["Starting"]);
        story.run_pod(true).await;
        assert_eq!(story.phases().await, ["UpToDate"], "of the same template there is nothing to prove");
        assert_eq!((story.count(EVICTION), &story.status()["update"]["restart"]), (0, &json!(value)));
        assert_eq!(story.status()["restarts"]["stopped"], n);
    }
    assert_eq!(story.told("RestartStarted"), 1, "always in the same words");
    assert_eq!(story.told("UpdateProved"), 0);
}

#[tokio::test]
async fn what_kubectl_rollout_restart_does_is_an_update_like_any_other() {
    let (mut story, relay) = Story::delivering(minimal()).await;
    let good = story.status()["update"]["lastGood"].clone();
    let annotate = |story: &Story| {
        let mut set = story.api.get(STATEFUL_SET);
        set["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("now");
        story.api.put(STATEFUL_SET, set);
    };
    annotate(&story);
    // Its controller sees it.
    let mut set = story.api.get(STATEFUL_SET);
    set["status"]["updateRevision"] = json!("demo-restarted");
    story.api.put(STATEFUL_SET, set);
    assert_eq!(story.phases().await, ["Evicting"]);
    story.pod_goes();
    story.run_pod(true).await;
    assert_eq!(story.phases().await, ["Proving"]);
    // What is put back has nothing of it: what others have added goes too.
    story.minutes_pass(20);
    assert_eq!(story.phases().await, ["RollingBack"]);
    let annotations = story.api.get(STATEFUL_SET)["spec"]["template"]["metadata"]["annotations"].clone();
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_null(), "{annotations}");
    assert_eq!(story.api.get(STATEFUL_SET)["status"]["updateRevision"], good);
    drop(relay);
}

#[tokio::test]
async fn a_stateful_set_of_before_is_taken_over_and_its_pod_stays() {
    let mut story = Story::of(minimal()).await;
    story.api.run_controllers();
    story.reconcile().await.unwrap();
    // As an operator has left it that let the StatefulSet replace its pods.
    let mut set = story.api.get(STATEFUL_SET);
    set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    set["metadata"]["annotations"] = json!({});
    story.api.put(STATEFUL_SET, set);
    let mut relay = story.api.get(RELAY);
    relay["status"] = Value::Null;
    story.api.put(RELAY, relay);
    story.run_pod(true).await.set_document(delivers(100.0, 10));
    let before = story.api.get(STATEFUL_SET);
    story.api.writes();

    assert_eq!(story.phases().await, ["UpToDate"]);
    let after = story.api.get(STATEFUL_SET);
    assert_eq!(after["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
    assert_eq!(after["spec"]["template"], before["spec"]["template"]);
    assert_eq!(after["status"]["updateRevision"], before["status"]["updateRevision"], "the pod is of this template");
    assert_eq!(story.count(EVICTION), 0);
}

#[tokio::test]
async fn without_a_gate_a_ready_pod_has_proved_itself_and_nothing_is_put_back() {
    let mut spec = minimal();
    spec["update"] = json!({"gate": {"enabled": false}});
    let (mut story, _) = Story::delivering(spec.clone()).await;
    spec["plcURL"] = json!("https://plc.test");
    story.write(spec);
    story.phases().await;
    story.pod_goes();
    story.run_pod(false).await;
    assert_eq!(story.phases().await, ["Starting"]);
    story.minutes_pass(600);
    assert_eq!(story.phases().await, ["Starting"], "it is up to whoever looks at it");
    let mut pod = story.api.get(POD);
    pod["status"]["conditions"][0]["status"] = json!("True");
    story.api.put(POD, pod);
    assert_eq!(story.phases().await, ["UpToDate"]);
}

#[tokio::test]
async fn a_template_whose_revision_has_gone_cannot_be_put_back_and_that_is_said() {
    let (mut story, _) = Story::delivering(minimal()).await;
    let good = story.status()["update"]["lastGood"].as_str().unwrap().to_owned();
    story.write(other());
    story.phases().await;
    story.pod_goes();
    story.run_pod(true).await;
    story.phases().await;
    story.api.put(&format!("/apis/apps/v1/namespaces/relays/controllerrevisions/{good}"), Value::Null);
    story.minutes_pass(20);
    assert_eq!(story.phases().await, ["RollingBack", "Failed"]);
    assert_eq!((story.condition("Updated"), story.told("RollBackFailed")), ("False Failed".into(), 1));
    story.api.writes();
    story.write(minimal());
    assert_eq!(story.phases().await, ["Evicting"], "the next change is tried");
}

#[tokio::test]
async fn a_paused_relay_is_not_updated_until_it_goes_on() {
    let (story, _) = Story::delivering(minimal()).await;
    let mut spec = other();
    spec["paused"] = json!(true);
    story.write(spec);
    assert_eq!(story.phases().await, ["UpToDate"]);
    assert_eq!(story.api.writes().iter().filter(|write| !write.contains("/status")).count(), 0);
    story.write(other());
    assert_eq!(story.phases().await, ["Evicting"]);
}
