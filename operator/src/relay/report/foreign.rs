//! What is reported of a relay of another project: its figures, as far as they can be seen, and what it cannot do. Pure.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::conditions::{DELIVERING, Finding, SPEC_SUPPORTED, Verdict, quote};
use super::figures::{rate, signed};
use crate::api::{Implementation, MemoryStatus, RelayStatus};
use crate::relay::build::unsupported;
use crate::relay::byte_size::ByteSize;
use crate::relay::foreign::{Seen, limit};
use crate::relay::read::World;
use crate::relay::validate::ValidRelay;

/// Puts what is `seen` of the relay in `pod` into `status`, which follows `before`.
pub(super) fn fill(
    status: &mut RelayStatus,
    seen: &Seen,
    relay: &ValidRelay,
    pod: Option<&Pod>,
    before: Option<&RelayStatus>,
    now: Timestamp,
) {
    status.seq = seen.figures.as_ref().ok().and_then(|figures| figures.seq).map(signed);
    status.events_per_second = seen.history.rate().map(rate);
    let Some(last) = seen.history.last() else { return };
    let limit = limit(relay, pod);
    let soft = limit.0.saturating_mul(u64::from(relay.memory.soft_percent.unsigned_abs())) / 100;
    let pressure_since = before.and_then(|before| before.memory.as_ref()?.pressure_since.clone());
    status.memory = Some(MemoryStatus {
        working_set_bytes: signed(last.bytes),
        limit_bytes: Some(signed(limit.0)),
        summary: format!("{}/{limit}", ByteSize(last.bytes).rounded()),
        step: None,
        slope_bytes_per_hour: seen.history.slope().map(|slope| (slope * 3600.0) as i64),
        seconds_to_limit: seen.history.seconds_to(limit.0).map(signed),
        pressure_since: (last.bytes >= soft).then(|| pressure_since.unwrap_or(Time(now))),
    });
}

/// Whether a relay of another project delivers, and whether it does all that the spec says; `None` for one of ours.
pub(super) fn findings(relay: &ValidRelay, world: &World) -> Option<(Finding, Finding)> {
    if relay.implementation == Implementation::Bundled {
        return None;
    }
    let unsupported = unsupported(relay);
    let name = relay.implementation.name();
    let supported = if unsupported.is_empty() {
        let message = format!("{name} does what the spec says.");
        Finding::new(SPEC_SUPPORTED, Verdict::Good, "Supported", message)
    } else {
        let message = format!("{name} gets nothing of: {}.", unsupported.join(", "));
        Finding::new(SPEC_SUPPORTED, Verdict::Bad, "NotSupported", message)
    };
    Some((delivering(world.foreign.as_ref()), supported))
}

