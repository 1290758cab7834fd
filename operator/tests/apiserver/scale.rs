//! What many Relays cost. `make scale` runs this, and docs/explanation/operator-scale.md has what it said.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use relay_operator::api::Relay;

use crate::operator::Operator;
use crate::{admin, namespace, pods, ready, relay};

/// Longest time for one step.
const PATIENCE: Duration = Duration::from_secs(600);

/// A number of the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Requests so far that are neither for the lease nor watches that begin anew.
async fn requests(operator: &Operator, verbs: &[&str]) -> f64 {
    let pick =
        |labels: &BTreeMap<String, String>| labels["resource"] != "leases" && verbs.contains(&labels["verb"].as_str());
    operator.sum("relay_operator_api_requests_total", pick).await
}

const READS: [&str; 3] = ["get", "list", "watch"];
const WRITES: [&str; 4] = ["create", "patch", "update", "delete"];

async fn until_all(client: &Client, namespace: &str, count: usize, is_so: impl Fn(&Relay) -> bool) {
    let relays = Api::<Relay>::namespaced(client.clone(), namespace);
    let started = Instant::now();
    while relays.list(&ListParams::default()).await.unwrap().iter().filter(|relay| is_so(relay)).count() < count {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What an operator has used by some time.
struct Used {
    cpu: f64,
    reads: f64,
    writes: f64,
}

async fn used(operator: &Operator) -> Used {
    Used {
        cpu: operator.cpu_seconds(),
        reads: requests(operator, &READS).await,
        writes: requests(operator, &WRITES).await,
    }
}

impl Used {
    fn since(&self, before: &Self) -> Self {
        Self { cpu: self.cpu - before.cpu, reads: self.reads - before.reads, writes: self.writes - before.writes }
    }
}

/// Memory now, and at most, in MiB.
fn memory(operator: &Operator) -> (f64, f64) {
    let mib = |field| operator.kibibytes(field) as f64 / 1024.0;
    (mib("VmRSS"), mib("VmHWM"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes: make scale"]
async fn scale() {
    let client = admin().await;
    let sizes = std::env::var("SCALE_RELAYS").unwrap_or_else(|_| "50 100 200 500".into());
    let rest = Duration::from_secs(setting("SCALE_REST_SECONDS", 60));
    let _asked = pods::serve(pods::Mood::Busy).await;
    for count in sizes.split_whitespace().map(|size| size.parse::<usize>().unwrap()) {
        let namespace = namespace(&client, "scale").await;
        let options = ["--namespace", &namespace];
        let operator = Operator::start_and_lead("op", &options).await;
        let (empty, _) = memory(&operator);
        let before = used(&operator).await;
        let started = Instant::now();
        make(&client, &namespace, count).await;
        until_all(&client, &namespace, count, |relay| ready(relay).is_some()).await;
        let converged = started.elapsed().as_secs_f64();
        let each = count as f64;
        let Used { cpu, reads, writes } = used(&operator).await.since(&before);
        let (after, peak) = memory(&operator);
        println!(
            "{count} Relays made in {converged:.1} s; for each {:.1} reads, {:.1} writes, {:.1} ms of CPU; \
             memory {empty:.1} MiB before, {after:.1} MiB after, at most {peak:.1} MiB",
            reads / each,
            writes / each,
            cpu * 1000.0 / each
        );

        pods::run(&client, &namespace, count).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let before = used(&operator).await;
        tokio::time::sleep(rest).await;
        let Used { cpu, reads, writes } = used(&operator).await.since(&before);
        let hours = rest.as_secs_f64() / 3600.0;
        let (after, peak) = memory(&operator);
        println!(
            "  at rest for {} s, with pods and events: for each and an hour {:.1} reads, {:.1} writes; {:.2} % of a core; \
             memory {after:.1} MiB, at most {peak:.1} MiB",
            rest.as_secs(),
            reads / each / hours,
            writes / each / hours,
            cpu / rest.as_secs_f64() * 100.0
        );
        operator.stop().await;

        let again = Operator::start_and_lead("op", &options).await;
        let started = Instant::now();
        while again.sum("relay_operator_reconciles_total", |_| true).await < each {
            assert!(started.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let (_, peak) = memory(&again);
        println!(
            "  after a restart, all seen in {:.1} s; memory at most {peak:.1} MiB",
            started.elapsed().as_secs_f64()
        );
        again.stop().await;
    }
}

async fn make(client: &Client, namespace: &str, count: usize) {
    let relays = &Api::<Relay>::namespaced(client.clone(), namespace);
    stream::iter(0..count)
        .for_each_concurrent(8, |number| async move {
            relays.create(&PostParams::default(), &relay(&format!("r{number}"))).await.unwrap();
        })
        .await;
}
