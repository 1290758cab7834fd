#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::{AccountTag, Header, Kind};

fn event(seq: u64, size: usize) -> Event {
    let header = Header { seq, time_ms: 0, host: 0, upstream_seq: 0, kind: Kind::Commit, account: AccountTag([0; 16]) };
    Event { header, wire: Bytes::from(vec![0; size]) }
}

fn read(ring: &Ring, cursor: u64) -> (Found, Vec<u64>) {
    let mut batch = Vec::new();
    let found = ring.read_after(cursor, &mut batch);
    (found, batch.iter().map(|event| event.header.seq).collect())
}

#[test]
fn a_new_ring_sends_old_cursors_to_the_log() {
    let ring = Ring::new(1 << 20, 10);
    assert_eq!(read(&ring, 9), (Found::Behind { floor: 10 }, vec![]));
    assert_eq!(read(&ring, 10), (Found::UpToDate, vec![]));
    assert_eq!(read(&ring, 11), (Found::UpToDate, vec![]));
    assert_eq!(ring.push(vec![event(11, 10), event(15, 10)]), 15);
    assert_eq!(read(&ring, 10), (Found::Events, vec![11, 15]));
    assert_eq!(read(&ring, 11), (Found::Events, vec![15]), "seqs may jump");
    assert_eq!(read(&ring, 13), (Found::Events, vec![15]));
    assert_eq!(read(&ring, 15), (Found::UpToDate, vec![]));
    assert_eq!(read(&ring, 9), (Found::Behind { floor: 10 }, vec![]));
}

#[test]
fn the_oldest_events_leave() {
    let size = 1000;
    let ring = Ring::new(3 * cost(&event(1, size)), 0);
    for seq in 1..=5 {
        ring.push(vec![event(seq, size)]);
        assert!(ring.bytes() <= 3 * cost(&event(1, size)));
    }
    assert_eq!((ring.floor(), ring.head()), (2, 5));
    assert_eq!(read(&ring, 1), (Found::Behind { floor: 2 }, vec![]));
    assert_eq!(read(&ring, 2), (Found::Events, vec![3, 4, 5]));
}

#[test]
fn an_event_larger_than_the_ring_is_read_from_the_log() {
    let ring = Ring::new(100, 0);
    ring.push(vec![event(1, 1000)]);
    assert_eq!(read(&ring, 0), (Found::Behind { floor: 1 }, vec![]));
    assert_eq!(read(&ring, 1), (Found::UpToDate, vec![]));
    assert_eq!(ring.bytes(), 0);
}

#[test]
fn batches_are_bounded() {
    let ring = Ring::new(100 << 20, 0);
    ring.push((1..=100).map(|seq| event(seq, 1)).collect());
    assert_eq!(read(&ring, 0).1.len(), BATCH_EVENTS_MAX);
    ring.push((101..=105).map(|seq| event(seq, 100 << 10)).collect());
    assert_eq!(read(&ring, 100).1, [101, 102], "256 KiB");
    ring.push(vec![event(106, 5 << 20), event(107, 1)]);
    assert_eq!(read(&ring, 105).1, [106], "a larger event goes alone");
}

proptest! {
    #[test]
    fn readers_miss_nothing_after_the_floor(
        groups in prop::collection::vec(prop::collection::vec((1u64..3, 0usize..2000), 0..20), 1..10),
        bytes_max in 0usize..20_000,
    ) {
        let ring = Ring::new(bytes_max, 0);
        let mut seqs = Vec::new();
        for group in groups {
            let events: Vec<Event> = group.into_iter().map(|(step, size)| {
                let seq = seqs.last().unwrap_or(&0) + step;
                seqs.push(seq);
                event(seq, size)
            }).collect();
            ring.push(events);
            prop_assert!(ring.bytes() <= bytes_max);

            let mut cursor = ring.floor();
            let mut found = Vec::new();
            while let (Found::Events, batch) = read(&ring, cursor) {
                cursor = *batch.last().unwrap();
                found.extend(batch);
            }
            let expected: Vec<u64> = seqs.iter().copied().filter(|seq| *seq > ring.floor()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn another_size_is_taken_at_once() {
    let size = 1000;
    let ring = Ring::new(usize::MAX, 0);
    ring.push((1..=10).map(|seq| event(seq, size)).collect());
    ring.set_bytes_max(3 * cost(&event(1, size)));
    assert_eq!((ring.floor(), ring.head(), ring.bytes()), (7, 10, 3 * cost(&event(1, size))));
    assert_eq!(read(&ring, 6), (Found::Behind { floor: 7 }, vec![]));
    assert_eq!(read(&ring, 7), (Found::Events, vec![8, 9, 10]));
    ring.set_bytes_max(usize::MAX);
    ring.push((11..=20).map(|seq| event(seq, size)).collect());
    assert_eq!(read(&ring, 7), (Found::Events, (8..=20).collect()));
}
