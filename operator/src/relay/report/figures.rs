//! The figures of a status: what the relay's document says of itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::backfill;
use super::conditions::BACKFILL_COMPLETE;
use crate::api::{DeliveryStatus, HostsStatus, MemoryStatus, RelayStatus, UpdateStatus};
use crate::relay::byte_size::ByteSize;
use crate::relay_admin::Document;

/// Relative change below which a size or a number is as good as unchanged.
const NOTICEABLE: f64 = 0.05;
/// The same of a rate: that of a whole network is never still.
const NOTICEABLE_RATE: f64 = 0.5;

/// Puts the figures of `document` into `status`, which follows `before`.
pub(super) fn fill(status: &mut RelayStatus, document: &Document, before: Option<&RelayStatus>, now: Timestamp) {
    let memory = &document.memory;
    let used = ByteSize(memory.working_set_bytes).rounded();
    let pressure_since = before.and_then(|before| before.memory.as_ref()?.pressure_since.clone());
    status.version = Some(document.software.clone());
    status.seq = Some(signed(document.seq.last));
    status.hosts =
        Some(HostsStatus { connected: signed(document.hosts.connected), total: signed(document.hosts.total) });
    status.events_per_second = Some(rate(document.events.per_second));
    status.memory = Some(MemoryStatus {
        working_set_bytes: signed(memory.working_set_bytes),
        limit_bytes: memory.limit_bytes.map(signed),
        summary: match memory.limit_bytes {
            Some(limit) => format!("{used}/{}", ByteSize(limit)),
            None => used,
        },
        step: memory.step.clone(),
        slope_bytes_per_hour: memory.slope_bytes_per_hour,
        seconds_to_limit: memory.seconds_to_limit.map(signed),
        pressure_since: memory.is_short().then(|| pressure_since.unwrap_or(Time(now))),
    });
    status.consumers = Some(signed(document.consumers.connected));
}

/// Whether `status` has figures.
pub(super) fn present(status: &RelayStatus) -> bool {
    status.seq.is_some() || status.memory.is_some()
}

/// `status` without its figures, and without the message that quotes what a job says.
pub(super) fn without(status: &RelayStatus) -> RelayStatus {
    let mut conditions = status.conditions.clone();
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == BACKFILL_COMPLETE) {
        condition.message.clear();
    }
    RelayStatus {
        conditions,
        seq: None,
        hosts: None,
        events_per_second: None,
        memory: status
            .memory
            .as_ref()
            .map(|memory| MemoryStatus { pressure_since: memory.pressure_since.clone(), ..MemoryStatus::default() }),
        consumers: None,
        backfill: status.backfill.as_ref().map(backfill::without_figures),
        update: status.update.clone().map(update_without_figures),
        observed_at: None,
        ..status.clone()
    }
}

/// Of what it delivers, whether that is known.
fn update_without_figures(update: UpdateStatus) -> UpdateStatus {
    let none = |_| DeliveryStatus { events_per_second: None, hosts_connected: None };
    UpdateStatus { before: update.before.map(none), now: update.now.map(none), ..update }
}

/// Whether a person would notice the difference.
pub(super) fn differ(before: &RelayStatus, after: &RelayStatus) -> bool {
    let working_set = |status: &RelayStatus| {
        let memory = status.memory.as_ref();
        memory.map_or(0.0, |memory| memory.working_set_bytes as f64)
    };
    let limit = |status: &RelayStatus| status.memory.as_ref().and_then(|m| m.limit_bytes);
    let step = |status: &RelayStatus| status.memory.as_ref().and_then(|m| m.step.clone());
    let hosts = |status: &RelayStatus| status.hosts.as_ref().map_or((0, 0), |hosts| (hosts.connected, hosts.total));
    let number = |of: fn((i64, i64)) -> i64, status: &RelayStatus| of(hosts(status)) as f64;
    let consumers = |status: &RelayStatus| status.consumers.unwrap_or_default() as f64;
    let rate = |status: &RelayStatus| status.events_per_second.unwrap_or_default();
    before.backfill != after.backfill
        || before.conditions != after.conditions
        || limit(before) != limit(after)
        || step(before) != step(after)
        || apart(number(|(connected, _)| connected, before), number(|(connected, _)| connected, after), NOTICEABLE)
        || apart(number(|(_, total)| total, before), number(|(_, total)| total, after), NOTICEABLE)
        || apart(consumers(before), consumers(after), NOTICEABLE)
        || apart(working_set(before), working_set(after), NOTICEABLE)
        || apart(rate(before), rate(after), NOTICEABLE_RATE)
}

/// Whether they have moved on, as those of a relay at work always do.
pub(super) fn drift(before: &RelayStatus, after: &RelayStatus) -> bool {
    before.seq != after.seq
        || before.hosts != after.hosts
        || before.consumers != after.consumers
        || before.events_per_second != after.events_per_second
}

fn apart(before: f64, after: f64, noticeable: f64) -> bool {
    (before - after).abs() > noticeable * before.abs().max(after.abs())
}

/// A rate with one decimal.
pub(super) fn rate(per_second: f64) -> f64 {
    (per_second * 10.0).round() / 10.0
}

/// Kubernetes has no unsigned numbers; a relay does not count beyond 2^63.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
