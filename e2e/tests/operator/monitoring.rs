//! Monitoring of a relay, with a real Prometheus: the Prometheus operator makes its configuration of the ServiceMonitor and
//! the PrometheusRule that our operator has made, and what the dashboard asks is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::common::deployed::Deployed;
use crate::common::fake_directory::Directory;
use crate::common::prometheus::{Access, Prometheus, check_metrics, said};
use crate::common::{Cluster, condition_of, env, until, until_within};

/// The relay that is looked at.
const NAME: &str = "e2e-monitored";
/// Name of the Prometheus, for the Prometheus operator.
const PROMETHEUS: &str = "e2e";
/// Where the chart's operator is.
const OPERATOR_NAMESPACE: &str = "relay-operator";
/// What Grafana would put for the time that a rate is over, at this rate of scrapes.
const RATE_INTERVAL: &str = "1m";
/// Time within which every series has two samples in that: the kubelet measures containers every ten seconds or so.
const SERIES_PATIENCE: Duration = Duration::from_secs(180);

/// The panel of a relay that has never ended is empty.
const EMPTY_WHEN_WELL: &str = "Restarts";

/// Selectors of alerts that find nothing in a relay that is well.
const NOT_WHEN_WELL: [&str; 3] =
    ["relay_memory_seconds_to_limit{", "relay_operator_relay_restarts_total{", "relay_events_dropped_total{"];

#[tokio::test]
async fn a_prometheus_finds_what_dashboard_and_alerts_ask_for() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let folder = TempDir::new()?;
    let crds = env("E2E_PROMETHEUS_OPERATOR_CRDS")?;
    until("the relay says that the cluster has no Prometheus operator", || async {
        Ok(monitored(&cluster, &cluster.name).await?.filter(|found| found == "False CRDNotInstalled"))
    })
    .await?;
    cluster.wait_for_condition(&cluster.name, "Ready").await?;

    said(Command::new("kubectl").args(["apply", "--server-side", "--filename", &crds])).await?;
    // It looks once, at its start, which kinds there are.
    said(Command::new("kubectl").args(["wait", "--for=condition=Established", "--timeout=60s", "--filename", &crds]))
        .await?;
    let result = look(&cluster, folder.path()).await;
    if result.is_err() {
        let log = fs::read_to_string(folder.path().join("operator.log")).unwrap_or_default();
        eprintln!("The Prometheus operator says:\n{}", log.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
    }
    Deployed::named(&cluster, NAME)?.delete().await?;
    said(Command::new("kubectl").args(["delete", "--ignore-not-found", "--filename", &crds])).await?;
    result?;

    until("the relay says that they are gone again", || async {
        Ok(monitored(&cluster, &cluster.name).await?.filter(|found| found == "False CRDNotInstalled"))
    })
    .await?;
    Ok(())
}

