//! Alerts and metrics under Prometheus' own tool, promtool: every alert fires when it should and not before, and what is
//! exposed has the form that it should. No cluster is needed.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "monitoring/cases.rs"]
mod cases;
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cases::{CASES, Case, OPERATOR_CASES};
use common::prometheus::{check_dashboard, check_metrics, promtool};
use common::relay::Relay;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// Golden PrometheusRules of the operator, by program.
const RULES: [(&str, &str); 3] = [("Bundled", "minimal"), ("Indigo", "indigo"), ("Zlay", "zlay")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The `spec` of a golden PrometheusRule.
fn golden(case: &str) -> Result<Value> {
    let file = format!("relay_operator__relay__build__tests__{case}-PrometheusRule-demo.snap");
    let path = root().join("operator/src/relay/build/snapshots").join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, yaml) = text.rsplit_once("---\n").context("a snapshot has a head")?;
    Ok(serde_yaml_ng::from_str::<Value>(yaml)?["spec"].clone())
}

/// The `spec` of the PrometheusRule that the chart installs.
async fn charted() -> Result<Value> {
    let mut helm = Command::new("helm");
    helm.args(["template", "relay-operator"]).arg(root().join("charts/relay-operator"));
    helm.args(["--namespace", "relays", "--kube-version", "1.36.0", "--api-versions", "monitoring.coreos.com/v1"]);
    let output = helm.args(["--show-only", "templates/monitoring.yaml"]).output().await.context("cannot run helm")?;
    ensure!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    for document in serde_yaml_ng::Deserializer::from_slice(&output.stdout) {
        let object = <Value as serde::Deserialize>::deserialize(document)?;
        if object["kind"] == "PrometheusRule" {
            return Ok(object["spec"].clone());
        }
    }
    anyhow::bail!("the chart has no PrometheusRule")
}

fn rules(spec: &Value) -> impl Iterator<Item = &Value> {
    let groups = spec["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap())
}

fn names(spec: &Value) -> BTreeSet<&str> {
    rules(spec).map(|rule| rule["alert"].as_str().unwrap()).collect()
}

/// Checks the rules, and that each does what the cases say, and that there is a case of each.
async fn check(program: &str, spec: &Value, cases: &[&Case]) -> Result<()> {
    let covered: BTreeSet<&str> = cases.iter().filter(|case| case.fires.is_some()).map(|case| case.alert).collect();
    ensure!(names(spec) == covered, "{program}: alerts {:?}, cases of {covered:?}", names(spec));
    let folder = TempDir::new()?;
    fs::write(folder.path().join("rules.yaml"), serde_yaml_ng::to_string(spec)?)?;
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"], folder.path(), b"").await?;
    let tests: Vec<Value> = cases.iter().map(|case| case.test(program, spec)).collect();
    let tests = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests});
    fs::write(folder.path().join("tests.yaml"), serde_yaml_ng::to_string(&tests)?)?;
    promtool(&["test", "rules", "tests.yaml"], folder.path(), b"").await.with_context(|| program.to_owned())
}

#[tokio::test]
async fn every_alert_fires_when_it_should_and_not_before() -> Result<()> {
    for (program, case) in RULES {
        let cases: Vec<&Case> = CASES.iter().filter(|case| case.of.contains(&program)).collect();
        check(program, &golden(case)?, &cases).await?;
    }
    Ok(())
}

#[tokio::test]
async fn so_do_those_of_the_operator() -> Result<()> {
    check("Operator", &charted().await?, &OPERATOR_CASES.iter().collect::<Vec<_>>()).await
}

#[tokio::test]
async fn every_alert_has_a_page_and_every_page_an_alert() -> Result<()> {
    let mut alerts: BTreeSet<String> = names(&charted().await?).into_iter().map(str::to_owned).collect();
    for (_, case) in RULES {
        let spec = golden(case)?;
        alerts.extend(names(&spec).into_iter().map(str::to_owned));
        for rule in rules(&spec) {
            let name = rule["alert"].as_str().unwrap();
            assert_eq!(rule["annotations"]["runbook_url"], format!("docs/runbook/{name}.md"));
        }
    }
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(root().join("docs/runbook"))? {
        let name = entry?.file_name().into_string().unwrap();
        let name = name.strip_suffix(".md").with_context(|| format!("{name} is no page"))?;
        pages.insert(name.to_owned());
    }
    pages.remove("README");
    assert_eq!(pages, alerts);
    Ok(())
}

#[tokio::test]
async fn grafana_knows_every_field_of_the_dashboards() -> Result<()> {
    let folder = root().join("operator/src/relay/build/monitoring/dashboard/snapshots");
    for implementation in ["bundled", "indigo", "zlay"] {
        let name = format!("relay_operator__relay__build__monitoring__dashboard__tests__{implementation}.snap");
        let text = fs::read_to_string(folder.join(&name)).with_context(|| format!("cannot read {name}"))?;
        let (_, dashboard) = text.rsplit_once("---\n").context("a snapshot has a head")?;
        check_dashboard(dashboard).await.context(implementation)?;
        let wrong = dashboard.replace("\"graphTooltip\"", "\"graphTooltips\"");
        assert!(check_dashboard(&wrong).await.is_err(), "a field that Grafana does not know");
    }
    Ok(())
}

#[tokio::test]
async fn the_metrics_of_the_relay_are_well_formed() -> Result<()> {
    let relay = Relay::start("http://127.0.0.1:9").await?;
    let metrics = relay.metrics().await?;
    assert!(metrics.contains("relay_memory_part_bytes{"), "{metrics}");
    check_metrics(&metrics).await
}
