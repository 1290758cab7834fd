//! A job in memory: its rows, and what is known of it only while it runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::clock::written;
use super::spec::{Job, Kind, Progress, State};
use crate::decisions::{JobRow, PartRow, PartState};
use crate::memory::allocated_bytes;

/// The rate is that of this time …
const RATE_MS: i64 = 180_000;
/// … in steps of this.
const RATE_STEP_MS: i64 = 5_000;
/// Why a job waits that is held.
const HELD: &str = "memory is short";

/// A job as it stands.
#[derive(Debug)]
pub(super) struct View {
    pub(super) row: JobRow,
    pub(super) parts: Vec<PartRow>,
    /// Whether a start of the relay found it at work.
    pub(super) was_cut: bool,
    /// Whether it was deleted.
    pub(super) is_gone: bool,
    /// Providers that there is something to ask of, while it runs.
    lanes: usize,
    /// Those of them that have to wait.
    waits: BTreeMap<String, Wait>,
    /// Those that are held for want of memory.
    held: BTreeSet<String>,
    /// The part that moved last.
    current: Option<usize>,
    /// When it did.
    moved_at_ms: Option<i64>,
    rate: Rate,
}

/// Why something has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) until_ms: i64,
    pub(super) reason: String,
}

impl View {
    /// A job that does not run.
    pub(super) fn new(row: JobRow, parts: Vec<PartRow>) -> View {
        View {
            row,
            parts,
            was_cut: false,
            is_gone: false,
            lanes: 0,
            waits: BTreeMap::new(),
            held: BTreeSet::new(),
            current: None,
            moved_at_ms: None,
            rate: Rate::default(),
        }
    }

    /// Bytes of its parts, which are nearly all that it takes.
    pub(super) fn bytes(&self) -> usize {
        let rows = allocated_bytes(self.parts.capacity() * size_of::<PartRow>());
        rows + self.parts.iter().map(bytes_outside).sum::<usize>()
    }

    /// Its runner begins with so many lanes, or ends with none.
    pub(super) fn set_lanes(&mut self, lanes: usize) {
        self.lanes = lanes;
        self.waits.clear();
        self.held.clear();
    }

    /// A lane has nothing to do any more.
    pub(super) fn end_lane(&mut self, provider: &str) {
        self.waits.remove(provider);
        self.lanes = self.lanes.saturating_sub(1);
    }

    /// A lane waits, or goes on.
    pub(super) fn set_wait(&mut self, provider: &str, wait: Option<Wait>) {
        match wait {
            Some(wait) => drop(self.waits.insert(provider.to_owned(), wait)),
            None => drop(self.waits.remove(provider)),
        }
    }

    /// A lane is held for want of memory, or goes on.
    pub(super) fn set_held(&mut self, provider: &str, is_held: bool) {
        match is_held {
            true => drop(self.held.insert(provider.to_owned())),
            false => drop(self.held.remove(provider)),
        }
    }

    /// Something went wrong.
    pub(super) fn went_wrong(&mut self, error: &str, now_ms: i64) {
        self.row.last_error = Some(error.to_owned());
        self.row.last_error_at_ms = Some(now_ms);
    }

    /// A part has moved.
    pub(super) fn moved(&mut self, index: usize, row: PartRow, now_ms: i64) {
        if let Some(part) = self.parts.get_mut(index) {
            self.rate.count(row.seen.saturating_sub(part.seen), now_ms);
            *part = row;
            self.current = Some(index);
            self.moved_at_ms = Some(now_ms);
        }
    }

    /// Whether every lane waits.
    fn is_waiting(&self) -> bool {
        let waiting = self.waits.len() + self.held.len();
        self.row.state == State::Running && self.lanes > 0 && waiting >= self.lanes
    }

    /// Why every lane waits, and until when, where that is known: the wait that ends first.
    fn wait(&self) -> Option<(&str, Option<i64>)> {
        let first = self.waits.values().min_by_key(|wait| wait.until_ms);
        let wait = first.map(|wait| (wait.reason.as_str(), Some(wait.until_ms)));
        let held = self.held.first().map(|_| (HELD, None));
        held.or(wait).filter(|_| self.is_waiting())
    }

    /// How it stands.
    pub(super) fn state(&self) -> State {
        if self.is_waiting() { State::Waiting } else { self.row.state }
    }

    /// The job as people and the admin API know it.
    pub(super) fn job(&self, now_ms: i64) -> Job {
        let (row, wait) = (&self.row, self.wait());
        Job {
            name: row.name.clone(),
            spec: row.spec.clone(),
            state: self.state(),
            reason: wait.map(|(reason, _)| reason.to_owned()).or_else(|| row.reason.clone()),
            waits_until: wait.and_then(|(_, until_ms)| until_ms).map(written),
            last_error: row.last_error.clone(),
            last_error_at: row.last_error_at_ms.map(written),
            run: row.run,
            resumes: row.resumes,
            resumed_from: row.resumed_from.clone(),
            resumed_at: row.resumed_at_ms.map(written),
            created_at: written(row.created_at_ms),
            started_at: row.started_at_ms.map(written),
            finished_at: row.finished_at_ms.map(written),
            next_run_at: row.next_run_at_ms.map(written),
            progress: self.progress(now_ms),
        }
    }

