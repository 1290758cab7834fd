//! Relays among others: bad ones, many when the operator ends, and those that rest.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicResourceScope;
use kube::{Api, Resource, ResourceExt};
use relay_operator::api::Relay;
use serde_json::json;

use crate::operator::Operator;
use crate::{admin, namespace, pods, ready, relay, relay_value, until};

const DEFINITION: &str = "relays.relay.waow.tech";

fn dynamic(client: &kube::Client, namespace: &str) -> Api<DynamicObject>
where
    DynamicObject: Resource<Scope = DynamicResourceScope>,
{
    Api::namespaced_with(client.clone(), namespace, &kube::api::ApiResource::erase::<Relay>(&()))
}

#[tokio::test]
async fn an_object_that_is_no_relay_does_not_stop_the_others() {
    let client = admin().await;
    let namespace = namespace(&client, "bad").await;
    let relays = Api::<Relay>::namespaced(client.clone(), &namespace);
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let good = definitions.get(DEFINITION).await.unwrap();
    // A definition that checks nothing, as an older one might.
    let mut loose = good.clone();
    let schema = loose.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
    let spec = schema.properties.as_mut().unwrap().get_mut("spec").unwrap();
    *spec = serde_json::from_value(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).unwrap();
    schema.x_kubernetes_validations = None;
    definitions.replace(DEFINITION, &PostParams::default(), &loose).await.unwrap();
    let bad: DynamicObject = serde_json::from_value(relay_value("bad", json!({"hostname": 7}))).unwrap();
    let any = dynamic(&client, &namespace);
    until("a definition that checks nothing", async || any.create(&PostParams::default(), &bad).await.ok()).await;

    let operator = Operator::start_and_lead("op", &["--namespace", &namespace]).await;
    for name in ["good", "better"] {
        relays.create(&PostParams::default(), &relay(name)).await.unwrap();
        until(name, async || ready(&relays.get(name).await.ok()?)).await;
    }
    let failed = |labels: &std::collections::BTreeMap<String, String>| labels["reason"] == "Undecodable";
    assert!(operator.sum("relay_operator_reconcile_errors_total", failed).await >= 1.0);
    // It becomes one, and is served.
    let repaired = Patch::Merge(json!({"spec": {"hostname": "bad.test"}}));
    relays.patch("bad", &PatchParams::default(), &repaired).await.unwrap();
    until("the repaired Relay", async || ready(&relays.get("bad").await.ok()?)).await;
    operator.stop().await;

    let mut back = definitions.get(DEFINITION).await.unwrap();
    back.spec = good.spec;
    definitions.replace(DEFINITION, &PostParams::default(), &back).await.unwrap();
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_is_under_way() {
    const RELAYS: usize = 60;
    let client = admin().await;
    let namespace = namespace(&client, "stop").await;
    let relays = Api::<Relay>::namespaced(client.clone(), &namespace);
    for number in 0..RELAYS {
        relays.create(&PostParams::default(), &relay(&format!("r{number}"))).await.unwrap();
    }
    let operator = Operator::start_and_lead("op", &["--namespace", &namespace]).await;
    let stateful_sets = Api::<StatefulSet>::namespaced(client, &namespace);
    let none = ListParams::default();
    until("a StatefulSet", async || (!stateful_sets.list(&none).await.unwrap().items.is_empty()).then_some(())).await;
    let log = operator.stop().await;
    assert!(!log.contains("takes too long"), "{log}");
    let made: Vec<String> = stateful_sets.list(&none).await.unwrap().iter().map(ResourceExt::name_any).collect();
    for relay in relays.list(&none).await.unwrap() {
        // The status is a reconcile's last word, the StatefulSet its last object.
        let is_reported = ready(&relay).is_some();
        assert_eq!(made.contains(&relay.name_any()), is_reported, "{} is whole, or untouched", relay.name_any());
    }
    assert!(made.len() < RELAYS || RELAYS < 32, "it was stopped in the midst of them, else this shows nothing");
}

#[tokio::test]
async fn relays_that_rest_cost_the_api_server_nothing_and_the_log_is_silent() {
    const RELAYS: usize = 5;
    let client = admin().await;
    let namespace = namespace(&client, "rest").await;
    let relays = Api::<Relay>::namespaced(client.clone(), &namespace);
    let operator = Operator::start_and_lead("op", &["--namespace", &namespace]).await;
    let _asked = pods::serve(pods::Mood::Still).await;
    for number in 0..RELAYS {
        relays.create(&PostParams::default(), &relay(&format!("r{number}"))).await.unwrap();
    }
    pods::run(&client, &namespace, RELAYS).await;
    let spent = async || {
        let of_relays = |labels: &std::collections::BTreeMap<String, String>| {
            labels["resource"] != "leases" && !["watch", "list"].contains(&labels["verb"].as_str())
        };
        operator.sum("relay_operator_api_requests_total", of_relays).await
    };
    let reconciles = async || operator.sum("relay_operator_reconciles_total", |_| true).await;
    // Let the last news of the pods pass.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (before, log, first) = (spent().await, operator.log(), reconciles().await);
    until("two rounds of reconciles", async || (reconciles().await >= first + 2.0 * RELAYS as f64).then_some(())).await;
    assert_eq!(spent().await, before, "of Relays and what belongs to them");
    assert_eq!(operator.log(), log);
    let conditions = operator.figures().await;
    let is_ready = |figure: &&crate::operator::Figure| {
        figure.name == "relay_operator_relay_condition"
            && figure.labels["namespace"] == namespace
            && (figure.labels["type"].as_str(), figure.labels["status"].as_str()) == ("Ready", "True")
    };
    assert_eq!(conditions.iter().filter(is_ready).count(), RELAYS);
    // With a Relay its figures go.
    relays.delete("r0", &kube::api::DeleteParams::default()).await.unwrap();
    until("figures without r0", async || {
        let figures = operator.figures().await;
        figures.iter().all(|figure| figure.labels.get("relay").is_none_or(|relay| relay != "r0")).then_some(())
    })
    .await;
    operator.stop().await;
}
