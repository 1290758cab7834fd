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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes: make scale"]
async fn scale() {
    let client = admin().await;
    let sizes = std::env::var("SCALE_RELAYS").unwrap_or_else(|_| "50 100 200 500".into());
    let rest = Duration::from_secs(setting("SCALE_REST_SECONDS", 60));
    let _asked = pods::serve(pods::Mood::Busy).await;
    println!("| Relays | converged | reads, writes per Relay | CPU per Relay | memory, empty | after | peak |");
    println!("|---|---|---|---|---|---|---|");
    let mut at_rest = Vec::new();
    for count in sizes.split_whitespace().map(|size| size.parse::<usize>().unwrap()) {
        let namespace = namespace(&client, "scale").await;
        let operator = Operator::start_and_lead("op", &["--namespace", &namespace, "--lease-seconds", "60"]).await;
        let empty = operator.kibibytes("VmRSS");
        let (cpu, reads, writes) =
            (operator.cpu_seconds(), requests(&operator, &READS).await, requests(&operator, &WRITES).await);
        let relays = Api::<Relay>::namespaced(client.clone(), &namespace);
        let started = Instant::now();
        stream::iter(0..count)
            .for_each_concurrent(8, |number| {
                let relays = relays.clone();
                async move {
                    relays.create(&PostParams::default(), &relay(&format!("r{number}"))).await.unwrap();
                }
            })
            .await;
        until_all(&client, &namespace, count, |relay| ready(relay).is_some()).await;
        let converged = started.elapsed().as_secs_f64();
        let each = count as f64;
        let reads = (requests(&operator, &READS).await - reads) / each;
        let writes = (requests(&operator, &WRITES).await - writes) / each;
        let cpu = (operator.cpu_seconds() - cpu) * 1000.0 / each;
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (after, peak) = (mib(operator.kibibytes("VmRSS")), mib(operator.kibibytes("VmHWM")));
        println!(
            "| {count} | {converged:.1} s | {reads:.1}, {writes:.1} | {cpu:.1} ms | {:.1} MiB | {after:.1} MiB | {peak:.1} MiB |",
            mib(empty)
        );

        pods::run(&client, &namespace, count).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (cpu, reads, writes) =
            (operator.cpu_seconds(), requests(&operator, &READS).await, requests(&operator, &WRITES).await);
        tokio::time::sleep(rest).await;
        let per_hour = 3600.0 / rest.as_secs_f64();
        let reads = (requests(&operator, &READS).await - reads) * per_hour / each;
        let writes = (requests(&operator, &WRITES).await - writes) * per_hour / each;
        let cpu = (operator.cpu_seconds() - cpu) / rest.as_secs_f64() * 100.0;
        let (after, peak) = (mib(operator.kibibytes("VmRSS")), mib(operator.kibibytes("VmHWM")));
        operator.stop().await;

        let again = Operator::start_and_lead("op", &["--namespace", &namespace, "--lease-seconds", "60"]).await;
        let started = Instant::now();
        while again.sum("relay_operator_reconciles_total", |_| true).await < each {
            assert!(started.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let seen = started.elapsed().as_secs_f64();
        let restarted = mib(again.kibibytes("VmHWM"));
        again.stop().await;
        at_rest.push(format!(
            "| {count} | {reads:.1}, {writes:.1} | {cpu:.2} % | {after:.1} MiB | {peak:.1} MiB | {seen:.1} s | {restarted:.1} MiB |"
        ));
    }
    println!("\nAt rest for {} s, with a pod and events for each:\n", rest.as_secs());
    println!(
        "| Relays | reads, writes per Relay and hour | CPU | memory | peak | all seen after a restart | peak of that |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!("{}", at_rest.join("\n"));
}
