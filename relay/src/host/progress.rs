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
    /// Every event with a seq up to this is finished.
    cursor: u64,
    /// Seqs above the cursor that were seen, in order, and whether each is finished.
    open: VecDeque<(u64, bool)>,
    /// Seqs above the stored cursor that were finished before the restart; they come again and must not pass again.
    before_restart: HashSet<u64>,
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
    /// Progress as it was stored, plus the events that the log's tail shows to have passed since.
    pub fn resume(row: ProgressRow, passed_since: impl IntoIterator<Item = u64>) -> Progress {
        let mut before_restart: HashSet<u64> = row.finished_ahead.into_iter().collect();
        before_restart.extend(passed_since.into_iter().filter(|seq| *seq > row.cursor));
        Progress { cursor: row.cursor, open: VecDeque::new(), before_restart }
    }

    /// The seq to ask the host to go on from; 0 when it has never sent anything.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Notes the arrival of `seq`.
    pub fn begin(&mut self, seq: u64) -> Arrival {
        if seq <= self.cursor {
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
        if let Ok(place) = self.open.binary_search_by_key(&seq, |(open, _)| *open) {
            self.open[place].1 = true;
            self.advance();
        }
    }

    /// Forgets the past: the host counts from the start again.
    pub fn reset(&mut self) {
        *self = Progress::default();
    }

    /// What to store.
    pub fn row(&self) -> ProgressRow {
        let finished = self.open.iter().filter(|(_, finished)| *finished).map(|(seq, _)| *seq);
        let mut finished_ahead: Vec<u64> = finished.chain(self.before_restart.iter().copied()).collect();
        finished_ahead.retain(|seq| *seq > self.cursor);
        finished_ahead.sort_unstable();
        ProgressRow { cursor: self.cursor, finished_ahead }
    }

    fn advance(&mut self) {
        while let Some((seq, true)) = self.open.front().copied() {
            self.cursor = seq;
            self.open.pop_front();
        }
        if self.open.is_empty() && self.before_restart.iter().all(|seq| *seq <= self.cursor) {
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

    #[test]
    fn cursor_stays_below_the_first_unfinished_event() {
        let mut progress = Progress::default();
        for seq in [3, 5, 9] {
            assert_eq!(progress.begin(seq), Arrival::New);
        }
        progress.finish(5);
        assert_eq!(progress.row(), ProgressRow { cursor: 0, finished_ahead: vec![5] });
        progress.finish(3);
        assert_eq!(progress.row(), ProgressRow { cursor: 5, finished_ahead: vec![] });
        progress.finish(9);
        assert_eq!(progress.cursor(), 9);
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
        let mut progress = Progress::resume(row, [9, 14]);
        let arrivals = [11, 12, 13, 14, 15].map(|seq| progress.begin(seq));
        use Arrival::{New, Repeated};
        assert_eq!(arrivals, [New, Repeated, New, Repeated, New]);
        progress.finish(11);
        assert_eq!(progress.cursor(), 12, "12 was finished before the restart");
    }

    #[test]
    fn a_restart_before_the_repeated_events_came_keeps_them() {
        let row = ProgressRow { cursor: 10, finished_ahead: vec![12] };
        assert_eq!(Progress::resume(row, [14]).row(), ProgressRow { cursor: 10, finished_ahead: vec![12, 14] });
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
            for seq in &seqs {
                progress.begin(*seq);
            }
            for (seq, finish) in seqs.iter().zip(finish) {
                if finish {
                    progress.finish(*seq);
                    finished.push(*seq);
                }
            }
            let stored = ProgressRow::decode(&progress.row().encode()).expect("own row");
            let mut resumed = Progress::resume(stored, []);
            for seq in &seqs {
                let again = *seq > resumed.cursor() && resumed.begin(*seq) == Arrival::New;
                prop_assert_eq!(again, !finished.contains(seq), "seq {}", seq);
            }
        }
    }
}
