//! Stories of a reconcile, told against a small API server and a relay's status document.
#![allow(clippy::unwrap_used)]

mod access;
mod api;
mod backfill;
mod backup;
mod bad_input;
mod database;
mod foreign;
mod memory;
mod monitoring;
mod relay;
mod rules;
mod secrets;
mod update;
mod upstream;
mod volume;

use std::sync::Arc;
use std::time::Duration;

use api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use relay::FakeRelay;
use relay_operator::metrics::Metrics;
use relay_operator::relay::{Context, Error, Histories, OPERATOR, Secrets, reconcile};
use relay_operator::relay_admin::Client;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const RELAY: &str = "/apis/relay.waow.tech/v1alpha1/namespaces/relays/relays/demo";
const SECRET: &str = "/api/v1/namespaces/relays/secrets/demo-admin";
const SERVICE_ACCOUNT: &str = "/api/v1/namespaces/relays/serviceaccounts/demo";
const CONFIGS: &str = "/api/v1/namespaces/relays/configmaps/demo-config";
const DASHBOARD: &str = "/api/v1/namespaces/relays/configmaps/demo-dashboard";
const SERVICE: &str = "/api/v1/namespaces/relays/services/demo";
const ADMIN_SERVICE: &str = "/api/v1/namespaces/relays/services/demo-admin";
const DISRUPTION_BUDGET: &str = "/apis/policy/v1/namespaces/relays/poddisruptionbudgets/demo";
const NETWORK_POLICY: &str = "/apis/networking.k8s.io/v1/namespaces/relays/networkpolicies/demo";
const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/relays/statefulsets/demo";
const POD: &str = "/api/v1/namespaces/relays/pods/demo-0";
const RECORDED: &str = include_str!("../contract/admin-status.json");

/// A cluster with one Relay, an operator, and the port on which its pod would answer.
struct Story {
    api: Api,
    client: kube::Client,
    /// One that tries nothing twice.
    once: kube::Client,
    admin_port: u16,
    /// Pods that were made so far.
    pods: usize,
    /// What the operator remembers.
    histories: Histories,
    /// The image of relays whose spec names none.
    default_image: String,
    secrets: Secrets,
}

impl Story {
    async fn of(spec: Value) -> Self {
        let (api, client, once) = Api::start().await;
        let story = Self {
            api,
            client,
            once,
            admin_port: 1,
            pods: 0,
            histories: Histories::default(),
            default_image: "relay.test/relay:1".into(),
            secrets: Secrets::default(),
        };
        story.write(spec);
        story
    }

    /// What a person does: a new spec, a new generation.
    fn write(&self, spec: Value) {
        let mut relay = self.api.get(RELAY);
        let generation = relay["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        relay["apiVersion"] = json!("relay.waow.tech/v1alpha1");
        relay["kind"] = json!("Relay");
        relay["metadata"] = json!({"name": "demo", "namespace": "relays", "uid": "u-1", "generation": generation});
        relay["spec"] = spec;
        self.api.put(RELAY, relay);
    }

    /// What a person asks for beside the spec.
    fn annotate(&self, key: &str, value: &str) {
        let mut relay = self.api.get(RELAY);
        relay["metadata"]["annotations"] = json!({key: value});
        self.api.put(RELAY, relay);
    }

    async fn reconcile(&self) -> Result<Action, Error> {
        let context = Context {
            client: self.client.clone(),
            once: self.once.clone(),
            cache: self.api.cache(),
            admin: Client::new(self.admin_port).unwrap(),
            recorder: Recorder::new(self.client.clone(), OPERATOR.into()),
            default_image: self.default_image.clone(),
            metrics: Metrics::default(),
            histories: self.histories.clone(),
            secrets: self.secrets.clone(),
            can_resize: OnceCell::new(),
        };
        let relay: DeserializeGuard<_> = serde_json::from_value(self.api.get(RELAY)).unwrap();
        // It is large, and a story has many.
        Box::pin(reconcile(Arc::new(relay), Arc::new(context))).await
    }

    /// The pod starts, and its relay answers with `document`.
    async fn start_pod(&mut self, document: String) -> FakeRelay {
        let (relay, port) = FakeRelay::start(serde_json::from_str(&document).unwrap()).await;
        self.admin_port = port;
        let mut stateful_set = self.api.get(STATEFUL_SET);
        stateful_set["status"] = json!({"replicas": 1, "observedGeneration": 1, "updateRevision": "demo-1"});
        self.api.put(STATEFUL_SET, stateful_set);
        self.api.put(
            POD,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "demo-0", "namespace": "relays", "labels": {
                    "app.kubernetes.io/managed-by": "relay-operator",
                    "app.kubernetes.io/instance": "demo",
                    "controller-revision-hash": "demo-1",
                }},
                "status": {"phase": "Running", "podIP": "127.0.0.1",
                    "conditions": [{"type": "Ready", "status": "True"}]},
            }),
        );
        relay
    }

    /// Path of the ConfigMap that new pods get: the one that the template names, where there is one.
    fn config(&self) -> String {
        let template = &self.api.get(STATEFUL_SET)["spec"]["template"]["spec"];
        let volumes = template["volumes"].as_array().into_iter().flatten();
        if let Some(name) = volumes.filter_map(|volume| volume["configMap"]["name"].as_str()).next() {
            return format!("/api/v1/namespaces/relays/configmaps/{name}");
        }
        let mut configs = self.api.paths(CONFIGS);
        assert_eq!(configs.len(), 1, "{configs:?}");
        configs.remove(0)
    }

    fn status(&self) -> Value {
        self.api.get(RELAY)["status"].clone()
    }

    /// `STATUS REASON` of a condition.
    fn condition(&self, type_: &str) -> String {
        let status = self.status();
        let conditions = status["conditions"].as_array().unwrap();
        let condition = conditions.iter().find(|c| c["type"] == type_).unwrap();
        format!("{} {}", condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
    }
}

