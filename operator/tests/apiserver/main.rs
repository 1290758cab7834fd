//! The operator's program on a real API server that schedules nothing, under the chart's rules of access: its lease, its end,
//! bad objects, and what it costs. `dev/apiserver/run.sh` starts the server; `make apiserver` and `make scale` run this.
#![allow(clippy::unwrap_used)]

mod lease;
mod operator;
mod pods;
mod relays;
mod rules;
mod scale;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use relay_operator::api::Relay;
use serde_json::{Value, json};

/// Longest wait for anything: it ends a test that would fail anyway.
const PATIENCE: Duration = Duration::from_secs(600);

/// An administrator's client.
async fn admin() -> Client {
    let path = std::env::var("APISERVER_KUBECONFIG").expect("dev/apiserver/run.sh sets it");
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Waits until `look` finds something, and gives up with `what` was not found.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A new namespace, by its name.
async fn namespace(client: &Client, name: &str) -> String {
    let object = Namespace {
        metadata: ObjectMeta { generate_name: Some(format!("{name}-")), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap().metadata.name.unwrap()
}

fn relay(name: &str) -> Relay {
    serde_json::from_value(relay_value(name, json!({"hostname": format!("{name}.test")}))).unwrap()
}

fn relay_value(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "relay.waow.tech/v1alpha1", "kind": "Relay", "metadata": {"name": name}, "spec": spec})
}

/// `STATUS REASON` of the condition Ready, once there is one.
fn ready(relay: &Relay) -> Option<String> {
    let condition = relay.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(format!("{} {}", condition.status, condition.reason))
}
