//! When alerts fire, as series over time. In the labels of a series, `S` is short for those of the relay `relays/demo`, `V`
//! for those of its volume.

use serde_json::{Value, json};

const ALL: &[&str] = &["Bundled", "Indigo", "Zlay"];
const BUNDLED: &[&str] = &["Bundled"];
const INDIGO: &[&str] = &["Indigo"];
const ZLAY: &[&str] = &["Zlay"];

/// A story of one alert.
pub struct Case {
    /// Of which programs.
    pub of: &'static [&'static str],
    pub alert: &'static str,
    /// Series and their values, one a minute, in promtool's notation.
    pub series: &'static [(&'static str, &'static str)],
    /// When it must not fire.
    pub quiet: &'static [&'static str],
    /// When it must, with its description; `None` is a story in which it never does.
    pub fires: Option<(&'static str, &'static str)>,
    /// A label of the alert beside those of every alert.
    pub label: Option<(&'static str, &'static str)>,
}

impl Case {
    /// The test in promtool's form.
    pub fn test(&self, program: &str, spec: &Value) -> Value {
        let rules = spec["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        let rule = rules.into_iter().find(|rule| rule["alert"] == self.alert).unwrap();
        // indigo's metrics have a port of their own.
        let endpoint = if program == "Indigo" { r#"endpoint="metrics""# } else { r#"endpoint="admin""# };
        let series = |name: &str| {
            name.replace("{S", r#"{namespace="relays",relay="demo""#)
                .replace("{V", r#"{namespace="relays",persistentvolumeclaim="data-demo-0""#)
                .replace("ENDPOINT", endpoint)
        };
        let expected =
            |at: &str, alerts: Value| json!({"eval_time": at, "alertname": self.alert, "exp_alerts": alerts});
        let mut tests: Vec<Value> = self.quiet.iter().map(|at| expected(at, json!([]))).collect();
        if let Some((at, description)) = self.fires {
            let mut annotations = rule["annotations"].clone();
            annotations["description"] = json!(description);
            let mut labels = rule["labels"].clone();
            if let Some((name, value)) = self.label {
                labels[name] = json!(value);
            }
            tests.push(expected(at, json!([{"exp_labels": labels, "exp_annotations": annotations}])));
        }
        let input = self.series.iter().map(|(name, values)| json!({"series": series(name), "values": values}));
        json!({"interval": "1m", "input_series": input.collect::<Vec<_>>(), "alert_rule_test": tests})
    }
}

pub const CASES: &[Case] = &[
    Case {
        of: ALL,
        alert: "RelayDown",
        series: &[("up{S,ENDPOINT}", "1x20 0x20")],
        quiet: &["20m", "24m"],
        fires: Some(("27m", "No metrics were read of the relay for 5 minutes.")),
        label: None,
    },
    Case {
        of: ALL,
        alert: "RelayDown",
        series: &[("up{S,ENDPOINT}", "1x20 stale")],
        quiet: &["20m"],
        fires: Some(("27m", "No metrics were read of the relay for 5 minutes.")),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayNotDelivering",
        series: &[
            ("relay_events_received_total{S}", "0+600x30 18000x40"),
            (r#"relay_hosts{S,status="active"}"#, "5x80"),
        ],
        quiet: &["30m", "45m"],
        fires: Some(("55m", "The relay runs, and has received nothing for 20 minutes: consumers get nothing new.")),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayNotDelivering",
        series: &[
            ("relay_events_received_total{S}", "0x80"),
            (r#"relay_hosts{S,status="active"}"#, "0x80"),
            (r#"relay_hosts{S,status="banned"}"#, "7x80"),
        ],
        quiet: &["60m"],
        fires: None,
        label: None,
    },
    Case {
        of: INDIGO,
        alert: "RelayNotDelivering",
        series: &[
            (r#"events_received_counter{S,pds="a"}"#, "0+600x30 18000x40"),
            (r#"events_received_counter{S,pds="b"}"#, "7x80"),
        ],
        quiet: &["30m", "45m"],
        fires: Some(("55m", "The relay runs, and has received nothing for 20 minutes: consumers get nothing new.")),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayWritesFail",
        series: &[("relay_write_failures_total{S}", "0x20 1+1x20")],
        quiet: &["20m", "24m"],
        fires: Some(("30m", "Writes to the volume fail and are tried again; meanwhile nothing passes.")),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayHostsLost",
        series: &[("relay_hosts_connected{S}", "100x60 55x60 40x60")],
        quiet: &["60m", "120m"],
        fires: Some(("140m", "Only 40 hosts are connected, less than half of the most within a day.")),
        label: None,
    },
    Case {
        of: INDIGO,
        alert: "RelayHostsLost",
        series: &[("relay_connected_inbound{S}", "100x60 40x60")],
        quiet: &["60m", "74m"],
        fires: Some(("80m", "Only 40 hosts are connected, less than half of the most within a day.")),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayHostsBehind",
        series: &[(r#"relay_hosts_behind{S,over="1h"}"#, "5x60 30x120"), ("relay_hosts_connected{S}", "100x200")],
        quiet: &["60m", "110m"],
        fires: Some(("130m", "The streams of 30 hosts have been more than an hour behind, for an hour.")),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayEventsDropped",
        series: &[
            ("relay_events_received_total{S}", "0+600x200"),
            (r#"relay_events_dropped_total{S,reason="signature"}"#, "0+60x60 3600+480x140"),
        ],
        quiet: &["60m", "90m"],
        fires: Some(("120m", "8 events a second do not pass, more than half of what comes.")),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayMemoryNearLimit",
        series: &[
            ("relay_memory_working_set_bytes{S}", "100x30 240x60"),
            ("relay_memory_hard_bytes{S}", "230x90"),
            ("relay_memory_planned_restarts_refused_total{S}", "0x90"),
        ],
        quiet: &["30m", "40m"],
        fires: Some(("42m", NEAR_LIMIT)),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayMemoryNearLimit",
        series: &[
            ("relay_memory_working_set_bytes{S}", "100x90"),
            ("relay_memory_hard_bytes{S}", "230x90"),
            ("relay_memory_seconds_to_limit{S}", "7200x30 600x60"),
        ],
        quiet: &["30m"],
        fires: Some(("42m", NEAR_LIMIT)),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayMemoryNearLimit",
        series: &[
            ("relay_memory_working_set_bytes{S}", "100x90"),
            ("relay_memory_hard_bytes{S}", "230x90"),
            ("relay_memory_planned_restarts_refused_total{S}", "0x30 1x60"),
        ],
        quiet: &["30m", "75m"],
        fires: Some(("45m", NEAR_LIMIT)),
        label: None,
    },
    Case {
        of: INDIGO,
        alert: "RelayMemoryNearLimit",
        series: &[("process_resident_memory_bytes{S,ENDPOINT}", "3865470565x30 3865470566x60")],
        quiet: &["30m", "40m"],
        fires: Some(("42m", NEAR_LIMIT)),
        label: None,
    },
    Case {
        of: ZLAY,
        alert: "RelayMemoryNearLimit",
        series: &[("relay_smaps_rss_kb{S,ENDPOINT}", "3774873x30 3774874x60")],
        quiet: &["30m", "40m"],
        fires: Some(("42m", NEAR_LIMIT)),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayLogWindowShort",
        // Young at first: it holds little, and lets nothing go.
        series: &[
            ("relay_events_passed_total{S}", "0+6000x900"),
            ("relay_log_last_seq{S}", "0+6000x900"),
            ("relay_log_first_seq{S}", "0x480 6000+6000x420"),
        ],
        quiet: &["400m", "530m"],
        fires: Some((
            "600m",
            "The log holds about 8h 0m 0s of events, and spec.firehose.replayWindow is 72h: the volume is too small.",
        )),
        label: None,
    },
    Case {
        of: BUNDLED,
        alert: "RelayBackfillStalled",
        series: &[
            (r#"relay_backfill_still_seconds{S,backfill="lists"}"#, "30x60 0+60x300"),
            (r#"relay_backfill_still_seconds{S,backfill="crawl"}"#, "30x360"),
        ],
        quiet: &["60m", "240m"],
        fires: Some(("301m", "The backfill lists has stood still for 4h 0m 0s.")),
        label: Some(("backfill", "lists")),
    },
    Case {
        of: BUNDLED,
        alert: "RelayConsumersDropped",
        series: &[
            (r#"relay_consumer_disconnects_total{S,reason="too_slow"}"#, "0x30 1+1x60"),
            (r#"relay_consumer_disconnects_total{S,reason="client"}"#, "0+9x90"),
            ("relay_consumers_refused_total{S}", "0x90"),
            ("relay_consumers_refused_for_memory_total{S}", "0x90"),
        ],
        quiet: &["30m", "40m"],
        fires: Some(("70m", "30 consumers were refused, or ended as too slow, within half an hour.")),
        label: None,
    },
    Case {
        of: ALL,
        alert: "RelayOOMKilled",
        series: &[(r#"relay_operator_relay_restarts_total{S,cause="OOMKilled",pod="operator-a"}"#, "_x30 1x200")],
        quiet: &["29m", "100m"],
        fires: Some(("40m", "The kernel killed the relay at its memory limit within the last hour.")),
        label: None,
    },
    Case {
        of: ALL,
        alert: "RelayRestartLoop",
        series: &[
            (r#"relay_operator_relay_restarts_total{S,cause="Crashed",pod="operator-a"}"#, "_x190 1 2 3 3x200"),
            (r#"relay_operator_relay_restarts_total{S,cause="PlannedRestart",pod="operator-a"}"#, "7x195 9x200"),
            (r#"relay_operator_relay_restarts_total{S,cause="Stopped",pod="operator-a"}"#, "0+5x400"),
        ],
        quiet: &["70m", "189m", "265m"],
        fires: Some(("200m", "The relay has ended 5 times within an hour, and nobody has stopped it.")),
        label: None,
    },
    Case {
        of: ALL,
        alert: "RelayDiskFull",
        series: &[
            ("kubelet_volume_stats_available_bytes{V}", "50x30 5x60"),
            ("kubelet_volume_stats_capacity_bytes{V}", "100x90"),
        ],
        quiet: &["30m", "40m"],
        fires: Some(("42m", "Only 5 % of the volume are free.")),
        label: None,
    },
];

const NEAR_LIMIT: &str =
    "The relay's memory stays at its hard mark: it is restarted again and again, or the kernel kills it.";

pub const OPERATOR_CASES: &[Case] = &[
    Case {
        of: &[],
        alert: "RelayOperatorDown",
        series: &[(r#"up{job="relay-operator-metrics",namespace="relays"}"#, "1x20 0x20")],
        quiet: &["20m", "34m"],
        fires: Some(("37m", "No metrics were read of it for 15 minutes: relays go on, and nobody looks after them.")),
        label: None,
    },
    Case {
        of: &[],
        alert: "RelayOperatorFailing",
        series: &[
            (
                r#"relay_operator_reconcile_errors_total{job="relay-operator-metrics",reason="ApplyFailed"}"#,
                "0x30 1+1x90",
            ),
            (r#"relay_operator_reconcile_errors_total{job="relay-operator-metrics",reason="ReadFailed"}"#, "3x120"),
        ],
        quiet: &["30m", "60m"],
        fires: Some(("70m", "Reconciles have failed for half an hour with the reason ApplyFailed.")),
        label: Some(("reason", "ApplyFailed")),
    },
];
