//! What else the pod has.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Invalid, check};
use crate::api::patterns::{CPU, LABEL_KEY, LABEL_VALUE, OBJECT_NAME, VARIABLE};
use crate::api::{CpuSpec, Implementation, OPERATORS_DOMAIN, OPERATORS_LABELS, OPERATORS_OWN, PodSpec};

/// Longest value of an annotation or a variable, in bytes: a pod template is kept several times over.
const VALUE_MAX: usize = 4096;
/// Beginning of the names of the bundled relay's settings, each of which is a field of the spec or the operator's to decide.
const BUNDLED_PREFIX: &str = "RELAY_";
/// Variables that the operator sets of indigo.
const INDIGO: &[&str] = &[
    "RELAY_ADMIN_PASSWORD",
    "DATABASE_URL",
    "GOMEMLIMIT",
    "RELAY_IDENT_CACHE_SIZE",
    "RELAY_API_BIND",
    "RELAY_METRICS_LISTEN",
    "RELAY_PERSIST_DIR",
    "RELAY_REPLAY_WINDOW",
    "RELAY_PLC_HOST",
    "RELAY_LENIENT_SYNC_VALIDATION",
    "RELAY_ALLOW_INSECURE_HOSTS",
    "RELAY_DEFAULT_ACCOUNT_LIMIT",
    "RELAY_NEW_HOSTS_PER_DAY_LIMIT",
    "RELAY_TRUSTED_DOMAINS",
    "RELAY_SIBLING_RELAYS",
    "RELAY_INITIAL_SEQ_NUMBER",
    "RELAY_LOG_LEVEL",
];
/// Variables that the operator sets of zlay, or leaves at what it counts on.
const ZLAY: &[&str] = &[
    "RELAY_ADMIN_PASSWORD",
    "DATABASE_URL",
    "MALLOC_ARENA_MAX",
    "MALLOC_TRIM_THRESHOLD_",
    "RELAY_UPSTREAM",
    "RELAY_RETENTION_HOURS",
    "RELAY_PORT",
    "RELAY_METRICS_PORT",
];

/// What else the pod has, as the API server keeps it: what is applied equals what is read back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Labels beside the operator's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations beside the operator's own.
    pub annotations: BTreeMap<String, String>,
    /// Processor time that is set aside.
    pub cpu_request: Option<Cpu>,
    /// Processor time from where on it waits.
    pub cpu_limit: Option<Cpu>,
    /// Variables beside the operator's own.
    pub env: BTreeMap<String, String>,
    /// Taints that it bears.
    pub tolerations: Vec<Toleration>,
    /// Nodes and company that it prefers.
    pub affinity: Option<Affinity>,
    /// Its PriorityClass.
    pub priority_class: Option<String>,
}

/// Thousandths of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(u64);

impl std::fmt::Display for Cpu {
    /// In the form that the API server stores.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 % 1000 {
            0 => write!(f, "{}", self.0 / 1000),
            _ => write!(f, "{}m", self.0),
        }
    }
}

pub(super) fn pod(spec: &PodSpec, implementation: Implementation) -> Result<Pod, Invalid> {
    // Without "..": a new field cannot be forgotten here.
    let PodSpec { labels, annotations, cpu, env, tolerations, affinity, priority_class_name } = spec;
    let refused = |text: String| Err(Invalid::Spec(text));
    for (key, value) in labels {
        check("spec.pod.labels", key, LABEL_KEY)?;
        check("spec.pod.labels", value, LABEL_VALUE)?;
    }
    for (key, value) in annotations {
        check("spec.pod.annotations", key, LABEL_KEY)?;
        if value.len() > VALUE_MAX {
            return refused(format!("spec.pod.annotations: the value of {key} has more than {VALUE_MAX} bytes"));
        }
    }
    let is_operators = |key: &String| key.starts_with(OPERATORS_DOMAIN);
    if labels.keys().any(|key| is_operators(key) || OPERATORS_LABELS.contains(&key.as_str()))
        || annotations.keys().any(is_operators)
    {
        return refused(format!("spec.{OPERATORS_OWN}"));
    }
    for (name, value) in env {
        check("spec.pod.env", name, VARIABLE)?;
        if is_set_by_the_operator(implementation, name) {
            return refused(format!(
                "spec.pod.env: {name} is the operator's to set; the spec has a field for what it says"
            ));
        }
        if value.len() > VALUE_MAX {
            return refused(format!("spec.pod.env: the value of {name} has more than {VALUE_MAX} bytes"));
        }
    }
    for toleration in tolerations {
        check_toleration(toleration)?;
    }
    if let Some(class) = priority_class_name {
        check("spec.pod.priorityClassName", class, OBJECT_NAME)?;
    }
    let CpuSpec { request, limit } = cpu;
    let (cpu_request, cpu_limit) = (parse_cpu("request", request)?, parse_cpu("limit", limit)?);
    if cpu_limit.is_some_and(|limit| cpu_request.is_some_and(|request| request > limit)) {
        return refused("spec.pod.cpu.request must not be above spec.pod.cpu.limit".into());
    }
    Ok(Pod {
        labels: labels.clone(),
        annotations: annotations.clone(),
        cpu_request,
        cpu_limit,
        env: env.clone(),
        tolerations: as_stored("spec.pod.tolerations", tolerations)?,
        affinity: as_stored("spec.pod.affinity", affinity)?,
        priority_class: priority_class_name.clone(),
    })
}

