//! The last seconds: what grows too fast for the slope over minutes to see in time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far it looks back.
const WINDOW: Duration = Duration::from_secs(10);
/// Less says nothing.
const SPAN_MIN: Duration = Duration::from_secs(6);
/// Samples that are kept; more often than each half second is of no use.
const SAMPLES_MAX: usize = 32;

/// The working set of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Sprint {
    samples: VecDeque<(Instant, u64)>,
}

impl Sprint {
    /// Notes how much there is at a time.
    pub(super) fn push(&mut self, at: Instant, bytes: u64) {
        while self.samples.front().is_some_and(|(then, _)| at.saturating_duration_since(*then) > WINDOW) {
            self.samples.pop_front();
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((at, bytes));
    }

    /// When `limit` is reached if it goes on like this. A single leap is none that goes on: what counts is the half of
    /// the window that has grown less.
    pub(super) fn seconds_to(&self, limit: u64) -> Option<u64> {
        let ((first_at, first), (last_at, last)) = (*self.samples.front()?, *self.samples.back()?);
        let (_, middle) = self.samples[self.samples.len() / 2];
        let span = last_at.saturating_duration_since(first_at);
        let grown = 2 * middle.saturating_sub(first).min(last.saturating_sub(middle));
        if span < SPAN_MIN || grown == 0 {
            return None;
        }
        let seconds = limit.saturating_sub(last) as f64 * span.as_secs_f64() / grown as f64;
        Some(seconds as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sprint(bytes: impl IntoIterator<Item = u64>) -> Sprint {
        let (mut sprint, begin) = (Sprint::default(), Instant::now());
        for (second, bytes) in bytes.into_iter().enumerate() {
            sprint.push(begin + Duration::from_secs(second as u64), bytes);
        }
        sprint
    }

    #[test]
    fn what_grows_evenly_reaches_the_limit_in_the_time_that_is_left() {
        let seconds = sprint((0..=60).map(|second| second * 10)).seconds_to(800);
        assert_eq!(seconds, Some(20), "10 a second, from 600");
        assert_eq!(sprint((0..=60).map(|second| second * 10)).seconds_to(500), Some(0), "it is beyond already");
    }

    #[test]
    fn what_does_not_grow_or_leaps_once_reaches_nothing() {
        let cases: [(&str, Vec<u64>); 5] = [
            ("nothing is known", vec![]),
            ("too little is known", vec![1, 200, 400]),
            ("it stays", vec![500; 20]),
            ("it falls", (0..20).rev().collect()),
            ("it leaps", (0..20).map(|second| if second < 15 { 100 } else { 700 }).collect()),
        ];
        for (what, bytes) in cases {
            assert_eq!(sprint(bytes).seconds_to(800), None, "{what}");
        }
    }

    #[test]
    fn samples_do_not_pile_up() {
        let (mut sprint, begin) = (Sprint::default(), Instant::now());
        for at in 0..10_000 {
            sprint.push(begin + Duration::from_millis(at), at);
        }
        assert!(sprint.samples.len() <= SAMPLES_MAX, "{}", sprint.samples.len());
    }
}
