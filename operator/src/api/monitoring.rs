use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{DURATION, URL};

/// What an interval between two scrapes must be: the shortest window of an alert or a panel holds two of them.
pub const INTERVAL_SHORT: &str = "interval must be at most 2m, or alerts and dashboards have nothing to count";

/// What Prometheus and Grafana get to see. A kind that the cluster does not know is left out, and the condition Monitored
/// says so; it is made when the cluster knows it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// The ServiceMonitor that makes Prometheus scrape the relay. It gives every series the labels namespace and relay, by which
    /// alerts and dashboards find them.
    #[serde(default)]
    pub service_monitor: ServiceMonitorSpec,

    /// The PrometheusRule with the alerts.
    #[serde(default)]
    pub alerts: AlertsSpec,

    /// The ConfigMap with the dashboard, as the sidecar of Grafana's chart finds it.
    #[serde(default)]
    pub dashboards: DashboardsSpec,
}

/// A ServiceMonitor of the Prometheus operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ServiceMonitorSpec {
    /// Whether there is one.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Labels by which a Prometheus selects it, such as release: kube-prometheus-stack; none of app.kubernetes.io.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,

    /// Time between two scrapes, at most 2m; by default Prometheus' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    #[x_kube(validation = Rule::new("duration(self) <= duration('2m')").message(INTERVAL_SHORT))]
    pub interval: Option<String>,
}

/// A PrometheusRule of the Prometheus operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AlertsSpec {
    /// Whether there is one.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Labels by which a Prometheus selects it; none of app.kubernetes.io.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,

    /// Address of the folder with the pages of the runbook, one for each alert, to which the annotation runbook_url of an alert
    /// leads. By default it names the page in the source of the operator, docs/runbook/ALERT.md.
    #[serde(rename = "runbookURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = URL.rule())]
    pub runbook_url: Option<String>,
}

/// ConfigMaps with dashboards.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DashboardsSpec {
    /// Whether there are any.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Labels by which Grafana's sidecar selects them; none of app.kubernetes.io.
    #[serde(default = "default_dashboard_labels")]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,

    /// Folder in Grafana, as the annotation grafana_folder.
    #[serde(default = "default_folder")]
    #[schemars(length(min = 1, max = 63))]
    pub folder: String,
}

impl Default for ServiceMonitorSpec {
    fn default() -> Self {
        Self { enabled: enabled(), labels: BTreeMap::new(), interval: None }
    }
}

impl Default for AlertsSpec {
    fn default() -> Self {
        Self { enabled: enabled(), labels: BTreeMap::new(), runbook_url: None }
    }
}

impl Default for DashboardsSpec {
    fn default() -> Self {
        Self { enabled: enabled(), labels: default_dashboard_labels(), folder: default_folder() }
    }
}

fn enabled() -> bool {
    true
}

fn default_dashboard_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("grafana_dashboard".into(), "1".into())])
}

fn default_folder() -> String {
    "Relays".into()
}