async fn look(cluster: &Cluster, folder: &Path) -> Result<()> {
    let access = Access::write(folder).await?;
    let _operator = access.start_operator(&folder.join("operator.log"))?;
    let directory = Directory::start(&cluster.node_ip, 95).await?;
    directory.let_pages(2); // the job goes on, and is not done
    Deployed::create(cluster, NAME, spec(cluster, &directory)?).await?;
    cluster.wait_for_condition(NAME, "Ready").await?;
    cluster.wait_for_condition(NAME, "Monitored").await?;
    install_the_charts_monitor(folder).await?;
    make_prometheus(cluster).await?;

    let volume = play_the_volume(cluster).await?;
    let config = until("the Prometheus operator has made a configuration of it", || configuration(cluster)).await?;
    write_rules(cluster, folder).await?;
    let config = completed(config, cluster, &access, folder, &volume)?;
    fs::write(folder.join("prometheus.yaml"), serde_yaml_ng::to_string(&config)?)?;
    let prometheus = Prometheus::start(folder).await?;
    until("Prometheus reads relay and operator", || async {
        let relay =
            prometheus.query(&format!(r#"up{{namespace="{}",relay="{NAME}"}} == 1"#, cluster.namespace)).await?;
        let operator = prometheus.query(r#"up{job="relay-operator-metrics"} == 1"#).await?;
        Ok((relay.len() == 1 && operator.len() == 1).then_some(()))
    })
    .await?;

    answers_the_dashboard(cluster, &prometheus).await?;
    evaluates_the_alerts(cluster, &prometheus).await?;
    check_metrics(&metrics_of_the_operator(cluster).await?).await
}

fn spec(cluster: &Cluster, directory: &Directory) -> Result<Value> {
    let host = cluster.pds_urls.first().context("no PDS")?.trim_start_matches("http://");
    Ok(json!({
        "hostname": "monitored.test",
        "memory": {"request": "128Mi", "limit": "256Mi"},
        "storage": {"size": "1Gi"},
        "plcURL": cluster.place.plc,
        "upstream": {"hosts": [host], "allowInsecureHosts": true},
        "backfill": {
            "sources": [{"url": directory.url, "requestsPerSecond": 100}],
            "collections": {"names": ["com.example.like"]},
        },
    }))
}

/// Status and reason of the condition Monitored.
async fn monitored(cluster: &Cluster, relay: &str) -> Result<Option<String>> {
    let relay = cluster.relays().get(relay).await?;
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    Ok(condition_of(&relay, "Monitored").map(|found| format!("{} {}", text(found, "status"), text(found, "reason"))))
}

/// What `helm upgrade` would add, now that the cluster knows the kinds.
async fn install_the_charts_monitor(folder: &Path) -> Result<()> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/relay-operator");
    let mut helm = Command::new("helm");
    helm.args(["template", "relay-operator", chart, "--namespace", OPERATOR_NAMESPACE, "--kube-version", "1.36.0"]);
    helm.args(["--api-versions", "monitoring.coreos.com/v1", "--show-only", "templates/monitoring.yaml"]);
    let file = folder.join("chart.yaml");
    fs::write(&file, said(&mut helm).await?)?;
    said(Command::new("kubectl").args(["apply", "--server-side", "--filename"]).arg(file)).await?;
    Ok(())
}

/// A Prometheus without a pod: the Prometheus operator makes its configuration, and the test runs it.
async fn make_prometheus(cluster: &Cluster) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "Prometheus"));
    let resource = ApiResource { plural: "prometheuses".into(), ..resource };
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let spec = json!({
        "replicas": 0, "scrapeInterval": "2s", "evaluationInterval": "2s",
        "serviceMonitorSelector": {}, "serviceMonitorNamespaceSelector": {},
        "ruleSelector": {}, "ruleNamespaceSelector": {},
    });
    let object = DynamicObject::new(PROMETHEUS, &resource).data(json!({ "spec": spec }));
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

/// The configuration, once the relay and the operator are in it.
async fn configuration(cluster: &Cluster) -> Result<Option<Value>> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = secrets.get(&format!("prometheus-{PROMETHEUS}")).await?;
    let packed = secret.data.unwrap_or_default().remove("prometheus.yaml.gz").context("no configuration")?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), packed.0)?;
    let yaml = said(Command::new("gzip").arg("-dc").stdin(fs::File::open(file.path())?)).await?;
    // In a pod, the reloader beside Prometheus puts the number of its shard there.
    let yaml = String::from_utf8(yaml)?.replace("$(SHARD)", "0");
    let config: Value = serde_yaml_ng::from_str(&yaml)?;
    let jobs: BTreeSet<&str> =
        config["scrape_configs"].as_array().into_iter().flatten().filter_map(|job| job["job_name"].as_str()).collect();
    let wanted = [
        format!("serviceMonitor/{}/{NAME}/0", cluster.namespace),
        format!("serviceMonitor/{OPERATOR_NAMESPACE}/relay-operator/0"),
    ];
    ensure!(wanted.iter().all(|job| jobs.contains(job.as_str())), "there are {jobs:?}");
    Ok(Some(config))
}

/// The rules, as the Prometheus operator has gathered them.
async fn write_rules(cluster: &Cluster, folder: &Path) -> Result<()> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let rules = until("the rules are gathered", || async {
        let found = config_maps.get(&format!("prometheus-{PROMETHEUS}-rulefiles-0")).await?.data.unwrap_or_default();
        let is_there = found.keys().any(|name| name.contains(NAME));
        Ok(is_there.then_some(found))
    })
    .await?;
    fs::create_dir(folder.join("rules"))?;
    for (name, text) in rules {
        fs::write(folder.join("rules").join(name), text)?;
    }
    Ok(())
}

/// The configuration as it is for a Prometheus outside of the cluster, with what a cluster's own Prometheus reads beside:
/// the kubelet.
fn completed(mut config: Value, cluster: &Cluster, access: &Access, folder: &Path, volume: &str) -> Result<Value> {
    config["rule_files"] = json!([folder.join("rules/*.yaml")]);
    let kubeconfig = env("KUBECONFIG")?;
    let jobs = config["scrape_configs"].as_array_mut().context("no jobs")?;
    for job in jobs.iter_mut() {
        for discovery in job["kubernetes_sd_configs"].as_array_mut().into_iter().flatten() {
            discovery["kubeconfig_file"] = json!(kubeconfig);
        }
    }
    jobs.push(json!({
        "job_name": "kubelet", "scheme": "https", "metrics_path": "/metrics/cadvisor",
        "static_configs": [{"targets": [format!("{}:10250", cluster.node_ip)]}],
        "tls_config": {"ca_file": access.ca, "cert_file": access.certificate, "key_file": access.key},
    }));
    jobs.push(json!({"job_name": "volume", "static_configs": [{"targets": [volume]}]}));
    Ok(config)
}

