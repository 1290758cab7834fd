//! Whether the memory of a relay of another project asks for a restart. Pure.

use std::fmt;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::history::{History, age};
use crate::api::{RestartCause, RestartStatus};
use crate::relay::byte_size::ByteSize;
use crate::relay::validate::ValidRelay;

/// How long, and in how many samples, memory in use is at the hard mark before that counts: a peak passes. A cluster
/// measures every 15 s.
const SUSTAINED: (usize, Duration) = (3, Duration::from_secs(30));
/// When an eviction that was refused is tried again.
const RETRY_REFUSED: Duration = Duration::from_secs(60);
/// The time in which only so many restarts are made.
const HOUR: Duration = Duration::from_secs(60 * 60);
/// A working set that nobody has measured for so long says nothing of now.
const STALE: Duration = Duration::from_secs(2 * 60);

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Nothing: its memory is as it should be.
    Rest,
    /// It should restart, but not now.
    Wait,
    /// The pod is to be evicted.
    Evict(Why),
}

/// Why a pod is evicted.
#[derive(Debug, PartialEq)]
pub(super) enum Why {
    /// Its memory in use stays at the hard mark, this percentage.
    HardMark(i32),
    /// It would be at the limit before the pod had stopped.
    Trend,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HardMark(percent) => write!(f, "stays above its hard mark of {percent} %"),
            Self::Trend => write!(f, "would reach the limit before it could stop"),
        }
    }
}

/// Decides for a relay whose pod has `limit` and has been like `history`, when `last` are its last ends.
pub(super) fn decide(
    relay: &ValidRelay,
    limit: ByteSize,
    history: &History,
    last: &[RestartStatus],
    now: Timestamp,
) -> Decision {
    let Some(why) = asks(relay, limit, history, now) else { return Decision::Rest };
    let planned: Vec<_> = last
        .iter()
        .filter(|end| end.cause == RestartCause::PlannedRestart)
        .map(|end| age(end.at.0, now))
        .filter(|age| *age < HOUR)
        .collect();
    let allowed = usize::try_from(relay.memory.restarts_per_hour).unwrap_or(0);
    let is_cooling = planned.iter().any(|age| *age < relay.memory.restart_cooldown());
    let is_refused = history.refused_at.is_some_and(|at| age(at, now) < RETRY_REFUSED);
    if planned.len() >= allowed || is_cooling || is_refused {
        return Decision::Wait;
    }
    Decision::Evict(why)
}