fn delivering(seen: Option<&Seen>) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(DELIVERING, verdict, reason, quote(message));
    let Some(seen) = seen else { return found(Verdict::Waiting, "NoPod", "No pod runs yet.") };
    match (&seen.figures, seen.history.rate()) {
        (Err(error), _) => {
            found(Verdict::Unknown, "MetricsUnavailable", &format!("The relay's metrics cannot be read: {error}"))
        }
        (Ok(figures), _) if figures.events.is_none() => {
            found(Verdict::Unknown, "NotCounted", "The relay's metrics have no counter of its events.")
        }
        (Ok(_), None) => found(Verdict::Unknown, "NotCounted", "The relay's events are about to be counted."),
        (Ok(_), Some(rate)) if rate > 0.0 => {
            found(Verdict::Good, "Delivering", "The relay takes events from its hosts.")
        }
        (Ok(_), Some(_)) => found(Verdict::Waiting, "NoEvents", "The relay has taken no event for some time."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::relay::fixtures::{full, full_world, valid, world};
    use crate::relay::foreign::{Figures, History};
    use crate::relay_admin::AskError;

    fn counted(counts: &[f64]) -> History {
        let mut history = History::default();
        for (n, count) in (0_u64..).zip(counts) {
            history.counts(Timestamp::UNIX_EPOCH + Duration::from_secs(15 * n), *count);
        }
        history
    }

    #[test]
    fn whether_it_delivers_is_what_its_counter_says() {
        let figures = |events| Ok(Figures { events, ..Figures::default() });
        let away = Err(AskError::TimedOut);
        let table = [
            (None, "False NoPod"),
            (Some(Seen { history: counted(&[]), figures: away }), "Unknown MetricsUnavailable"),
            (Some(Seen { history: counted(&[]), figures: figures(None) }), "Unknown NotCounted"),
            (Some(Seen { history: counted(&[7.0]), figures: figures(Some(7.0)) }), "Unknown NotCounted"),
            (Some(Seen { history: counted(&[7.0, 9.0]), figures: figures(Some(9.0)) }), "True Delivering"),
            (Some(Seen { history: counted(&[7.0, 7.0]), figures: figures(Some(7.0)) }), "False NoEvents"),
        ];
        for (seen, want) in table {
            let found = delivering(seen.as_ref());
            assert_eq!(format!("{} {}", found.status(), found.reason), want);
        }
    }

    const INDIGO_LACKS: &str = "Indigo gets nothing of: spec.memory.blockCache, spec.plcExport, \
        spec.upstream.bootstrapRelays, spec.upstream.discoveryInterval, spec.upstream.hosts, spec.upstream.bannedDomains, \
        spec.upstream.siblingTokenSecretRef, spec.upstream.limits.eventsPerSecond, spec.upstream.limits.maxHosts, \
        spec.validation.hosts, spec.firehose.maxSize, spec.firehose.maxConsumers, spec.firehose.maxConsumersPerAddress, \
        spec.collections.minAccounts, spec.backfill.";
    const ZLAY_LACKS: &str = "Zlay gets nothing of: spec.memory.identityCache, spec.memory.blockCache, spec.plcURL, \
        spec.plcExport, spec.upstream.discoveryInterval, spec.upstream.hosts, spec.upstream.allowInsecureHosts, \
        spec.upstream.trustedDomains, spec.upstream.bannedDomains, spec.upstream.siblingRelays, \
        spec.upstream.siblingTokenSecretRef, spec.upstream.limits.accountsPerHost, spec.upstream.limits.eventsPerSecond, \
        spec.upstream.limits.newHostsPerDay, spec.upstream.limits.maxHosts, spec.validation.mode, spec.validation.hosts, \
        spec.firehose.maxSize, spec.firehose.compression, spec.firehose.maxConsumers, \
        spec.firehose.maxConsumersPerAddress, spec.firehose.trustForwardedFor, spec.firehose.initialSeq, \
        spec.collections.enabled, spec.collections.minAccounts, spec.backfill, spec.logLevel.";

    #[test]
    fn fields_that_do_nothing_are_named() {
        let supported = |implementation: &str, fields: serde_json::Value| {
            let mut spec = json!({
                "hostname": "relay.test", "implementation": implementation,
                "image": {"repository": "r.test/relay", "tag": "1"},
                "database": {"externalSecretRef": {"name": "relay-db", "key": "uri"}},
            });
            // By default its directory of collections is missed.
            if implementation == "Indigo" {
                spec["collections"] = json!({"enabled": false});
            }
            for (name, field) in fields.as_object().unwrap() {
                spec[name] = field.clone();
            }
            findings(&valid(&spec, &full_world()), &full_world()).unwrap().1
        };
        let upstream = json!({"upstream": {"hosts": ["pds.example.com"], "limits": {"eventsPerSecond": 5}}});
        let siblings = |urls: &[&str]| json!({"upstream": {"siblingRelays": urls}});
        let bootstrap = |urls: &[&str]| json!({"upstream": {"bootstrapRelays": urls}});
        // What a relay of our own can do, but for what validation refuses of others.
        let every = || {
            let mut every = full();
            let fields = every.as_object_mut().unwrap();
            fields.retain(|name, _| !matches!(name.as_str(), "hostname" | "image" | "database"));
            fields["memory"].as_object_mut().unwrap().remove("resize");
            fields["collections"]["enabled"] = json!(false);
            every
        };
        let crawl = json!({"backfill": {"crawl": {"enabled": true}}, "validation": {"mode": "Observe"}});
        #[rustfmt::skip]
        let table = [
            ("Indigo", json!({}), "Indigo does what the spec says."),
            ("Indigo", json!({"collections": {}}), "Indigo gets nothing of: spec.collections.enabled without spec.collections.image."),
            ("Indigo", json!({"collections": {"image": {"repository": "r.test/collectiondir", "tag": "1"}}}), "Indigo does what the spec says."),
            ("Indigo", upstream.clone(), "Indigo gets nothing of: spec.upstream.hosts, spec.upstream.limits.eventsPerSecond."),
            ("Indigo", crawl.clone(), "Indigo gets nothing of: spec.validation.mode, spec.backfill."),
            ("Indigo", json!({"validation": {"mode": "Lenient"}, "firehose": {"replayWindow": "2h"}}), "Indigo does what the spec says."),
            ("Zlay", json!({}), "Zlay does what the spec says."),
            ("Indigo", siblings(&["https://a.example", "http://b.example/"]), "Indigo does what the spec says."),
            ("Indigo", siblings(&["https://a.example", "https://b.example:3001"]), "Indigo gets nothing of: spec.upstream.siblingRelays."),
            ("Indigo", every(), INDIGO_LACKS),
            ("Zlay", upstream, "Zlay gets nothing of: spec.upstream.hosts, spec.upstream.limits.eventsPerSecond."),
            ("Zlay", bootstrap(&["https://bsky.network"]), "Zlay does what the spec says."),
            ("Zlay", bootstrap(&["https://bsky.network", "https://a.example"]), "Zlay gets nothing of: spec.upstream.bootstrapRelays."),
            ("Zlay", every(), ZLAY_LACKS),
            ("Zlay", crawl, "Zlay gets nothing of: spec.validation.mode, spec.backfill."),
            ("Zlay", json!({"firehose": {"replayWindow": "2h"}}), "Zlay does what the spec says."),
        ];
        for (implementation, fields, message) in table {
            assert_eq!(supported(implementation, fields.clone()).message, message, "{implementation} {fields}");
        }
        assert_eq!(findings(&valid(&json!({"hostname": "relay.test"}), &world()), &world()), None);
    }
}
