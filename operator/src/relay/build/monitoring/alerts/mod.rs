//! The PrometheusRule: few alerts, each with a page of the runbook. Critical is a relay that does not serve, warning is what
//! leads there.

mod bundled;
mod common;
mod foreign;

use serde_json::{Value, json};

use super::Selector;
use crate::api::Implementation;
use crate::relay::build::OptionalChild;
use crate::relay::build::implementation::Profile;
use crate::relay::names;
use crate::relay::optional::OptionalKind;
use crate::relay::validate::{Alerts, ValidRelay};

/// How bad it is.
#[derive(Clone, Copy)]
enum Severity {
    /// The relay does not serve.
    Critical,
    /// It will not for long, or not well.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// An alert. It is named for the page of the runbook that says what to do.
struct Alert {
    name: &'static str,
    severity: Severity,
    /// What holds while it is wrong, in PromQL.
    expr: String,
    /// For how long, before somebody is told.
    lasts: &'static str,
    /// What is wrong, after the relay's name.
    summary: &'static str,
    /// What that means, in a sentence.
    description: String,
}

impl Alert {
    fn rule(&self, relay: &ValidRelay, alerts: &Alerts) -> Value {
        let name = format!("{}/{}", relay.namespace, relay.name);
        json!({
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasts,
            "labels": {
                "severity": self.severity.name(),
                "namespace": relay.namespace,
                "relay": relay.name,
            },
            "annotations": {
                "summary": format!("Relay {name} {}.", self.summary),
                "description": self.description,
                "runbook_url": format!("{}/{}.md", alerts.runbooks.trim_end_matches('/'), self.name),
            },
        })
    }
}

pub(super) fn build(relay: &ValidRelay, profile: &Profile, spec: &Alerts, selector: &Selector) -> OptionalChild {
    let up = profile.metrics.first().copied().unwrap_or_default();
    let mut alerts = vec![common::down(selector, up)];
    alerts.extend(match relay.implementation {
        Implementation::Bundled => bundled::alerts(relay, selector),
        Implementation::Indigo => foreign::indigo(relay, selector, up),
        Implementation::Zlay => foreign::zlay(relay, selector, up),
    });
    alerts.extend(common::ends(selector));
    alerts.push(common::disk(selector));
    let rules: Vec<Value> = alerts.iter().map(|alert| alert.rule(relay, spec)).collect();
    let spec_of_rule = json!({"groups": [{"name": format!("{}/{}", relay.namespace, relay.name), "rules": rules}]});
    let name = names::prometheus_rule(&relay.name);
    let mut child = OptionalChild::new(OptionalKind::PrometheusRule, relay, name, &spec_of_rule);
    child.label(&spec.labels);
    child
}
