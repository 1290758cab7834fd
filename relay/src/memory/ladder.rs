//! The ladder: what has to give way next when memory is short, and what may come back.
//!
//! It goes up a step at a time while the working set is at or above the mark of the next step, so that each has time to
//! work, and down a step at a time when the working set has been clearly below the mark for a while. At its upper end it
//! asks for a restart, which is for others to allow.

use std::time::{Duration, Instant};

use super::sprint::Sprint;
use super::{Marks, Pressure, Step};

/// What a step gets to work before the next one is climbed.
const STEP_TIME: Duration = Duration::from_secs(5);
/// A step is left when the working set has been below its mark by [`HYSTERESIS_PERCENT`] for so long.
const CALM_TIME: Duration = Duration::from_secs(30);
/// Percent of the limit between climbing a step and leaving it.
const HYSTERESIS_PERCENT: u64 = 5;
/// The hard mark has to be reached for so long: a peak is no leak.
const HARD_TIME: Duration = Duration::from_secs(30);
/// From here on there is no time for a step at a time; in percent of the limit.
const BRIM_PERCENT: u64 = 97;
/// Percent of the last ten seconds in which everything waited for memory, from which on there is no time either.
const STALLED_PERCENT: f64 = 10.0;
/// Caches that have grown back to the soft mark within this time are kept small for longer, the next time.
const RELAPSE_TIME: Duration = Duration::from_secs(3600);
/// Longest time that they are.
const SMALL_TIME_MAX: Duration = Duration::from_secs(3600);

/// What the ladder is told, about every second.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Bytes, as the kubelet counts them.
    pub working_set: u64,
    /// Page cache among them, in bytes: the kernel drops it before it kills anybody, so that nobody restarts for it.
    pub droppable: u64,
    /// The limit, in bytes.
    pub limit: u64,
    /// Where it becomes tight.
    pub marks: Marks,
    /// How long tasks wait for memory, where the kernel says.
    pub pressure: Option<Pressure>,
    /// When the slope of the last minutes reaches the limit.
    pub seconds_to_limit: Option<u64>,
}

/// Why a restart is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The hard mark is reached, and all that was given up has not helped.
    HardMark {
        /// For how long.
        seconds: u64,
    },
    /// The limit is reached before a later restart would be through.
    Trend {
        /// In how long.
        seconds_to_limit: u64,
    },
}

/// Climbs and descends the steps.
#[derive(Debug)]
pub struct Ladder {
    /// How long a restart takes.
    drain_time: Duration,
    step: Step,
    /// When it was last changed.
    changed_at: Option<Instant>,
    hard_since: Option<Instant>,
    brim_since: Option<Instant>,
    calm_since: Option<Instant>,
    sprint: Sprint,
    /// How long it has to be calm before caches grow again.
    small_time: Duration,
    /// When they last did.
    regrown_at: Option<Instant>,
}

/// Bytes at which something happens.
struct Levels {
    soft: u64,
    halfway: u64,
    hard: u64,
    brim: u64,
    hysteresis: u64,
}

impl Levels {
    fn of(limit: u64, marks: Marks) -> Levels {
        let (soft, hard) = (marks.soft_bytes(limit), marks.hard_bytes(limit));
        Levels {
            soft,
            halfway: soft + (hard - soft) / 2,
            hard,
            brim: limit / 100 * BRIM_PERCENT,
            hysteresis: limit / 100 * HYSTERESIS_PERCENT,
        }
    }

    /// From here on `step` is climbed.
    fn mark(&self, step: Step) -> u64 {
        match step {
            Step::None => 0,
            Step::Caches | Step::Purge | Step::Backfill | Step::CatchUp => self.soft,
            Step::Consumers => self.halfway,
            Step::Restart => self.hard,
        }
    }
}

impl Ladder {
    /// One at whose foot there is no pressure; a restart takes up to `drain_time`.
    pub fn new(drain_time: Duration) -> Ladder {
        Ladder {
            drain_time,
            step: Step::None,
            changed_at: None,
            hard_since: None,
            brim_since: None,
            calm_since: None,
            sprint: Sprint::default(),
            small_time: CALM_TIME,
            regrown_at: None,
        }
    }