fn minimal() -> Value {
    json!({"hostname": "relay.test"})
}

fn await_change() -> Action {
    Action::await_change()
}

#[tokio::test]
async fn a_new_relay_gets_its_objects_and_a_second_reconcile_writes_nothing() {
    let story = Story::of(minimal()).await;
    let next = story.reconcile().await.unwrap();
    assert_eq!(next, Action::requeue(Duration::from_secs(15)), "the watches tell when there is a pod to ask");
    assert_eq!(
        story.api.writes(),
        [
            format!("PATCH {SERVICE_ACCOUNT}"),
            "POST /api/v1/namespaces/relays/secrets".into(),
            format!("PATCH {}", story.config()),
            format!("PATCH {DASHBOARD}"),
            format!("PATCH {SERVICE}"),
            format!("PATCH {ADMIN_SERVICE}"),
            format!("PATCH {NETWORK_POLICY}"),
            format!("PATCH {DISRUPTION_BUDGET}"),
            format!("PATCH {STATEFUL_SET}"),
            format!("PATCH {RELAY}/status"),
        ],
        "what the pod needs comes first, the workload last"
    );
    for path in [
        SERVICE_ACCOUNT,
        SECRET,
        &story.config(),
        DASHBOARD,
        SERVICE,
        ADMIN_SERVICE,
        NETWORK_POLICY,
        DISRUPTION_BUDGET,
        STATEFUL_SET,
    ] {
        assert_eq!(story.api.get(path)["metadata"]["ownerReferences"][0]["uid"], "u-1", "{path} goes with the Relay");
    }
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "an unchanged world");
}

#[tokio::test]
async fn the_admin_token_is_random_and_never_changed() {
    let (story, other) = (Story::of(minimal()).await, Story::of(minimal()).await);
    story.reconcile().await.unwrap();
    other.reconcile().await.unwrap();
    let token = |story: &Story| story.api.get(SECRET)["data"]["token"].as_str().unwrap().to_owned();
    let first = token(&story);
    assert_eq!(first.len(), 88, "64 hexadecimal digits in base64");
    assert_ne!(first, token(&other), "two relays have two tokens");
    story.write(json!({"hostname": "other.test"}));
    story.reconcile().await.unwrap();
    assert_eq!(token(&story), first);
}

#[tokio::test]
async fn a_secret_that_is_there_is_used_as_it_is() {
    let story = Story::of(json!({"hostname": "relay.test", "admin": {"secretRef": {"name": "mine"}}})).await;
    let path = "/api/v1/namespaces/relays/secrets/mine";
    let secret = json!({"metadata": {"name": "mine", "namespace": "relays"}, "data": {"token": "bWluZQ=="}});
    story.api.put(path, secret.clone());
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(path), secret, "untouched");
    let volumes = &story.api.get(STATEFUL_SET)["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes[1]["secret"]["secretName"], "mine");
}

#[tokio::test]
async fn drift_is_healed_where_it_is() {
    let story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    story.api.writes();

    let path = story.config();
    let mut config = story.api.get(&path);
    config["data"]["relay.toml"] = json!("listen = 'elsewhere'");
    story.api.put(&path, config);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {path}")], "only what differs is written");

    story.api.put(STATEFUL_SET, Value::Null);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {STATEFUL_SET}")], "what was deleted is made again");

    let mut service = story.api.get(SERVICE);
    service["metadata"]["labels"] = json!({});
    story.api.put(SERVICE, service);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {SERVICE}")], "an object that lost its labels gets them back");
}

#[tokio::test]
async fn a_field_that_is_no_longer_wanted_is_taken_back() {
    let node_port = json!({"type": "NodePort", "nodePort": 30300});
    let story = Story::of(json!({"hostname": "relay.test", "access": {"service": node_port}})).await;
    story.reconcile().await.unwrap();
    story.api.writes();
    story.write(json!({"hostname": "relay.test", "access": {"service": {"type": "NodePort"}}}));
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {SERVICE}"), format!("PATCH {RELAY}/status")]);
}

