//! Several operators, of which one works.

use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use relay_operator::api::Relay;
use serde_json::json;

use crate::operator::Operator;
use crate::{admin, namespace, ready, relay, until};

/// A lease that is short to wait for.
const SHORT: [&str; 2] = ["--lease-seconds", "15"];

async fn holder() -> String {
    let leases = Api::<Lease>::namespaced(admin().await, "relay-operator");
    let lease = leases.get_opt("relay-operator").await.unwrap();
    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
}

async fn until_held_by(name: &str) {
    until(&format!("a lease of {name}"), async || (holder().await == name).then_some(())).await;
}

async fn make(relays: &Api<Relay>, name: &str) {
    relays.create(&PostParams::default(), &relay(name)).await.unwrap();
    until(&format!("a status of {name}"), async || ready(&relays.get(name).await.unwrap())).await;
}

#[tokio::test]
async fn one_of_two_works_and_the_other_takes_over_when_it_stops() {
    let client = admin().await;
    let relays = Api::<Relay>::namespaced(client.clone(), &namespace(&client, "two").await);
    let first = Operator::start_and_lead("first", &SHORT).await;
    let second = Operator::start("second", &SHORT);
    second.until_ready("standing by").await;
    make(&relays, "one").await;
    assert_eq!(first.sum("relay_operator_leader", |_| true).await, 1.0);
    assert_eq!(second.sum("relay_operator_leader", |_| true).await, 0.0);
    assert_eq!(second.sum("relay_operator_reconciles_total", |_| true).await, 0.0, "it only waits");
    assert_eq!(holder().await, "first");

    let log = first.stop().await;
    assert!(log.contains("lease released"), "{log}");
    second.until_ready("ok").await;
    assert_eq!(holder().await, "second");
    make(&relays, "two").await;
    assert_eq!(second.sum("relay_operator_leader", |_| true).await, 1.0);
    second.stop().await;
    assert_eq!(holder().await, "", "nobody's");
}

#[tokio::test]
async fn one_that_dies_without_a_word_is_replaced_when_its_lease_has_run_out() {
    let first = Operator::start_and_lead("first", &SHORT).await;
    let second = Operator::start("second", &SHORT);
    second.until_ready("standing by").await;
    drop(first);
    until_held_by("second").await;
    second.until_ready("ok").await;
    // A container that starts anew in its pod has the same name, and need not wait.
    drop(second);
    let again = Operator::start_and_lead("second", &SHORT).await;
    assert!(!again.log().contains("another operator holds the lease"), "{}", again.log());
    again.stop().await;
}

#[tokio::test]
async fn one_whose_lease_is_taken_stops_writing_and_ends_to_start_anew() {
    let mut operator = Operator::start_and_lead("robbed", &SHORT).await;
    let leases = Api::<Lease>::namespaced(admin().await, "relay-operator");
    let holder = |name: &str| Patch::Merge(json!({"spec": {"holderIdentity": name}}));
    leases.patch("relay-operator", &PatchParams::default(), &holder("robber")).await.unwrap();
    assert!(!operator.ended().await.success());
    assert!(operator.log().contains("the lease is held by \"robber\" now"), "{}", operator.log());
    leases.patch("relay-operator", &PatchParams::default(), &holder("")).await.unwrap();
}

#[tokio::test]
async fn a_change_of_the_lease_that_leaves_its_holder_is_no_loss() {
    let operator = Operator::start_and_lead("holder", &SHORT).await;
    let leases = Api::<Lease>::namespaced(admin().await, "relay-operator");
    let renewed = async || leases.get("relay-operator").await.unwrap().spec.unwrap().renew_time;
    let note = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let before = renewed().await;
    leases.patch("relay-operator", &PatchParams::default(), &note).await.unwrap();
    until("a renewal", async || (renewed().await > before).then_some(())).await;
    operator.stop().await;
}

#[tokio::test]
async fn one_that_cannot_renew_its_lease_ends_before_others_may_take_it() {
    let api_server = std::env::var("APISERVER_PID").unwrap();
    let signal = |signal: &str| assert!(Command::new("kill").args([signal, &api_server]).status().unwrap().success());
    let mut operator = Operator::start_and_lead("cut-off", &SHORT).await;
    signal("-STOP");
    let ended = tokio::time::timeout(crate::PATIENCE, operator.ended()).await;
    signal("-CONT");
    assert!(!ended.unwrap().success());
    assert!(operator.log().contains("could not be renewed in time"), "{}", operator.log());
    until("the API server", async || admin().await.apiserver_version().await.ok()).await;
    let next = Operator::start_and_lead("next", &SHORT).await;
    next.stop().await;
}