    /// The step that has been climbed to.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Goes up or down if it is time to, and says whether it is time to restart.
    pub fn look(&mut self, sample: &Sample) -> Option<Cause> {
        let Sample { at, working_set, limit, .. } = *sample;
        let levels = Levels::of(limit, sample.marks);
        let firm = working_set.saturating_sub(sample.droppable);
        self.sprint.push(at, firm);
        since(&mut self.hard_since, firm >= levels.hard, at);
        since(&mut self.brim_since, firm >= levels.brim, at);
        let is_calm = working_set.saturating_add(levels.hysteresis) < levels.mark(self.step);
        since(&mut self.calm_since, is_calm, at);

        let seconds_to_limit = self.seconds_to_limit(sample);
        let is_short = working_set >= levels.soft;
        if is_short && self.step < Step::Consumers && self.is_urgent(sample, seconds_to_limit) {
            self.go(Step::Consumers, at);
        } else if let Some(next) = self.step.next().filter(|next| *next < Step::Restart)
            && working_set >= levels.mark(next)
            && self.has_worked(at)
        {
            self.go(next, at);
        } else if self.step < Step::Restart && lasts(self.calm_since, at, self.calm_time()) {
            self.go(self.step.previous(), at);
        }

        if self.step != Step::Consumers || !self.has_worked(at) {
            return None;
        }
        if lasts(self.hard_since, at, HARD_TIME) || lasts(self.brim_since, at, STEP_TIME) {
            let seconds = self.hard_since.map_or(0, |since| at.saturating_duration_since(since).as_secs());
            return Some(Cause::HardMark { seconds });
        }
        let seconds_to_limit = seconds_to_limit.filter(|_| firm >= levels.soft)?;
        Some(Cause::Trend { seconds_to_limit })
    }

    /// The restart that was asked for begins: from here there is no way down.
    pub fn restart(&mut self, at: Instant) {
        self.go(Step::Restart, at);
    }

    /// How soon the limit is reached, if that is before a restart would be through.
    fn seconds_to_limit(&self, sample: &Sample) -> Option<u64> {
        let soonest = self.sprint.seconds_to(sample.limit).into_iter().chain(sample.seconds_to_limit).min();
        soonest.filter(|seconds| *seconds <= self.drain_time.as_secs())
    }

    /// Whether there is no time for a step at a time.
    fn is_urgent(&self, sample: &Sample, seconds_to_limit: Option<u64>) -> bool {
        let is_stalled = sample.pressure.is_some_and(|pressure| pressure.full_avg10 >= STALLED_PERCENT);
        self.brim_since.is_some() || is_stalled || seconds_to_limit.is_some()
    }

    /// Whether the step has had its time.
    fn has_worked(&self, at: Instant) -> bool {
        self.changed_at.is_none_or(|changed_at| at.saturating_duration_since(changed_at) >= STEP_TIME)
    }

    fn calm_time(&self) -> Duration {
        if self.step == Step::Caches { self.small_time } else { CALM_TIME }
    }

    fn go(&mut self, to: Step, at: Instant) {
        if self.step == Step::None {
            let is_relapse = self.regrown_at.is_some_and(|then| at.saturating_duration_since(then) < RELAPSE_TIME);
            self.small_time = if is_relapse { (self.small_time * 2).min(SMALL_TIME_MAX) } else { CALM_TIME };
        }
        if to == Step::None {
            self.regrown_at = Some(at);
        }
        self.step = to;
        self.changed_at = Some(at);
        self.calm_since = None;
    }
}

/// Keeps the time since when something is so.
fn since(since: &mut Option<Instant>, is_so: bool, at: Instant) {
    *since = is_so.then(|| since.unwrap_or(at));
}

fn lasts(since: Option<Instant>, at: Instant, time: Duration) -> bool {
    since.is_some_and(|since| at.saturating_duration_since(since) >= time)
}

#[cfg(test)]
mod tests;