fn asks(relay: &ValidRelay, limit: ByteSize, history: &History, now: Timestamp) -> Option<Why> {
    let last = history.last().filter(|last| age(last.at, now) < STALE)?;
    let mark = |percent: i32| limit.0.saturating_mul(u64::from(percent.unsigned_abs())) / 100;
    let (samples, time) = history.at_least(mark(relay.memory.hard_percent));
    if samples >= SUSTAINED.0 && time >= SUSTAINED.1 {
        return Some(Why::HardMark(relay.memory.hard_percent));
    }
    let grace = relay.grace_seconds().unsigned_abs();
    let is_close = last.bytes >= mark(relay.memory.soft_percent);
    let reaches = history.seconds_to(limit.0).is_some_and(|seconds| seconds <= grace);
    (is_close && reaches).then_some(Why::Trend)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::relay::fixtures::{valid, world};

    const LIMIT: ByteSize = ByteSize(1000 << 20);
    const NOW: u64 = 100_000;

    fn at(second: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(second)
    }

    /// Memory in use, in tenths of a percent of the limit, every 15 s until now.
    fn used(shares: &[u64]) -> History {
        let mut history = History::default();
        for (n, share) in (0_u64..).zip(shares) {
            let before = 15 * (shares.len() as u64 - 1 - n);
            history.uses(at(NOW - before), LIMIT.0 / 1000 * share);
        }
        history
    }

    fn ended(cause: RestartCause, before: u64) -> RestartStatus {
        RestartStatus {
            at: Time(at(NOW - before)),
            cause,
            reason: None,
            message: None,
            exit_code: None,
            working_set: None,
            limit: None,
            seq: None,
        }
    }

    #[test]
    fn a_pod_is_evicted_when_its_memory_lasts_at_the_mark_or_would_not_wait_for_its_end() {
        use Decision::{Evict, Rest, Wait};
        use RestartCause::{OOMKilled, PlannedRestart, Stopped};
        let steep: Vec<u64> = (0..20).map(|n| 500 + 20 * n).collect(); // 2 % in 15 s: at the limit in 90 s
        let steeper: Vec<u64> = (0..15).map(|n| 270 + 42 * n).collect(); // 4.2 % in 15 s: in 51 s
        let early: Vec<u64> = (0..15).map(|n| 42 * n).collect();
        let falling: Vec<u64> = (0..20).map(|n| 890 - 5 * n).collect();
        let hard = || Evict(Why::HardMark(90));
        #[rustfmt::skip]
        let table: &[(&str, &[u64], &[RestartStatus], Decision)] = &[
            ("nothing is known", &[], &[], Rest),
            ("all is well", &[500; 20], &[], Rest),
            ("below the mark", &[899; 20], &[], Rest),
            ("a peak", &[500, 500, 950, 500, 500], &[], Rest),
            ("a peak until now", &[500, 500, 950, 950], &[], Rest),
            ("it lasts", &[500, 900, 900, 900], &[], hard()),
            ("it lasts from the start", &[950, 950, 950], &[], hard()),
            ("it grows, there is time", &steep, &[], Rest),
            ("it grows, there is no time", &steeper, &[], Evict(Why::Trend)),
            ("it grows, far from the limit", &early, &[], Rest),
            ("it falls", &falling, &[], Rest),
            ("after a planned restart", &[950; 9], &[ended(PlannedRestart, 599)], Wait),
            ("after its cool-down", &[950; 9], &[ended(PlannedRestart, 600)], hard()),
            ("after ends of other causes", &[950; 9], &[ended(OOMKilled, 10), ended(Stopped, 20)], hard()),
            ("two within the hour", &[950; 9], &[ended(PlannedRestart, 700), ended(PlannedRestart, 3_599)], Wait),
            ("one of two is older", &[950; 9], &[ended(PlannedRestart, 700), ended(PlannedRestart, 3_600)], hard()),
        ];
        let image = json!({"repository": "r.test/indigo", "tag": "1"});
        let spec = json!({"hostname": "relay.test", "implementation": "Indigo", "image": image});
        let relay = valid(&spec, &world());
        for (case, shares, last, want) in table {
            assert_eq!(decide(&relay, LIMIT, &used(shares), last, at(NOW)), *want, "{case}");
        }

        let mut never = spec.clone();
        never["memory"] = json!({"maxRestartsPerHour": 0});
        assert_eq!(decide(&valid(&never, &world()), LIMIT, &used(&[950; 9]), &[], at(NOW)), Wait, "0 is never");

        let mut refused = used(&[950; 9]);
        refused.refused_at = Some(at(NOW - 59));
        assert_eq!(decide(&relay, LIMIT, &refused, &[], at(NOW)), Wait, "refused a moment ago");
        refused.refused_at = Some(at(NOW - 60));
        assert_eq!(decide(&relay, LIMIT, &refused, &[], at(NOW)), hard(), "refused a minute ago");

        let stale = decide(&relay, LIMIT, &used(&[950; 9]), &[], at(NOW + 120));
        assert_eq!(stale, Rest, "nobody has measured it for two minutes");
        let mut longer = spec;
        longer["terminationGracePeriodSeconds"] = json!(120);
        let steep = decide(&valid(&longer, &world()), LIMIT, &used(&steep), &[], at(NOW));
        assert_eq!(steep, Evict(Why::Trend), "it needs longer to stop");
    }
}
