//! What the reference relay calls the same things, for the programs that are written for it.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::decisions::HostStatus;
use crate::host::Host;

/// Adds a host's fields in the reference relay's list to ours; none of them collides. Limits that this relay does not
/// have are -1 there.
pub(super) fn put_names(json: &mut Value, host: &Host) {
    let (limits, status) = (host.limits(), host.status());
    let rate = |max: f64, window: u32| json!({ "Max": max, "Window": window });
    json["ID"] = host.id.into();
    json["CreatedAt"] = Timestamp::from_millisecond(host.added_at_ms).map(|at| at.to_string()).ok().into();
    json["Host"] = host.name.as_str().into();
    json["SSL"] = host.name.is_secure().into();
    json["Cursor"] = host.cursor().unwrap_or(0).into();
    json["Registered"] = (status == HostStatus::Active).into();
    json["Blocked"] = (status == HostStatus::Banned).into();
    json["CrawlRateLimit"] = 0.into();
    json["RepoCount"] = host.accounts().into();
    json["RepoLimit"] = limits.accounts.map_or(json!(-1), Value::from);
    json["UserCount"] = host.accounts().into();
    json["HasActiveConnection"] = host.is_connected().into();
    json["EventsSeenSinceStartup"] = host.counts.received.load(Ordering::Relaxed).into();
    json["PerSecondEventRate"] = rate(limits.events_per_second.map_or(-1.0, f64::from), 1);
    json["PerHourEventRate"] = rate(-1.0, 3600);
    json["PerDayEventRate"] = rate(-1.0, 86_400);
}