#[tokio::test]
async fn orphans_go_and_strangers_stay() {
    let story = Story::of(minimal()).await;
    let labels = json!({"app.kubernetes.io/managed-by": "relay-operator", "app.kubernetes.io/instance": "demo"});
    let service = |name: &str, owner: &str| {
        let meta = json!({
            "name": name, "namespace": "relays", "uid": name, "labels": labels,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Relay", "name": "demo", "uid": owner}],
        });
        story.api.put(
            &format!("/api/v1/namespaces/relays/services/{name}"),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta}),
        );
    };
    service("demo-old", "u-1");
    service("stranger", "u-2");
    story.reconcile().await.unwrap();
    let writes = story.api.writes();
    let deletes: Vec<_> = writes.iter().filter(|write| write.starts_with("DELETE")).collect();
    assert_eq!(deletes, ["DELETE /api/v1/namespaces/relays/services/demo-old"]);
}

#[tokio::test]
async fn an_object_of_someone_else_is_never_overwritten() {
    let story = Story::of(minimal()).await;
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo", "namespace": "relays"}});
    story.api.put(SERVICE, theirs.clone());
    let error = story.reconcile().await.unwrap_err();
    assert_eq!(error.reason(), "NameTaken");
    assert_eq!(story.api.get(SERVICE), theirs);
    assert_eq!(story.condition("Ready"), "False NameTaken");
    assert_eq!(story.api.get(STATEFUL_SET), Value::Null, "the workload waits for what it needs");
}

#[tokio::test]
async fn a_bad_spec_is_a_condition_and_no_more() {
    let story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    story.api.writes();
    story.write(json!({"hostname": "relay.test", "memory": {"limit": "1Mi"}}));
    assert_eq!(story.reconcile().await.unwrap(), await_change());
    assert_eq!(story.api.writes(), [format!("PATCH {RELAY}/status")], "what runs goes on running");
    assert_eq!(story.condition("Ready"), "False InvalidSpec");
    assert_eq!(story.condition("WorkloadReady"), "Unknown InvalidSpec");
    assert_eq!(story.status()["observedGeneration"], 2);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "said once");
}

#[tokio::test]
async fn a_secret_that_is_missing_is_waited_for() {
    let database = json!({"externalSecretRef": {"name": "relay-db"}});
    let story = Story::of(json!({"hostname": "relay.test", "database": database})).await;
    assert_ne!(story.reconcile().await.unwrap(), await_change());
    assert_eq!(story.condition("Ready"), "False SecretNotFound");
    story.api.put("/api/v1/namespaces/relays/secrets/relay-db", json!({"data": {"url": "cG9zdGdyZXM6Ly9kYg=="}}));
    story.reconcile().await.unwrap();
    let env = &story.api.get(STATEFUL_SET)["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(env["valueFrom"]["secretKeyRef"], json!({"name": "relay-db", "key": "url"}));
}

#[tokio::test]
async fn a_paused_relay_is_reported_and_not_touched() {
    let story = Story::of(json!({"hostname": "relay.test", "paused": true})).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {RELAY}/status")]);
    assert_eq!(story.condition("Paused"), "True Paused");
    assert_eq!(story.condition("Ready"), "False NoStatefulSet");
}

#[tokio::test]
async fn a_relay_that_is_being_deleted_is_left_to_the_garbage_collector() {
    let story = Story::of(minimal()).await;
    let mut relay = story.api.get(RELAY);
    relay["metadata"]["deletionTimestamp"] = json!("2026-11-24T10:00:00Z");
    story.api.put(RELAY, relay);
    assert_eq!(story.reconcile().await.unwrap(), await_change());
    assert_eq!(story.api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_status_is_the_relays_own_word_and_is_not_written_for_every_event() {
    let mut story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    story.start_pod(RECORDED.into()).await;
    assert_eq!(story.reconcile().await.unwrap(), Action::requeue(Duration::from_secs(15)));
    for type_ in ["Ready", "Delivering"] {
        assert_eq!(story.condition(type_), "True Delivering");
    }
    assert_eq!(story.condition("WorkloadReady"), "True PodReady");
    let status = story.status();
    assert_eq!(status["hosts"], json!({"connected": 2, "total": 3}));
    assert_eq!(status["memory"]["summary"], "70Mi/512Mi");
    assert_eq!((&status["seq"], &status["eventsPerSecond"]), (&json!(123), &json!(12.5)));
    assert_eq!((&status["consumers"], &status["version"]), (&json!(1), &json!("relay/0.1.0")));
    assert_eq!(status["endpoint"], "ws://demo.relays.svc:3000");
    story.api.writes();

    story.start_pod(RECORDED.replace(r#""last": 123"#, r#""last": 456"#)).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "figures wait for their time");

    story.start_pod(RECORDED.replace(r#""connected": 2"#, r#""connected": 0"#)).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.api.writes(), [format!("PATCH {RELAY}/status")], "a condition does not wait");
    assert_eq!(story.condition("Ready"), "False NoHostConnected");
}
