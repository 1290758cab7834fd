//! Where to start reading a segment for a given seq.

use crate::memory::allocated_bytes;

/// Distance of two known places in a segment, in bytes: what a cursor skips at most when it is placed.
const SPACING_BYTES: u64 = 64 << 10;

/// Number of segments whose places are remembered: 4 MiB with segments of 256 MiB.
const SEGMENTS: usize = 64;

/// Sparse indexes of the segments used last. A segment without one is read from its start, which makes one.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    /// Most recently used first.
    recent: Vec<Index>,
}

#[derive(Debug)]
struct Index {
    first_seq: u64,
    /// Seq and offset of records, rising.
    places: Vec<(u64, u64)>,
}

impl Indexes {
    /// Remembers, of the records given by seq and offset in rising order, those far enough from the last known place
    /// in the segment that starts with `first_seq`.
    pub fn note(&mut self, first_seq: u64, records: impl IntoIterator<Item = (u64, u64)>) {
        let places = &mut self.of(first_seq).places;
        for (seq, offset) in records {
            if places.last().is_none_or(|(_, last)| offset >= last + SPACING_BYTES) {
                places.push((seq, offset));
            }
        }
    }

    /// The last known place at or before `seq` in the segment that starts with `first_seq`.
    pub fn place(&mut self, first_seq: u64, seq: u64) -> Option<(u64, u64)> {
        let places = &self.of(first_seq).places;
        let after = places.partition_point(|(known, _)| *known <= seq);
        after.checked_sub(1).and_then(|last| places.get(last)).copied()
    }

    /// Forgets the segments that do not start with any of `first_seqs`: those that are gone, and those that have an index of
    /// their own by now.
    pub fn keep_only(&mut self, first_seqs: &[u64]) {
        self.recent.retain(|index| first_seqs.contains(&index.first_seq));
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let places = self.recent.iter().map(|index| allocated_bytes(index.places.capacity() * size_of::<(u64, u64)>()));
        allocated_bytes(self.recent.capacity() * size_of::<Index>()) + places.sum::<usize>()
    }

    /// The index of a segment, moved to the front.
    fn of(&mut self, first_seq: u64) -> &mut Index {
        match self.recent.iter().position(|index| index.first_seq == first_seq) {
            Some(at) => self.recent[..=at].rotate_right(1),
            None => {
                self.recent.truncate(SEGMENTS - 1);
                self.recent.insert(0, Index { first_seq, places: Vec::new() });
            }
        }
        &mut self.recent[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::measured;

    #[test]
    fn what_needs_no_index_any_more_is_forgotten() {
        let mut indexes = Indexes::default();
        for segment in [1, 100, 200] {
            indexes.note(segment, [(segment, 0)]);
        }
        let bytes = indexes.bytes();
        indexes.keep_only(&[200, 300]);
        assert!(indexes.bytes() < bytes);
        assert_eq!([1, 100, 200].map(|segment| indexes.place(segment, segment)), [None, None, Some((200, 0))]);
    }

    #[test]
    fn indexes_are_counted_as_they_are_taken() {
        let (indexes, measured) = measured::of(|| {
            let mut indexes = Indexes::default();
            for segment in 0..2 * SEGMENTS as u64 {
                indexes.note(segment, (0..segment * 50).map(|number| (number, number * SPACING_BYTES)));
            }
            indexes
        });
        measured::assert_near(indexes.bytes(), measured, 1);
    }
}
