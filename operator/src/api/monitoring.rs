use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::DURATION;

/// What Prometheus and Grafana get to see. A kind that the cluster does not know is left out, and the condition Monitored
/// says so; it is made when the cluster knows it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// The ServiceMonitor that makes Prometheus scrape the relay.
    #[serde(default)]
    pub service_monitor: ServiceMonitorSpec,

    /// The PrometheusRule with the alerts.
    #[serde(default)]
    pub alerts: AlertsSpec,

    /// The ConfigMaps with the dashboards, as the sidecar of Grafana's chart finds them.
    #[serde(default)]
    pub dashboards: DashboardsSpec,
}

/// A ServiceMonitor of the Prometheus operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ServiceMonitorSpec {
    /// Whether there is one.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Labels by which a Prometheus selects it, such as release: kube-prometheus-stack.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,

    /// Time between two scrapes; by default Prometheus' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    pub interval: Option<String>,
}

/// A PrometheusRule of the Prometheus operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct AlertsSpec {
    /// Whether there is one.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Labels by which a Prometheus selects it.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,
}

/// ConfigMaps with dashboards.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DashboardsSpec {
    /// Whether there are any.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Labels by which Grafana's sidecar selects them.
    #[serde(default = "default_dashboard_labels")]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,

    /// Folder in Grafana.
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
        Self { enabled: enabled(), labels: BTreeMap::new() }
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