/// Whether the operator sets the variable `name` of `implementation`.
pub(in crate::relay) fn is_set_by_the_operator(implementation: Implementation, name: &str) -> bool {
    match implementation {
        Implementation::Bundled => name.starts_with(BUNDLED_PREFIX),
        Implementation::Indigo => INDIGO.contains(&name),
        Implementation::Zlay => ZLAY.contains(&name),
    }
}

fn parse_cpu(name: &str, text: &Option<String>) -> Result<Option<Cpu>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let path = format!("spec.pod.cpu.{name}");
    check(&path, text, CPU)?;
    let (digits, factor) = text.strip_suffix('m').map_or((text.as_str(), 1000), |digits| (digits, 1));
    let number = digits.parse::<u64>().map_err(|_| Invalid::Spec(format!("{path} is {text:?}: {}", CPU.message)))?;
    Ok(Some(Cpu(number * factor)))
}

/// A toleration that the API server would refuse is told as what it is, and not as a StatefulSet that cannot be applied.
fn check_toleration(toleration: &Toleration) -> Result<(), Invalid> {
    let refused = |why: &str| Err(Invalid::Spec(format!("spec.pod.tolerations: {why}")));
    let said = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    let operator = said(&toleration.operator).unwrap_or_else(|| "Equal".into());
    let effect = said(&toleration.effect);
    if !matches!(operator.as_str(), "Equal" | "Exists") {
        return refused("operator is Equal or Exists");
    }
    if !matches!(effect.as_deref(), None | Some("NoSchedule" | "PreferNoSchedule" | "NoExecute")) {
        return refused("effect is NoSchedule, PreferNoSchedule or NoExecute");
    }
    match said(&toleration.key) {
        Some(key) => check("spec.pod.tolerations.key", &key, LABEL_KEY)?,
        None if operator != "Exists" => return refused("without a key, operator must be Exists"),
        None => {}
    }
    if operator == "Exists" && said(&toleration.value).is_some() {
        return refused("with operator: Exists there is no value");
    }
    if toleration.toleration_seconds.is_some() && effect.as_deref() != Some("NoExecute") {
        return refused("tolerationSeconds needs effect: NoExecute");
    }
    Ok(())
}

/// `value` without what the API server drops: empty strings, lists and maps of fields that need not be there.
fn as_stored<T: Serialize + DeserializeOwned>(path: &str, value: &T) -> Result<T, Invalid> {
    fn prune(value: &mut Value) {
        match value {
            Value::Object(object) => {
                // An empty value of a label is one.
                object.iter_mut().filter(|(key, _)| *key != "matchLabels").for_each(|(_, value)| prune(value));
                object.retain(|key, value| match value {
                    Value::Null => false,
                    Value::String(text) => !text.is_empty(),
                    Value::Array(list) => !list.is_empty(),
                    // An empty selector selects everything, an absent one nothing; of the rest only this is a map.
                    Value::Object(map) => !(map.is_empty() && key == "matchLabels"),
                    _ => true,
                });
            }
            Value::Array(list) => list.iter_mut().for_each(prune),
            _ => {}
        }
    }
    let told = |error: serde_json::Error| Invalid::Spec(format!("{path}: {error}"));
    let mut json = serde_json::to_value(value).map_err(told)?;
    prune(&mut json);
    serde_json::from_value(json).map_err(told)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn processor_time_is_written_as_the_api_server_stores_it() {
        let table = [("2", "2"), ("500m", "500m"), ("1000m", "1"), ("1500m", "1500m"), ("64000m", "64")];
        for (text, stored) in table {
            assert_eq!(parse_cpu("limit", &Some(text.into())).unwrap().unwrap().to_string(), stored, "{text}");
        }
    }

    #[test]
    fn what_the_api_server_drops_is_not_applied() {
        let term = |selector| json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
        let written = json!({
            "nodeAffinity": {},
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                term(json!({})), term(json!({"matchLabels": {}, "matchExpressions": []})), term(json!({"matchLabels": {"a": ""}})),
            ]},
        });
        let stored = json!({
            "nodeAffinity": {},
            "podAffinity": {},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                term(json!({})), term(json!({})), term(json!({"matchLabels": {"a": ""}})),
            ]},
        });
        let affinity: Affinity = serde_json::from_value(written).unwrap();
        assert_eq!(serde_json::to_value(as_stored("", &affinity).unwrap()).unwrap(), stored);

        let toleration: Toleration =
            serde_json::from_value(json!({"key": "", "operator": "Exists", "value": ""})).unwrap();
        let stored = as_stored("", &vec![toleration]).unwrap();
        assert_eq!(serde_json::to_value(stored).unwrap(), json!([{"operator": "Exists"}]));
    }
}
