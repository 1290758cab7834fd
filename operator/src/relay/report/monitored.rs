//! Whether Prometheus gets to see the relay. It is a remark: Ready does not depend on it. Pure.

use super::conditions::{Finding, MONITORED, Verdict, quote};
use crate::relay::Error;
use crate::relay::apply::{Applied, Refused};
use crate::relay::optional::OptionalKind;
use crate::relay::validate::{Monitoring, ValidRelay};

/// The kinds of the Prometheus operator, and the field that switches each off.
const KINDS: [(OptionalKind, &str); 2] = [
    (OptionalKind::ServiceMonitor, "spec.monitoring.serviceMonitor.enabled"),
    (OptionalKind::PrometheusRule, "spec.monitoring.alerts.enabled"),
];

pub(super) fn finding(relay: &ValidRelay, applied: &Result<Applied, Error>) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(MONITORED, verdict, reason, quote(message));
    let Monitoring { service_monitor, alerts, dashboards: _ } = &relay.monitoring;
    if service_monitor.is_none() && alerts.is_none() {
        return found(Verdict::Good, "Disabled", "The spec asks for neither a ServiceMonitor nor alerts.");
    }
    if relay.paused {
        return found(Verdict::Unknown, "Paused", "The Relay is paused: it is not looked at what Prometheus sees.");
    }
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) => return found(Verdict::Unknown, error.reason(), &error.to_string()),
    };
    let refused = |is_it: fn(&Refused) -> bool| {
        KINDS.iter().find_map(|(kind, field)| {
            let of = applied.optional.iter().filter(|(of, _)| of == kind);
            of.filter_map(|(_, result)| result.as_ref().err()).find(|why| is_it(why)).map(|why| (*kind, *field, why))
        })
    };
    // What is wrong with an object of ours comes before what the cluster lacks.
    if let Some((kind, _, why)) = refused(|why| matches!(why, Refused::Failed(_))) {
        let message = format!("The {} cannot be made: {why}", kind.resource().kind);
        return found(Verdict::Bad, "Refused", &message);
    }
    if let Some((kind, field, _)) = refused(|why| matches!(why, Refused::NotInstalled(_))) {
        let message = format!(
            "The cluster does not know {}. Install the Prometheus operator, and the object is made; or set {field} to false.",
            kind.definition()
        );
        return found(Verdict::Waiting, "CRDNotInstalled", &message);
    }
    found(Verdict::Good, "Monitored", "Prometheus finds the relay's metrics and alerts.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use kube::core::DynamicObject;
    use serde_json::{Value, json};

    use super::*;
    use crate::relay::fixtures::{minimal, valid, world};

    type Outcome = (OptionalKind, Result<Arc<DynamicObject>, Refused>);

    fn made(kind: OptionalKind) -> Outcome {
        (kind, Ok(Arc::new(DynamicObject::new("demo", &kind.resource()))))
    }

    fn missing(kind: OptionalKind) -> Outcome {
        (kind, Err(Refused::NotInstalled(kind)))
    }

    fn taken(kind: OptionalKind) -> Outcome {
        (kind, Err(Refused::Failed(Error::Foreign { what: "PrometheusRule demo".into() })))
    }

    fn found(spec: &Value, outcomes: Vec<Outcome>) -> Finding {
        let applied = Applied { optional: outcomes, ..Applied::default() };
        finding(&valid(spec, &world()), &Ok(applied))
    }

    #[test]
    fn it_says_what_is_missing_and_what_to_do() {
        use OptionalKind::{Certificate, PrometheusRule, ServiceMonitor};
        #[rustfmt::skip]
        let table = [
            (vec![made(ServiceMonitor), made(PrometheusRule)], "True Monitored", "finds"),
            (vec![missing(ServiceMonitor), missing(PrometheusRule)], "False CRDNotInstalled", "servicemonitors.monitoring.coreos.com"),
            (vec![made(ServiceMonitor), missing(PrometheusRule)], "False CRDNotInstalled", "spec.monitoring.alerts.enabled"),
            (vec![missing(ServiceMonitor), taken(PrometheusRule)], "False Refused", "does not belong to this Relay"),
            (vec![made(ServiceMonitor), made(PrometheusRule), missing(Certificate)], "True Monitored", "finds"),
        ];
        for (outcomes, want, message) in table {
            let finding = found(&minimal(), outcomes);
            assert_eq!(format!("{} {}", finding.status(), finding.reason), want);
            assert!(finding.message.contains(message), "{}", finding.message);
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_missed() {
        let mut spec = minimal();
        spec["monitoring"] = json!({"serviceMonitor": {"enabled": false}, "alerts": {"enabled": false}});
        assert_eq!(found(&spec, Vec::new()).reason, "Disabled");
        spec["monitoring"]["alerts"]["enabled"] = json!(true);
        assert_eq!(found(&spec, vec![made(OptionalKind::PrometheusRule)]).reason, "Monitored");
    }

    #[test]
    fn what_is_not_applied_is_not_known() {
        let failed = Err(Error::Foreign { what: "Service demo".into() });
        let finding = finding(&valid(&minimal(), &world()), &failed);
        assert_eq!((finding.status(), finding.reason), ("Unknown", "NameTaken"));
        let mut spec = minimal();
        spec["paused"] = json!(true);
        assert_eq!(found(&spec, Vec::new()).reason, "Paused");
    }
}