    fn progress(&self, now_ms: i64) -> Progress {
        let mut progress = Progress { parts: self.parts.len() as u64, ..Progress::default() };
        for part in &self.parts {
            progress.parts_done += u64::from(part.state == PartState::Done);
            progress.parts_failed += u64::from(part.state == PartState::Failed);
            progress.seen += part.seen;
            progress.added += part.added;
            progress.removed += part.removed;
            progress.retrying += part.retrying;
            for (class, count) in &part.classes {
                *progress.classes.entry(class.clone()).or_default() += count;
            }
        }
        let current = self
            .current
            .and_then(|index| self.parts.get(index))
            .or_else(|| self.parts.iter().find(|part| has_begun(part)));
        progress.current = current.map(|part| part.key.clone());
        progress.cursor = current.and_then(|part| part.cursor.clone());
        progress.moved_at = self.moved_at_ms.map(written);
        if self.row.spec.kind == Kind::Pairs {
            // What is sent again is not seen again.
            progress.seen = progress.added;
        }
        if self.row.state == State::Running {
            progress.per_second = self.rate.per_second(now_ms);
            progress.eta_seconds = self.eta_seconds(progress.per_second);
        }
        progress
    }

    /// From what is expected of the parts that are left; where nobody has said, they are as large as those that are read.
    fn eta_seconds(&self, per_second: f64) -> Option<u64> {
        let (mut left, mut unknown) = (0u64, 0u64);
        for part in self.parts.iter().filter(|part| part.state == PartState::Open) {
            match part.expected {
                Some(expected) => left += expected.saturating_sub(part.seen),
                None => unknown += 1,
            }
        }
        if unknown > 0 {
            let read = self.parts.iter().filter(|part| matches!(part.state, PartState::Done | PartState::Retrying));
            let (count, seen) = read.fold((0u64, 0u64), |(count, seen), part| (count + 1, seen + part.seen));
            left += unknown * seen.checked_div(count)?;
        }
        let seconds = left as f64 / per_second;
        // A rate of zero says nothing, and makes no number.
        seconds.is_finite().then_some(seconds.ceil() as u64)
    }
}

/// Whether a part has begun and has more to read.
pub(super) fn has_begun(part: &PartRow) -> bool {
    part.state == PartState::Open && part.steps > 0
}

/// How much was seen lately: times, each the begin of a step, with what was seen in it.
#[derive(Debug, Default)]
struct Rate(VecDeque<(i64, u64)>);

impl Rate {
    fn count(&mut self, seen: u64, now_ms: i64) {
        while self.0.front().is_some_and(|(at_ms, _)| now_ms - at_ms > RATE_MS) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some((at_ms, sum)) if now_ms - *at_ms < RATE_STEP_MS => *sum += seen,
            _ => self.0.push_back((now_ms, seen)),
        }
    }

    fn per_second(&self, now_ms: i64) -> f64 {
        let lately = self.0.iter().filter(|(at_ms, _)| now_ms - at_ms <= RATE_MS);
        let (first_ms, seen) =
            lately.fold((now_ms, 0), |(first, seen), (at_ms, more)| (first.min(*at_ms), seen + more));
        // What comes within the first step came in no time, as far as this can tell.
        seen as f64 / ((now_ms - first_ms).max(RATE_STEP_MS) as f64 / 1000.0)
    }
}

/// What a part takes beside its row.
fn bytes_outside(part: &PartRow) -> usize {
    let texts = [Some(&part.key), Some(&part.provider), part.cursor.as_ref(), part.error.as_ref()];
    let texts = texts.into_iter().flatten().map(|text| allocated_bytes(text.capacity()));
    // A map of a few classes is one node with room for eleven.
    let node = if part.classes.is_empty() { 0 } else { allocated_bytes(11 * size_of::<(String, u64)>() + 16) };
    let classes = part.classes.keys().map(|class| allocated_bytes(class.capacity()));
    texts.chain(classes).sum::<usize>() + node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backfill::moves;
    use crate::memory::measured;

    #[test]
    fn parts_are_counted_as_they_are_taken() {
        let part = |number: usize| {
            let mut part = moves::planned(format!("host{number}.example.com"), "provider".to_owned(), None);
            part.cursor = number.is_multiple_of(2).then(|| "c".repeat(number % 100));
            part.classes.extend((0..number % 3).map(|class| (format!("class {class}"), 7)));
            part
        };
        let (parts, measured) = measured::of(|| (0..10_000).map(part).collect::<Vec<_>>());
        let rows = allocated_bytes(parts.capacity() * size_of::<PartRow>());
        measured::assert_near(rows + parts.iter().map(bytes_outside).sum::<usize>(), measured, 2);
    }

    #[test]
    fn the_rate_is_that_of_the_last_minutes() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(0), 0.0);
        for second in 0..1000 {
            rate.count(10, second * 1000);
        }
        let per_second = rate.per_second(999_000);
        assert!((9.0..=11.0).contains(&per_second), "{per_second}");
        assert_eq!(rate.per_second(2_000_000), 0.0, "nothing came lately");
        assert!(rate.0.len() < 50, "{}", rate.0.len());
    }
}
