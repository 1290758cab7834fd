//! How far a host's stream has been processed, while its events finish out of order.

use std::collections::{HashSet, VecDeque};

/// What to do with an event that a host sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Process it, and call [`Progress::finish`] when it is dropped or durable in the log.
    New,
    /// It is in flight, or was finished before a reconnect or restart.
    Repeated,
}

/// The events of one host: which are finished, and the cursor below which all are (protocol 10).
#[derive(Debug, Default)]
pub struct Progress {
    /// Every event with a seq up to this is finished, or older than our interest in the host; `None` until its first.
    cursor: Option<u64>,
    /// Seqs above the cursor that were seen, in order, and whether each is finished.
    open: VecDeque<(u64, bool)>,
    /// Seqs above the stored cursor that were finished before the restart; they come again and must not pass again.
    before_restart: HashSet<u64>,
    /// Seqs of events that were in flight at a [`Progress::reset`]. When one of them ends, it is not the event that has
    /// the same seq since.
    before_reset: HashSet<u64>,
}

/// What is stored of a [`Progress`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgressRow {
    /// Every event with a seq up to this is finished.
    pub cursor: u64,
    /// Finished seqs above the cursor.
    pub finished_ahead: Vec<u64>,
}

impl Progress {
    /// Progress as it was stored, plus the events that the log's tail shows to have passed since. Without a stored row
    /// it is at the first of those.
    pub fn resume(row: Option<ProgressRow>, passed_since: &[u64]) -> Progress {
        let first_passed = passed_since.iter().min().map(|first| first.saturating_sub(1));
        let cursor = row.as_ref().map(|row| row.cursor).or(first_passed);
        let finished_ahead = row.into_iter().flat_map(|row| row.finished_ahead);
        let passed_ahead = passed_since.iter().copied().filter(|seq| Some(*seq) > cursor);
        let before_restart = finished_ahead.chain(passed_ahead).collect();
        Progress { cursor, open: VecDeque::new(), before_restart, before_reset: HashSet::new() }
    }

    /// The seq to ask the host to go on from; `None` when it has never sent anything.
    pub fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    /// Begins with the event after `cursor`, if nothing has begun yet; what the host sent before is not ours to ask for.
    pub fn start_at(&mut self, cursor: u64) {
        self.cursor.get_or_insert(cursor);
    }

    /// Notes the arrival of `seq`.
    pub fn begin(&mut self, seq: u64) -> Arrival {
        if Some(seq) <= self.cursor {
            return Arrival::Repeated;
        }
        let Err(place) = self.open.binary_search_by_key(&seq, |(open, _)| *open) else {
            return Arrival::Repeated;
        };
        let repeated = self.before_restart.remove(&seq);
        self.open.insert(place, (seq, repeated));
        self.advance();
        if repeated { Arrival::Repeated } else { Arrival::New }
    }

    /// Notes that `seq` needs no more work: it was dropped, or it is durable.
    pub fn finish(&mut self, seq: u64) {
        if self.before_reset.remove(&seq) {
            return;
        }
        if let Ok(place) = self.open.binary_search_by_key(&seq, |(open, _)| *open) {
            self.open[place].1 = true;
            self.advance();
        }
    }

    /// Forgets the past: the host is asked for its live stream, and may count from the start again.
    pub fn reset(&mut self) {
        let in_flight = self.open.iter().filter(|(_, finished)| !finished).map(|(seq, _)| *seq);
        let before_reset = in_flight.chain(self.before_reset.iter().copied()).collect();
        *self = Progress { before_reset, ..Progress::default() };
    }

    /// Events that were seen and are not finished.
    pub fn in_flight(&self) -> usize {
        self.open.iter().filter(|(_, finished)| !finished).count()
    }

    /// What to store; nothing until the host has sent something.
    pub fn row(&self) -> Option<ProgressRow> {
        let cursor = self.cursor?;
        let finished = self.open.iter().filter(|(_, finished)| *finished).map(|(seq, _)| *seq);
        let mut finished_ahead: Vec<u64> = finished.chain(self.before_restart.iter().copied()).collect();
        finished_ahead.retain(|seq| *seq > cursor);
        finished_ahead.sort_unstable();
        Some(ProgressRow { cursor, finished_ahead })
    }

    fn advance(&mut self) {
        while let Some((seq, true)) = self.open.front().copied() {
            self.cursor = Some(seq);
            self.open.pop_front();
        }
        if self.open.is_empty() && self.before_restart.iter().all(|seq| Some(*seq) <= self.cursor) {
            self.before_restart.clear();
        }
    }
}

