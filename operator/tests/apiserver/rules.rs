//! The chart's rules of access are what is needed: `figures` finds that nothing was refused, and this that nothing is idle.

#[path = "../reconcile/rules.rs"]
mod chart;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use relay_operator::relay::OptionalKind;
use serde_json::json;

use crate::operator::{ASKED, Operator};
use crate::{admin, namespace, until};

/// What nobody asks for where no pod runs and nothing measures; stories and the end-to-end suites do.
const NEEDS_A_NODE: [(&str, &str); 5] = [
    ("", "pods/resize"),
    ("", "pods/eviction"),
    ("metrics.k8s.io", "pods"),
    ("", "pods"),
    ("apps", "controllerrevisions"),
];

/// A definition of `kind` that checks nothing.
fn definition(kind: OptionalKind) -> CustomResourceDefinition {
    let resource = kind.resource();
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    serde_json::from_value(json!({
        "metadata": {
            "name": kind.definition(),
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": resource.group, "scope": "Namespaced",
            "names": {"kind": resource.kind, "plural": resource.plural},
            "versions": [{"name": resource.version, "served": true, "storage": true, "schema": schema}],
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn every_resource_of_the_chart_s_rules_is_asked_for_and_optional_kinds_come_and_go() {
    let client = admin().await;
    let namespace = namespace(&client, "rules").await;
    let operator = Operator::start_and_lead("op", &["--namespace", &namespace]).await;
    let known = async || operator.sum("relay_operator_optional_kind", |_| true).await;
    assert_eq!(known().await, 0.0);
    let definitions = Api::<CustomResourceDefinition>::all(client);
    for kind in OptionalKind::ALL {
        definitions.create(&PostParams::default(), &definition(kind)).await.unwrap();
    }
    let all = OptionalKind::ALL.len() as f64;
    until("all optional kinds", async || (known().await == all).then_some(())).await;
    until("their objects", async || {
        operator.figures().await;
        let asked = ASKED.lock().unwrap();
        let is_watched = |kind: &OptionalKind| {
            let resource = kind.resource();
            asked.contains(&("watch".into(), resource.group, resource.plural))
        };
        OptionalKind::ALL.iter().all(is_watched).then_some(())
    })
    .await;
    for kind in OptionalKind::ALL {
        definitions.delete(&kind.definition(), &DeleteParams::default()).await.unwrap();
    }
    until("no optional kind", async || (known().await == 0.0).then_some(())).await;
    operator.stop().await;

    // What the tests before this one have asked for counts too: run all of them, in their order.
    let asked = ASKED.lock().unwrap();
    let mut idle = Vec::new();
    for rule in chart::RULES.iter() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let is_asked =
                    asked.iter().any(|(verb, of, what)| of == group && what == resource && rule.verbs.contains(verb));
                if !is_asked && !NEEDS_A_NODE.contains(&(group, resource)) {
                    idle.push(format!("{resource}.{group}"));
                }
            }
        }
    }
    assert_eq!(idle, Vec::<String>::new(), "rules of charts/relay-operator/templates/rbac.yaml that nothing asks for");
}
