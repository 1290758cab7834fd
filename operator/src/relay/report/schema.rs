//! A CustomResourceDefinition that is older than the operator: the API server refuses a status with fields that it does not
//! declare. The others are written without them, and a condition says why.

use std::collections::BTreeSet;

use serde_json::Value;

use super::conditions::{Finding, Verdict};
use crate::api::RelayStatus;

/// What the API server says behind the path of each such field.
const UNDECLARED: &str = ": field not declared in schema";
/// Where they are.
const STATUS: &str = ".status.";

/// Names of the fields of the status that are not declared, as a refusal tells them.
pub(super) fn undeclared(error: &kube::Error) -> BTreeSet<String> {
    let kube::Error::Api(refusal) = error else { return BTreeSet::new() };
    let paths = refusal.message.split(UNDECLARED).filter_map(|text| text.rsplit_once(STATUS));
    let is_name = |c: char| c.is_ascii_alphanumeric();
    let name = |path: &str| path.split(|c| !is_name(c)).next().unwrap_or_default().to_owned();
    // What is behind the last of them names none.
    let count = refusal.message.matches(UNDECLARED).count();
    paths.take(count).map(|(_, path)| name(path)).filter(|name| !name.is_empty()).collect()
}

/// `status` without these fields.
pub(super) fn without(status: &RelayStatus, fields: &BTreeSet<String>) -> Result<RelayStatus, serde_json::Error> {
    let mut value = serde_json::to_value(status)?;
    if let Value::Object(status) = &mut value {
        status.retain(|name, _| !fields.contains(name));
    }
    serde_json::from_value(value)
}

/// What is said of it.
pub(super) fn finding(fields: &BTreeSet<String>) -> Finding {
    let names: Vec<&str> = fields.iter().map(String::as_str).collect();
    let message = format!(
        "The CustomResourceDefinition relays.relay.waow.tech is older than the operator and does not declare status.{}: apply crds/ of this version. Until then new fields of the spec have no effect.",
        names.join(", status.")
    );
    Finding::new("SchemaCurrent", Verdict::Bad, "CRDOutdated", message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_that_are_not_declared_are_read_from_the_refusal() {
        let head = "failed to create typed patch object (relays/demo; relay.waow.tech/v1alpha1, Kind=Relay): ";
        #[rustfmt::skip]
        let table: &[(&str, &[&str])] = &[
            (".status.storage: field not declared in schema", &["storage"]),
            ("errors:\n  .status.storage: field not declared in schema\n  .status.backup.snapshots[0].at: field not declared in schema", &["backup", "storage"]),
            (".spec.x: field not declared in schema", &[]),
            (".status.seq: expected numeric (int or float), got string", &[]),
            ("", &[]),
        ];
        for (text, want) in table {
            let error = kube::Error::Api(Box::new(Status { message: format!("{head}{text}"), ..Status::default() }));
            assert_eq!(undeclared(&error).into_iter().collect::<Vec<_>>(), *want, "{text}");
        }
    }

    #[test]
    fn the_rest_of_the_status_stays() {
        let status: RelayStatus = serde_json::from_value(json!({"seq": 7, "endpoint": "ws://a"})).unwrap();
        let rest = without(&status, &BTreeSet::from(["seq".to_owned()])).unwrap();
        assert_eq!(serde_json::to_value(rest).unwrap(), json!({"conditions": [], "endpoint": "ws://a"}));
    }
}