impl ProgressRow {
    /// The row: cursor, then the finished seqs, each 8 bytes big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let seqs = std::iter::once(&self.cursor).chain(&self.finished_ahead);
        seqs.flat_map(|seq| seq.to_be_bytes()).collect()
    }

    /// Reads a row back; `None` when it is malformed.
    pub fn decode(row: &[u8]) -> Option<ProgressRow> {
        let (seqs, []) = row.as_chunks::<8>() else { return None };
        let (cursor, finished_ahead) = seqs.split_first()?;
        Some(ProgressRow {
            cursor: u64::from_be_bytes(*cursor),
            finished_ahead: finished_ahead.iter().map(|seq| u64::from_be_bytes(*seq)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Protocol 10.
    #[test]
    fn cursor_stays_below_the_first_unfinished_event() {
        let mut progress = Progress::default();
        progress.start_at(2);
        for seq in [3, 5, 9] {
            assert_eq!(progress.begin(seq), Arrival::New);
        }
        progress.finish(5);
        assert_eq!(progress.row(), Some(ProgressRow { cursor: 2, finished_ahead: vec![5] }));
        progress.finish(3);
        assert_eq!(progress.row(), Some(ProgressRow { cursor: 5, finished_ahead: vec![] }));
        progress.finish(9);
        assert_eq!(progress.cursor(), Some(9));
    }

    #[test]
    fn events_in_flight_are_not_taken_twice_after_a_reconnect() {
        let mut progress = Progress::default();
        progress.begin(1);
        progress.begin(2);
        progress.finish(2);
        assert_eq!([1, 2, 3].map(|seq| progress.begin(seq)), [Arrival::Repeated, Arrival::Repeated, Arrival::New]);
    }

    #[test]
    fn events_that_the_log_holds_do_not_pass_again_after_a_restart() {
        let row = ProgressRow { cursor: 10, finished_ahead: vec![12] };
        let mut progress = Progress::resume(Some(row), &[9, 14]);
        let arrivals = [11, 12, 13, 14, 15].map(|seq| progress.begin(seq));
        use Arrival::{New, Repeated};
        assert_eq!(arrivals, [New, Repeated, New, Repeated, New]);
        progress.finish(11);
        assert_eq!(progress.cursor(), Some(12), "12 was finished before the restart");
    }

    #[test]
    fn a_restart_before_the_repeated_events_came_keeps_them() {
        let row = ProgressRow { cursor: 10, finished_ahead: vec![12] };
        let resumed = Progress::resume(Some(row), &[14]).row();
        assert_eq!(resumed, Some(ProgressRow { cursor: 10, finished_ahead: vec![12, 14] }));
    }

    #[test]
    fn a_host_whose_row_was_lost_goes_on_from_its_first_event_in_the_log() {
        let mut progress = Progress::resume(None, &[8, 7]);
        assert_eq!(progress.cursor(), Some(6));
        assert_eq!([7, 8, 9].map(|seq| progress.begin(seq)), [Arrival::Repeated, Arrival::Repeated, Arrival::New]);
        assert_eq!(Progress::resume(None, &[]).cursor(), None, "one that never sent anything is asked for live events");
    }

    #[test]
    fn what_was_in_flight_at_a_reset_does_not_finish_what_came_after() {
        let mut progress = Progress::default();
        progress.start_at(0);
        for seq in [1, 2, 3] {
            progress.begin(seq);
        }
        progress.finish(2);
        assert_eq!(progress.in_flight(), 2);
        progress.reset();
        assert_eq!((progress.cursor(), progress.row()), (None, None), "the host is asked for its live stream");
        // It counts from 1 again.
        progress.start_at(0);
        assert_eq!([1, 2].map(|seq| progress.begin(seq)), [Arrival::New; 2], "these are other events");
        progress.finish(2);
        progress.finish(1);
        assert_eq!(progress.cursor(), Some(0), "that was the event 1 of before");
        progress.finish(1);
        assert_eq!(progress.cursor(), Some(2));
    }

    proptest! {
        /// Whatever the order of finishing and wherever the crash: after the restart each event passes exactly once.
        #[test]
        fn each_event_passes_once_over_a_crash(
            seqs in prop::collection::btree_set(1u64..1000, 1..60),
            finish in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut progress = Progress::default();
            let mut finished = Vec::new();
            progress.start_at(0);
            for seq in &seqs {
                progress.begin(*seq);
            }
            for (seq, finish) in seqs.iter().zip(finish) {
                if finish {
                    progress.finish(*seq);
                    finished.push(*seq);
                }
            }
            let stored = progress.row().and_then(|row| ProgressRow::decode(&row.encode()));
            let mut resumed = Progress::resume(stored, &[]);
            for seq in &seqs {
                let again = resumed.begin(*seq) == Arrival::New;
                prop_assert_eq!(again, !finished.contains(seq), "seq {}", seq);
            }
        }
    }
}
