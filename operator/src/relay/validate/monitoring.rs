//! What Prometheus and Grafana get to see.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invalid, check, duration};
use crate::api::{AlertsSpec, DashboardsSpec, INTERVAL_SHORT, MonitoringSpec, ServiceMonitorSpec, patterns};

/// Longest time between two scrapes.
const INTERVAL_MAX: Duration = Duration::from_secs(120);
/// Most labels that may be added to an object.
const LABELS_MAX: usize = 16;
/// Domain of the labels that are the operator's own.
const OWN_LABELS: &str = "app.kubernetes.io/";
/// Most characters of a folder's name.
const FOLDER_MAX: usize = 63;
/// Where the pages of the runbook are, where the spec does not say.
const RUNBOOKS: &str = "docs/runbook";

/// Objects for Prometheus and Grafana; what is `None` is not wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitoring {
    /// The ServiceMonitor.
    pub service_monitor: Option<Scrape>,
    /// The PrometheusRule.
    pub alerts: Option<Alerts>,
    /// The dashboard.
    pub dashboards: Option<Dashboards>,
}

/// A ServiceMonitor.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// Its labels beside the operator's.
    pub labels: BTreeMap<String, String>,
    /// Time between two scrapes, where it is not Prometheus' own.
    pub interval: Option<String>,
}

/// A PrometheusRule.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// Its labels beside the operator's.
    pub labels: BTreeMap<String, String>,
    /// Where the pages of the runbook are.
    pub runbooks: String,
}

/// A ConfigMap with a dashboard.
#[derive(Clone, Debug, PartialEq)]
pub struct Dashboards {
    /// Its labels beside the operator's.
    pub labels: BTreeMap<String, String>,
    /// Folder in Grafana.
    pub folder: String,
}

pub(super) fn monitoring(spec: &MonitoringSpec) -> Result<Monitoring, Invalid> {
    let MonitoringSpec { service_monitor, alerts, dashboards } = spec;
    Ok(Monitoring {
        service_monitor: service_monitor.enabled.then(|| scrape(service_monitor)).transpose()?,
        alerts: alerts.enabled.then(|| rule(alerts)).transpose()?,
        dashboards: dashboards.enabled.then(|| board(dashboards)).transpose()?,
    })
}

fn scrape(spec: &ServiceMonitorSpec) -> Result<Scrape, Invalid> {
    if let Some(interval) = &spec.interval {
        check("spec.monitoring.serviceMonitor.interval", interval, patterns::DURATION)?;
        if duration(interval) > INTERVAL_MAX {
            return Err(Invalid::Spec(format!("spec.monitoring.serviceMonitor.{INTERVAL_SHORT}")));
        }
    }
    Ok(Scrape {
        labels: labels("spec.monitoring.serviceMonitor.labels", &spec.labels)?,
        interval: spec.interval.clone(),
    })
}

fn rule(spec: &AlertsSpec) -> Result<Alerts, Invalid> {
    if let Some(url) = &spec.runbook_url {
        check("spec.monitoring.alerts.runbookURL", url, patterns::URL)?;
    }
    Ok(Alerts {
        labels: labels("spec.monitoring.alerts.labels", &spec.labels)?,
        runbooks: spec.runbook_url.as_deref().unwrap_or(RUNBOOKS).trim_end_matches('/').to_owned(),
    })
}

fn board(spec: &DashboardsSpec) -> Result<Dashboards, Invalid> {
    let length = spec.folder.chars().count();
    if length == 0 || length > FOLDER_MAX || spec.folder.chars().any(char::is_control) {
        return Err(Invalid::Spec(format!(
            "spec.monitoring.dashboards.folder is {:?}: write a name of 1 to {FOLDER_MAX} characters on one line",
            spec.folder
        )));
    }
    Ok(Dashboards { labels: labels("spec.monitoring.dashboards.labels", &spec.labels)?, folder: spec.folder.clone() })
}

fn labels(path: &str, labels: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Invalid> {
    if labels.len() > LABELS_MAX {
        return Err(Invalid::Spec(format!("{path} has more than {LABELS_MAX} labels")));
    }
    for (key, value) in labels {
        check(path, key, patterns::LABEL_KEY)?;
        check(path, value, patterns::LABEL_VALUE)?;
        if key.starts_with(OWN_LABELS) {
            return Err(Invalid::Spec(format!("{path} has {key}: labels of app.kubernetes.io are the operator's own")));
        }
    }
    Ok(labels.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;
    use crate::relay::fixtures::{minimal, relay, world};
    use crate::relay::validate::validate;

    fn checked(monitoring: Value) -> Result<Monitoring, String> {
        let mut spec = minimal();
        spec["monitoring"] = monitoring;
        validate(&relay(&spec), &world(), "r.test/relay:1").map(|valid| valid.monitoring).map_err(|e| e.to_string())
    }

    #[test]
    fn everything_is_there_by_default_and_each_can_be_left_out() {
        let all = checked(json!({})).unwrap();
        assert!(all.service_monitor.is_some() && all.alerts.is_some() && all.dashboards.is_some(), "{all:?}");
        let off = json!({"enabled": false});
        let none = checked(json!({"serviceMonitor": off, "alerts": off, "dashboards": off})).unwrap();
        assert_eq!(none, Monitoring { service_monitor: None, alerts: None, dashboards: None });
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_path() {
        let many: BTreeMap<String, &str> = (0..17).map(|n| (format!("l{n}"), "v")).collect();
        #[rustfmt::skip]
        let table = [
            (json!({"serviceMonitor": {"interval": "soon"}}), "spec.monitoring.serviceMonitor.interval"),
            (json!({"serviceMonitor": {"interval": "3m"}}), "spec.monitoring.serviceMonitor.interval must be at most 2m"),
            (json!({"serviceMonitor": {"labels": {"a b": "c"}}}), "spec.monitoring.serviceMonitor.labels"),
            (json!({"serviceMonitor": {"labels": {"a": "b c"}}}), "spec.monitoring.serviceMonitor.labels"),
            (json!({"alerts": {"labels": {"app.kubernetes.io/instance": "x"}}}), "app.kubernetes.io/instance"),
            (json!({"alerts": {"labels": many}}), "more than 16"),
            (json!({"alerts": {"runbookURL": "ftp://runbooks"}}), "spec.monitoring.alerts.runbookURL"),
            (json!({"dashboards": {"folder": ""}}), "spec.monitoring.dashboards.folder"),
            (json!({"dashboards": {"folder": "a\nb"}}), "spec.monitoring.dashboards.folder"),
            (json!({"dashboards": {"labels": {"": "1"}}}), "spec.monitoring.dashboards.labels"),
        ];
        for (monitoring, want) in table {
            let error = checked(monitoring.clone()).unwrap_err();
            assert!(error.contains(want), "{monitoring}: {error}");
        }
    }

    #[test]
    fn what_is_switched_off_is_not_looked_at() {
        let off = json!({"serviceMonitor": {"enabled": false, "interval": "soon"}});
        assert_eq!(checked(off).unwrap().service_monitor, None);
    }
}
