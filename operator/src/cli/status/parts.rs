//! Parts of a status that an operator may be too old to have: they are read as they are, field by field. Pure.

use std::fmt::Write;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::cli::text::age;

/// How far an update is, and what the pod delivers meanwhile.
pub(super) fn update(update: &Value, now: Timestamp) -> Option<String> {
    let mut line = text(update, "phase")?.to_owned();
    if let Some(since) = time(update, "since") {
        let _ = write!(line, " for {}", age(since, now));
    }
    if let (Some(before), Some(now)) = (delivery(&update["before"]), delivery(&update["now"])) {
        let _ = write!(line, ", delivers {now}, before {before}");
    }
    let refusal = text(&update["refused"], "message").map(|said| format!("the eviction is refused: {said}"));
    for said in text(update, "message").map(str::to_owned).into_iter().chain(refusal) {
        let _ = write!(line, "; {said}");
    }
    match (text(update, "revision"), text(update, "lastGood")) {
        (Some(revision), Some(last_good)) if revision != last_good => {
            let _ = write!(line, " [{revision}, last good {last_good}]");
        }
        (Some(revision), _) => {
            let _ = write!(line, " [{revision}]");
        }
        (None, _) => {}
    }
    Some(line)
}

/// What a relay delivers.
fn delivery(delivery: &Value) -> Option<String> {
    let rate = delivery["eventsPerSecond"].as_f64().map(|rate| format!("{rate:.1} events a second"));
    let hosts = delivery["hostsConnected"].as_f64().map(|hosts| format!("of {hosts:.0} hosts"));
    let parts: Vec<_> = rate.into_iter().chain(hosts).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The volume.
pub(super) fn storage(storage: &Value) -> Option<String> {
    let mut line = text(storage, "size").unwrap_or("no volume yet").to_owned();
    if let Some(size) = text(storage, "growingTo") {
        let _ = write!(line, ", grows to {size}");
    }
    if let Some(claim) = text(storage, "claim") {
        let _ = write!(line, " ({claim})");
    }
    if let Some(node) = text(storage, "node") {
        let _ = write!(line, ", on {node}");
    }
    if let Some(refused) = text(&storage["refused"], "message") {
        let _ = write!(line, "; growth is refused: {refused}");
    }
    storage.is_object().then_some(line)
}

/// The newest snapshot.
pub(super) fn backup(backup: &Value, now: Timestamp) -> Option<String> {
    let newest = backup["snapshots"].as_array()?.first()?;
    let state = match (&newest["ready"], text(newest, "error")) {
        (Value::Bool(true), _) => "can be restored".to_owned(),
        (_, Some(error)) => format!("cannot be restored: {error}"),
        (_, None) => "is not ready yet".to_owned(),
    };
    let at = time(newest, "at").map(|at| format!(", {} ago", age(at, now))).unwrap_or_default();
    Some(format!("{}{at}, {state}", text(newest, "name")?))
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value[field].as_str()
}

fn time(value: &Value, field: &str) -> Option<Timestamp> {
    text(value, field)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_not_told() {
        let now = "2026-11-28T10:00:00Z".parse().unwrap();
        for nothing in [json!(null), json!([]), json!({}), json!({"phase": 7, "snapshots": []}), json!("text")] {
            assert_eq!(update(&nothing, now), None, "{nothing}");
            assert_eq!(backup(&nothing, now), None, "{nothing}");
        }
        assert_eq!(storage(&Value::Null), None);
    }

    #[test]
    fn an_update_tells_what_it_waits_for_and_what_it_has_to_reach() {
        let now = "2026-11-28T10:00:00Z".parse().unwrap();
        #[rustfmt::skip]
        let table = [
            (json!({"phase": "UpToDate", "since": "2026-11-26T10:00:00Z", "revision": "a", "lastGood": "a"}), "UpToDate for 2d [a]"),
            (json!({"phase": "Proving", "since": "2026-11-28T09:58:00Z", "revision": "b", "lastGood": "a",
                "before": {"eventsPerSecond": 12.54, "hostsConnected": 250.2}, "now": {"eventsPerSecond": 3.0}}),
                "Proving for 2m, delivers 3.0 events a second, before 12.5 events a second of 250 hosts [b, last good a]"),
            (json!({"phase": "WaitingForWindow", "message": "it opens at 03:00"}), "WaitingForWindow; it opens at 03:00"),
            (json!({"phase": "Evicting", "refused": {"at": "2026-11-28T09:58:00Z", "message": "disruption budget"}}),
                "Evicting; the eviction is refused: disruption budget"),
        ];
        for (given, want) in table {
            assert_eq!(update(&given, now).as_deref(), Some(want));
        }
    }

    #[test]
    fn the_volume_and_its_snapshots() {
        let now = "2026-11-28T10:00:00Z".parse().unwrap();
        let volume = json!({"claim": "data-demo-0", "uid": "u", "size": "10Gi", "growingTo": "20Gi", "node": "n", "adopted": false});
        assert_eq!(storage(&volume).as_deref(), Some("10Gi, grows to 20Gi (data-demo-0), on n"));
        let refused = json!({"claim": "data-demo-0", "refused": {"message": "no"}});
        assert_eq!(storage(&refused).as_deref(), Some("no volume yet (data-demo-0); growth is refused: no"));
        let snapshot = |ready, error| {
            let newest = json!({"name": "demo-1", "at": "2026-11-28T08:00:00Z", "ready": ready, "error": error});
            backup(&json!({"snapshots": [newest, {"name": "demo-0"}]}), now).unwrap()
        };
        assert_eq!(snapshot(true, json!(null)), "demo-1, 2h ago, can be restored");
        assert_eq!(snapshot(false, json!(null)), "demo-1, 2h ago, is not ready yet");
        assert_eq!(snapshot(false, json!("no class")), "demo-1, 2h ago, cannot be restored: no class");
    }
}