/// Measures the relay's volume in place of the kubelet, which can do it for volumes of a CSI driver, but not for a folder of
/// the node.
async fn play_the_volume(cluster: &Cluster) -> Result<String> {
    let labels = format!(r#"namespace="{}",persistentvolumeclaim="data-{NAME}-0""#, cluster.namespace);
    let figures = [("used", 300_000_000_u64), ("available", 700_000_000), ("capacity", 1_000_000_000)];
    let lines = figures.map(|(what, bytes)| format!("kubelet_volume_stats_{what}_bytes{{{labels}}} {bytes}\n"));
    let text = lines.concat();
    let listener = TcpListener::bind((&*cluster.node_ip, 0)).await?;
    let address = listener.local_addr()?.to_string();
    let router = Router::new().route("/metrics", get(|| async { text }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Every query of every panel has an answer.
async fn answers_the_dashboard(cluster: &Cluster, prometheus: &Prometheus) -> Result<()> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let files = config_maps.get(&format!("{NAME}-dashboard")).await?.data.unwrap_or_default();
    let text = files.values().next().context("the ConfigMap holds no dashboard")?;
    let dashboard: Value = serde_json::from_str(text)?;
    let mut queries = BTreeMap::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        if panel["title"] == EMPTY_WHEN_WELL {
            continue;
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let name = format!("{} {}", panel["title"], target["refId"]);
            queries.insert(name, target["expr"].as_str().unwrap().replace("$__rate_interval", RATE_INTERVAL));
        }
    }
    ensure!(queries.len() >= 18, "the dashboard has few queries: {queries:?}");
    until_within(SERIES_PATIENCE, "every panel has data", || async {
        let mut empty = Vec::new();
        for (name, expr) in &queries {
            if prometheus.query(expr).await?.is_empty() {
                empty.push(format!("{name}: {expr}"));
            }
        }
        ensure!(empty.is_empty(), "no data: {empty:#?}");
        Ok(Some(()))
    })
    .await
}

/// Every alert is evaluated, on series that there are.
async fn evaluates_the_alerts(cluster: &Cluster, prometheus: &Prometheus) -> Result<()> {
    let group = format!("{}/{NAME}", cluster.namespace);
    let data = prometheus.ask("rules", &[("rule_group[]", &group)]).await?;
    let rules: Vec<&Value> =
        data["groups"].as_array().into_iter().flatten().flat_map(|g| g["rules"].as_array().unwrap()).collect();
    ensure!(rules.len() >= 10, "few rules: {data}");
    for rule in rules {
        ensure!(rule["health"] == "ok", "{rule}");
        ensure!(rule["state"] != "firing", "a relay that is well has no alert: {rule}");
        let expr = rule["query"].as_str().unwrap();
        for selector in selectors(expr) {
            if !NOT_WHEN_WELL.iter().any(|except| selector.starts_with(except)) {
                let found = prometheus.query(&selector).await?;
                ensure!(!found.is_empty(), "{} asks for {selector}, which nothing exposes", rule["name"]);
            }
        }
    }
    Ok(())
}

/// The selectors of an expression, without the windows behind them.
fn selectors(expr: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let braces = expr.match_indices('{').map(|(at, _)| at);
    braces
        .map(|at| {
            let name = expr[..at].rfind(|c| !is_name(c)).map_or(0, |before| before + 1);
            let end = expr[at..].find('}').map_or(expr.len(), |end| at + end + 1);
            expr[name..end].to_owned()
        })
        .collect()
}

async fn metrics_of_the_operator(cluster: &Cluster) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/name=relay-operator")).await?;
    let pod = pods.items.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).context("no operator")?;
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let url = format!("http://{}:8080/metrics", ip.with_context(|| format!("{} has no address", pod.name_any()))?);
    let answer = reqwest::Client::builder().no_proxy().build()?.get(url).send().await?;
    Ok(answer.error_for_status()?.text().await?)
}

#[test]
fn selectors_are_found_in_an_expression() {
    let expr = r#"max(a_b{x="1"} - c:d{}) / sum(rate(e{y=~"f|g"}[6h])) < 5 or vector(0)"#;
    assert_eq!(selectors(expr), [r#"a_b{x="1"}"#, "c:d{}", r#"e{y=~"f|g"}"#]);
}
