//! Alerts of the relay of this project.

use super::{Alert, Selector, Severity, common};
use crate::relay::validate::ValidRelay;

/// Share of received events that are not passed on, from which on something is wrong with the relay rather than with a host.
const DROPPED: &str = "0.5";
/// Share of hosts that are behind.
const BEHIND: &str = "0.1";
/// Time within which a backfill should come further, in seconds. A source that is down is asked again within the hour.
const STILL_SECONDS: u64 = 3 * 3600;
/// Consumers ended as too slow, or refused, within half an hour.
const CONSUMERS_LOST: u32 = 10;
/// Time to the limit, as the relay reckons it, in seconds, from which on a person should look.
const SECONDS_TO_LIMIT: u32 = 1800;

pub(super) fn alerts(relay: &ValidRelay, at: &Selector) -> Vec<Alert> {
    let known = format!("sum({}) > 0", at.own_with("relay_hosts", r#"status!="banned""#));
    vec![
        common::not_delivering(at, "relay_events_received_total", Some(known)),
        writes_fail(at),
        common::hosts_lost(at, "relay_hosts_connected"),
        hosts_behind(at),
        events_dropped(at),
        common::memory(memory(at)),
        log_window(relay, at),
        backfill_stalled(at),
        consumers_dropped(at),
    ]
}

fn writes_fail(at: &Selector) -> Alert {
    Alert {
        name: "RelayWritesFail",
        severity: Severity::Critical,
        expr: format!("sum(increase({}[5m])) > 0", at.own("relay_write_failures_total")),
        lasts: "5m",
        summary: "cannot write its log",
        description: "Writes to the volume fail and are tried again; meanwhile nothing passes.".into(),
    }
}

fn hosts_behind(at: &Selector) -> Alert {
    let behind = at.own_with("relay_hosts_behind", r#"over="1h""#);
    let connected = at.own("relay_hosts_connected");
    Alert {
        name: "RelayHostsBehind",
        severity: Severity::Warning,
        expr: format!("sum({behind}) > {BEHIND} * sum({connected})"),
        lasts: "1h",
        summary: "does not keep up with its hosts",
        description: "The streams of {{ $value }} hosts have been more than an hour behind, for an hour.".into(),
    }
}

fn events_dropped(at: &Selector) -> Alert {
    let (dropped, received) = (at.own("relay_events_dropped_total"), at.own("relay_events_received_total"));
    Alert {
        name: "RelayEventsDropped",
        severity: Severity::Warning,
        expr: format!("sum(rate({dropped}[15m])) > {DROPPED} * sum(rate({received}[15m]))"),
        lasts: "30m",
        summary: "drops most of what it receives",
        description: "{{ $value | humanize }} events a second do not pass, more than half of what comes.".into(),
    }
}

fn memory(at: &Selector) -> String {
    let of = |metric: &str| format!("max({})", at.own(metric));
    let refused = at.own("relay_memory_planned_restarts_refused_total");
    format!(
        "{} >= {} or {} < {SECONDS_TO_LIMIT} or max(increase({refused}[30m])) > 0",
        of("relay_memory_working_set_bytes"),
        of("relay_memory_hard_bytes"),
        of("relay_memory_seconds_to_limit"),
    )
}

/// The log has begun to let events go, and has not kept half of the time that it should.
fn log_window(relay: &ValidRelay, at: &Selector) -> Alert {
    let (first, last) = (at.own("relay_log_first_seq"), at.own("relay_log_last_seq"));
    let passed = at.own("relay_events_passed_total");
    let window = &relay.settings.firehose.replay_window;
    let least = relay.replay_window().as_secs() / 2;
    Alert {
        name: "RelayLogWindowShort",
        severity: Severity::Warning,
        expr: format!("max({last} - {first}) / sum(rate({passed}[6h])) < {least} and max(delta({first}[6h])) > 0"),
        lasts: "1h",
        summary: "keeps events for less than half of the time that it should",
        description: format!(
            "The log holds about {{{{ $value | humanizeDuration }}}} of events, and spec.firehose.replayWindow is {window}: the volume is too small."
        ),
    }
}

fn backfill_stalled(at: &Selector) -> Alert {
    let still = at.own("relay_backfill_still_seconds");
    Alert {
        name: "RelayBackfillStalled",
        severity: Severity::Warning,
        expr: format!("max by (backfill) ({still}) > {STILL_SECONDS}"),
        lasts: "15m",
        summary: "does not come further with a backfill",
        description: "The backfill {{ $labels.backfill }} has stood still for {{ $value | humanizeDuration }}.".into(),
    }
}

fn consumers_dropped(at: &Selector) -> Alert {
    let lost = [
        at.own_with("relay_consumer_disconnects_total", r#"reason="too_slow""#),
        at.own("relay_consumers_refused_total"),
        at.own("relay_consumers_refused_for_memory_total"),
    ];
    let sums: Vec<String> = lost.iter().map(|counter| format!("sum(increase({counter}[30m]))")).collect();
    Alert {
        name: "RelayConsumersDropped",
        severity: Severity::Warning,
        expr: format!("{} > {CONSUMERS_LOST}", sums.join(" + ")),
        lasts: "5m",
        summary: "turns consumers away",
        description: "{{ $value | humanize }} consumers were refused, or ended as too slow, within half an hour."
            .into(),
    }
}
