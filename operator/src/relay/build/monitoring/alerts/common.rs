//! Alerts of every relay, whichever program it is.

use super::{Alert, Selector, Severity};

/// Ends within an hour from which on a relay is in a loop: a planned restart now and then is none.
const ENDS_MAX: u32 = 3;
/// Free share of the volume below which somebody should make room.
const FREE_PERCENT: u32 = 10;

/// Prometheus reads no metrics of the relay, at the port `up`.
pub(super) fn down(at: &Selector, up: &str) -> Alert {
    Alert {
        name: "RelayDown",
        severity: Severity::Critical,
        expr: format!("absent({} == 1)", at.own_with("up", &format!(r#"endpoint="{up}""#))),
        lasts: "5m",
        summary: "is down, or Prometheus cannot reach it",
        description: "No metrics were read of the relay for 5 minutes.".into(),
    }
}

/// A counter of received events stands still; `unless_idle` is a condition that must hold beside.
pub(super) fn not_delivering(at: &Selector, counter: &str, unless_idle: Option<String>) -> Alert {
    let and = unless_idle.map(|condition| format!(" and {condition}")).unwrap_or_default();
    Alert {
        name: "RelayNotDelivering",
        severity: Severity::Critical,
        expr: format!("sum(rate({}[10m])) == 0{and}", at.own(counter)),
        lasts: "10m",
        summary: "takes no events from its hosts",
        description: "The relay runs, and has received nothing for 20 minutes: consumers get nothing new.".into(),
    }
}

/// A gauge of connected hosts has fallen.
pub(super) fn hosts_lost(at: &Selector, gauge: &str) -> Alert {
    let connected = at.own(gauge);
    Alert {
        name: "RelayHostsLost",
        severity: Severity::Warning,
        expr: format!("sum({connected}) < 0.5 * max(max_over_time({connected}[1d]))"),
        lasts: "15m",
        summary: "has lost half of its hosts",
        description: "Only {{ $value }} hosts are connected, less than half of the most within a day.".into(),
    }
}

/// Memory; `expr` holds while it is at the hard mark.
pub(super) fn memory(expr: String) -> Alert {
    Alert {
        name: "RelayMemoryNearLimit",
        severity: Severity::Warning,
        expr,
        lasts: "10m",
        summary: "is about to run out of memory",
        description:
            "The relay's memory stays at its hard mark: it is restarted again and again, or the kernel kills it.".into(),
    }
}

/// How often the relay ends, as the operator counts it.
pub(super) fn ends(at: &Selector) -> [Alert; 2] {
    // What the counters have grown by within an hour, and what they began with where they are younger: a series begins with the
    // first end that it counts, which an increase() would not see.
    let within = |matchers: &str| {
        let counted = at.own_with("relay_operator_relay_restarts_total", matchers);
        let least = format!("min_over_time({counted}[1h])");
        let born = format!("sum({least} unless last_over_time({counted}[2h] offset 1h))");
        format!("sum({counted} - {least}) + ({born} or vector(0))")
    };
    [
        Alert {
            name: "RelayOOMKilled",
            severity: Severity::Warning,
            expr: format!("{} > 0", within(r#"cause="OOMKilled""#)),
            lasts: "0m",
            summary: "was killed for its memory",
            description: "The kernel killed the relay at its memory limit within the last hour.".into(),
        },
        Alert {
            name: "RelayRestartLoop",
            severity: Severity::Warning,
            expr: format!("{} > {ENDS_MAX}", within(r#"cause!~"Stopped|Evicted""#)),
            lasts: "0m",
            summary: "ends again and again",
            description: "The relay has ended {{ $value }} times within an hour, and nobody has stopped it.".into(),
        },
    ]
}

/// The volume, where the kubelet can measure it.
pub(super) fn disk(at: &Selector) -> Alert {
    let (available, capacity) =
        (at.volume("kubelet_volume_stats_available_bytes"), at.volume("kubelet_volume_stats_capacity_bytes"));
    Alert {
        name: "RelayDiskFull",
        severity: Severity::Warning,
        expr: format!("max(100 * {available} / {capacity}) < {FREE_PERCENT}"),
        lasts: "10m",
        summary: "has little room on its volume",
        description: "Only {{ $value | humanize }} % of the volume are free.".into(),
    }
}
