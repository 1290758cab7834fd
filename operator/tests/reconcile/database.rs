//! Stories of the database of decisions.

use relay_operator::relay::OptionalKind;
use serde_json::{Value, json};

use super::{RELAY, STATEFUL_SET, Story, minimal};

const CLUSTER: &str = "/apis/postgresql.cnpg.io/v1/namespaces/relays/clusters/demo-db";
const APP: &str = "/api/v1/namespaces/relays/secrets/demo-db-app";

fn cluster() -> Value {
    json!({"hostname": "relay.test", "database": {"cloudNativePG": {"instances": 1}}})
}

impl Story {
    /// CloudNativePG has made the database.
    fn database_is_made(&self) {
        // postgresql://relay:p@demo-db-rw.relays:5432/relay
        let uri = "cG9zdGdyZXNxbDovL3JlbGF5OnBAZGVtby1kYi1ydy5yZWxheXM6NTQzMi9yZWxheQ==";
        self.api.put(APP, json!({"metadata": {"name": "demo-db-app"}, "data": {"uri": uri}}));
        let mut cluster = self.api.get(CLUSTER);
        cluster["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        self.api.put(CLUSTER, cluster);
    }

    fn environment(&self) -> Value {
        self.api.get(STATEFUL_SET)["spec"]["template"]["spec"]["containers"][0]["env"].clone()
    }
}

#[tokio::test]
async fn a_relay_waits_for_the_database_that_is_made_for_it() {
    let story = Story::of(cluster()).await;
    story.reconcile().await.unwrap();
    for type_ in ["Ready", "DatabaseReady"] {
        assert_eq!(story.condition(type_), "False CRDNotInstalled");
    }
    assert_eq!(story.api.get(STATEFUL_SET), Value::Null);

    story.api.install(OptionalKind::PostgresCluster);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(CLUSTER)["spec"]["bootstrap"]["initdb"]["database"], "relay");
    for type_ in ["Ready", "DatabaseReady"] {
        assert_eq!(story.condition(type_), "False ClusterNotReady");
    }
    assert_eq!(story.api.get(STATEFUL_SET), Value::Null, "the pod waits for it");

    story.database_is_made();
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("DatabaseReady"), "True ClusterReady");
    assert_eq!(story.environment()[0]["valueFrom"]["secretKeyRef"], json!({"name": "demo-db-app", "key": "uri"}));
    assert_eq!(story.status()["database"], "CloudNativePG");

    let mut cluster = story.api.get(CLUSTER);
    cluster["status"]["conditions"][0] = json!({"type": "Ready", "status": "False", "message": "no primary"});
    story.api.put(CLUSTER, cluster);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("DatabaseReady"), "False ClusterNotReady");
}

#[tokio::test]
async fn a_database_outlives_its_relay_and_the_next_one_goes_on_with_it() {
    let story = Story::of(cluster()).await;
    story.api.install(OptionalKind::PostgresCluster);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(CLUSTER)["metadata"]["ownerReferences"], Value::Null);

    let mut relay = story.api.get(RELAY);
    relay["metadata"]["uid"] = json!("u-2");
    for path in [
        super::SERVICE_ACCOUNT,
        &story.config(),
        super::SERVICE,
        super::ADMIN_SERVICE,
        super::DISRUPTION_BUDGET,
        super::DASHBOARD,
        super::NETWORK_POLICY,
    ] {
        story.api.put(path, Value::Null);
    }
    story.api.put(RELAY, relay);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("DatabaseReady"), "False ClusterNotReady", "it is this Relay's now");
}

#[tokio::test]
async fn a_cluster_of_somebody_else_is_not_touched() {
    let story = Story::of(cluster()).await;
    story.api.install(OptionalKind::PostgresCluster);
    let theirs = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"name": "demo-db", "namespace": "relays"}, "spec": {"instances": 3},
    });
    story.api.put(CLUSTER, theirs.clone());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("DatabaseReady"), "False NameTaken");
    assert_eq!(story.api.get(CLUSTER), theirs);
}

#[tokio::test]
async fn another_database_is_not_taken_before_somebody_allows_it() {
    let story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    story.api.install(OptionalKind::PostgresCluster);
    story.api.writes();
    story.write(cluster());
    story.reconcile().await.unwrap();
    for type_ in ["Ready", "DatabaseReady"] {
        assert_eq!(story.condition(type_), "False DatabaseChangeRefused");
    }
    assert_eq!(story.status()["database"], "Embedded", "where the decisions are");
    assert_ne!(story.api.get(CLUSTER), Value::Null, "the new one is made, for the decisions to be copied to");
    story.database_is_made();
    story.reconcile().await.unwrap();
    assert_eq!(story.environment(), Value::Null, "the pod stays as it is");

    let mut relay = story.api.get(RELAY);
    relay["metadata"]["annotations"] = json!({"relay.waow.tech/change-database": "Embedded-to-CloudNativePG"});
    story.api.put(RELAY, relay);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("DatabaseReady"), "True ClusterReady");
    assert_eq!(story.environment()[0]["valueFrom"]["secretKeyRef"]["name"], "demo-db-app");

    story.write(minimal());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("DatabaseReady"), "False DatabaseChangeRefused", "the way back is another change");
    assert_ne!(story.api.get(CLUSTER), Value::Null, "nobody but a person deletes it");
}
