//! What came of the objects of optional kinds. Every condition that is about some of them asks here.

use kube::core::DynamicObject;
use serde_json::Value;

use super::conditions::{Finding, Verdict, quote};
use crate::relay::apply::{Applied, Refused};
use crate::relay::optional::OptionalKind;

/// The first of `kinds` of which an object is wanted and none is there, as a finding of the condition `type_`.
pub(super) fn refused(type_: &'static str, applied: &Applied, kinds: &[OptionalKind]) -> Option<Finding> {
    let mut of_kinds = applied.optional.iter().filter(|(kind, _)| kinds.contains(kind));
    let refused = of_kinds.find_map(|(_, result)| result.as_ref().err())?;
    let verdict = if matches!(refused, Refused::Paused(_)) { Verdict::Waiting } else { Verdict::Bad };
    Some(Finding::new(type_, verdict, refused.reason(), quote(&refused.to_string())))
}

/// The wanted object of `kind`, as the cluster has it: the first, where there may be several.
pub(super) fn object(applied: &Applied, kind: OptionalKind) -> Option<&DynamicObject> {
    let mut of_kind = applied.optional.iter().filter(|(other, _)| *other == kind);
    of_kind.find_map(|(_, result)| result.as_deref().ok())
}

/// A condition in the status of an object of another project.
#[derive(Debug, PartialEq)]
pub(super) struct Said<'a> {
    /// Whether it is `True`.
    pub(super) is_true: bool,
    /// Why, in a sentence or at least a word.
    pub(super) why: &'a str,
}

/// What `conditions` say of `type_`; `None` while they say nothing of the present `generation`.
pub(super) fn said<'a>(conditions: &'a Value, type_: &str, generation: Option<i64>) -> Option<Said<'a>> {
    let condition = conditions.as_array()?.iter().find(|condition| condition["type"] == type_)?;
    // Not every project says it.
    let is_old = condition["observedGeneration"].as_i64().is_some_and(|seen| Some(seen) < generation);
    let text = |field: &str| condition[field].as_str().filter(|text| !text.is_empty());
    let why = text("message").or_else(|| text("reason")).unwrap_or("it does not say why");
    (!is_old).then(|| Said { is_true: condition["status"] == "True", why })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::relay::Error;

    #[test]
    fn what_is_refused_is_said_of_the_kinds_that_are_asked_for() {
        let kind = OptionalKind::Certificate;
        let there = Arc::new(DynamicObject::new("demo", &kind.resource()));
        let taken = Refused::Failed(Error::Foreign { what: "DNSEndpoint demo".into() });
        let applied = Applied {
            optional: vec![
                (OptionalKind::HttpRoute, Err(Refused::NotInstalled(OptionalKind::HttpRoute))),
                (kind, Ok(there)),
                (OptionalKind::DnsEndpoint, Err(taken)),
            ],
            ..Applied::default()
        };
        let reason = |kinds: &[OptionalKind]| refused("Exposed", &applied, kinds).map(|finding| finding.reason);
        assert_eq!(reason(&[OptionalKind::Certificate]), None);
        assert_eq!(reason(&[OptionalKind::PrometheusRule]), None, "not wanted");
        assert_eq!(reason(&[OptionalKind::Certificate, OptionalKind::HttpRoute]), Some("CRDNotInstalled"));
        assert_eq!(reason(&[OptionalKind::DnsEndpoint]), Some("NameTaken"));
        assert!(object(&applied, kind).is_some());
        assert_eq!(object(&applied, OptionalKind::HttpRoute), None);
    }

    #[test]
    fn a_condition_counts_for_the_generation_that_it_is_of() {
        let conditions = json!([
            {"type": "Ready", "status": "True", "reason": "Issued", "message": "", "observedGeneration": 2},
            {"type": "Accepted", "status": "False", "message": "no listener"},
        ]);
        let ready = |generation| said(&conditions, "Ready", generation);
        assert_eq!(ready(Some(2)), Some(Said { is_true: true, why: "Issued" }));
        assert_eq!(ready(Some(3)), None, "of the generation before");
        assert_eq!(said(&conditions, "Accepted", Some(9)), Some(Said { is_true: false, why: "no listener" }));
        assert_eq!(said(&conditions, "Other", None), None);
        assert_eq!(said(&Value::Null, "Ready", None), None);
    }
}
