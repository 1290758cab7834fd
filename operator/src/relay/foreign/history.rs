//! What a relay of another project has been like lately. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// How far back a trend looks.
const TREND: Duration = Duration::from_secs(15 * 60);
/// Samples that are kept: those of [`TREND`] at one in 5 s.
const SAMPLES_MAX: usize = 180;
/// What a trend needs: less is noise, such as a collector of garbage at its work.
const TREND_MIN: (usize, Duration) = (8, Duration::from_secs(3 * 60));
/// How far back a rate of events looks.
const RATE: Duration = Duration::from_secs(90);

/// What one pod of a relay has been like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::relay) struct History {
    /// The pod.
    pub(in crate::relay) pod_uid: String,
    /// Its memory, the oldest first.
    samples: VecDeque<Sample>,
    /// Its counter of events, the oldest first.
    counts: VecDeque<(Timestamp, f64)>,
    /// When its eviction was refused at last.
    pub(in crate::relay) refused_at: Option<Timestamp>,
    /// The operator has evicted it.
    pub(in crate::relay) is_evicted: bool,
}

/// Memory in use at some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::relay) struct Sample {
    pub(in crate::relay) at: Timestamp,
    pub(in crate::relay) bytes: u64,
}

impl History {
    pub(super) fn of(pod_uid: String) -> Self {
        Self { pod_uid, ..Self::default() }
    }

    /// Remembers memory in use; what was measured at a time that is known already is not told again.
    pub(in crate::relay) fn uses(&mut self, at: Timestamp, bytes: u64) {
        if self.samples.back().is_some_and(|last| last.at >= at) {
            return;
        }
        self.samples.push_back(Sample { at, bytes });
        while self.samples.len() > SAMPLES_MAX || self.samples.front().is_some_and(|old| age(old.at, at) > TREND) {
            self.samples.pop_front();
        }
    }

    /// Remembers the counter of events. One that has become smaller is a new process's.
    pub(in crate::relay) fn counts(&mut self, at: Timestamp, events: f64) {
        if self.counts.back().is_some_and(|(_, last)| *last > events) {
            self.counts.clear();
        }
        self.counts.push_back((at, events));
        while self.counts.front().is_some_and(|(old, _)| age(*old, at) > RATE) {
            self.counts.pop_front();
        }
    }

    /// Lets what was measured be older by `time`.
    pub(super) fn pass(&mut self, time: Duration) {
        self.samples.iter_mut().for_each(|sample| sample.at -= time);
    }

    /// Memory in use now.
    pub(in crate::relay) fn last(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// How long, and in how many samples, memory in use has been `bytes` or more without a break until now.
    pub(in crate::relay) fn at_least(&self, bytes: u64) -> (usize, Duration) {
        let run = || self.samples.iter().rev().take_while(|sample| sample.bytes >= bytes);
        match (run().last(), self.last()) {
            (Some(first), Some(last)) => (run().count(), age(first.at, last.at)),
            _ => (0, Duration::ZERO),
        }
    }

    /// How fast memory in use grows, in bytes per second, where that can be said: the line of least squares.
    pub(in crate::relay) fn slope(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        if self.samples.len() < TREND_MIN.0 || age(first.at, last.at) < TREND_MIN.1 {
            return None;
        }
        let points = || self.samples.iter().map(|s| (age(first.at, s.at).as_secs_f64(), s.bytes as f64));
        let count = self.samples.len() as f64;
        let (x, y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
        let (above, below) = points().fold((0.0, 0.0), |(above, below), point| {
            (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
        });
        (below > 0.0).then(|| above / below)
    }

    /// In how many seconds memory in use would be `limit`, where it grows.
    pub(in crate::relay) fn seconds_to(&self, limit: u64) -> Option<u64> {
        let (slope, last) = (self.slope().filter(|slope| *slope > 0.0)?, self.last()?);
        Some((limit.saturating_sub(last.bytes) as f64 / slope) as u64)
    }

    /// Events per second, once there are two looks to compare.
    pub(in crate::relay) fn rate(&self) -> Option<f64> {
        let ((then, before), (now, after)) = (self.counts.front()?, self.counts.back()?);
        let seconds = age(*then, *now).as_secs_f64();
        (seconds > 0.0).then(|| (after - before) / seconds)
    }
}

/// Time from `then` to `now`; none while a clock says that it is still to come.
pub(super) fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(second.unsigned_abs())
    }

    #[test]
    fn a_trend_needs_time_and_samples_and_is_that_of_the_line() {
        let history = |every: i64, count: i64, bytes: fn(i64) -> i64| {
            let mut history = History::default();
            (0..count).for_each(|n| history.uses(at(n * every), bytes(n * every).unsigned_abs()));
            history
        };
        let grows = |second: i64| 1_000_000 + 1_000 * second;
        assert_eq!(history(15, 8, grows).slope(), None, "105 s are too short");
        assert_eq!(history(60, 7, grows).slope(), None, "7 samples are too few");
        let slope = history(15, 20, grows).slope().unwrap_or_default();
        assert!((slope - 1_000.0).abs() < 1e-3, "{slope}");
        let seconds = history(15, 20, grows).seconds_to(2_000_000).unwrap_or_default();
        assert!(seconds.abs_diff(715) <= 1, "{seconds}: (2,000,000 − 1,285,000) / 1,000");
        assert_eq!(history(15, 20, |second| 9_000_000 - second).seconds_to(10_000_000), None, "it shrinks");
        let saw = history(15, 41, |second| 1_000_000 + second / 15 % 2 * 500_000);
        assert!(saw.slope().is_some_and(|slope| slope.abs() < 20.0), "a saw has no trend: {:?}", saw.slope());
        let long = history(5, 1_000, grows);
        assert_eq!(long.samples.len(), SAMPLES_MAX);
    }

    #[test]
    fn a_run_above_a_mark_ends_with_the_first_sample_below_it() {
        let mut history = History::default();
        for (second, bytes) in [(0, 95), (15, 80), (30, 91), (45, 90), (60, 99)] {
            history.uses(at(second), bytes);
        }
        assert_eq!(history.at_least(90), (3, Duration::from_secs(30)));
        history.uses(at(60), 10);
        assert_eq!(history.at_least(90), (3, Duration::from_secs(30)), "measured once, counted once");
        history.uses(at(75), 89);
        assert_eq!(history.at_least(90), (0, Duration::ZERO));
    }

    #[test]
    fn a_rate_needs_two_looks_at_one_process() {
        let mut history = History::default();
        history.counts(at(0), 1_000.0);
        assert_eq!(history.rate(), None);
        history.counts(at(10), 1_500.0);
        assert_eq!(history.rate(), Some(50.0));
        history.counts(at(20), 30.0);
        assert_eq!(history.rate(), None, "it has started anew");
        history.counts(at(30), 30.0);
        assert_eq!(history.rate(), Some(0.0));
    }
}
