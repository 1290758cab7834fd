//! What the log takes of memory.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::memory::measured;

#[test]
fn the_writers_buffers_are_counted_until_they_are_committed() {
    let dir = folder();
    let (mut log, reader) = open(Options::new(dir.path()));
    let events: Vec<Event> = (1..=40).map(|seq| event_of_size(seq, 100_000)).collect();
    let before = reader.memory_bytes();
    let ((), measured) = measured::of(|| events.iter().for_each(|event| append(&mut log, event)));
    measured::assert_near(reader.memory_bytes() - before, measured, 1);
    let committed = log.commit().unwrap();
    let ready = reader.memory_bytes() - before;
    assert!(ready > 4_000_000, "the next commit is likely as large, and has its room: {ready}");
    drop(committed);
}

#[test]
fn segments_and_their_indexes_are_counted() {
    let dir = folder();
    let (mut log, reader) = open(options(dir.path()));
    commit(&mut log, 3);
    let before = reader.memory_bytes();
    for _ in 0..200 {
        commit(&mut log, 3);
    }
    let segments = log.shared.segments().len();
    assert!(segments > 50, "{segments}");
    let full = reader.memory_bytes() - before;
    assert!(full >= segments * 150, "{full} bytes");
    log.retain(Retention { oldest_ms: i64::MAX, max_bytes: 0, keep_after_seq: u64::MAX }).unwrap();
    let rest = reader.memory_bytes().saturating_sub(before);
    assert!(rest < full / 4, "{rest} bytes of {full}, with {} segments", log.shared.segments().len());
}

#[test]
fn the_compressor_is_counted() {
    let dir = folder();
    let (mut log, _reader) = open(Options { segment_bytes: 2_000_000, ..Options::new(dir.path()) });
    while log.shared.segments().len() < 2 {
        append_next(&mut log, 10, |seq| event_of_size(seq, 10_000));
        log.commit().unwrap();
    }
    let segment = Arc::clone(&log.shared.segments()[0]);
    let counted = AtomicUsize::new(0);
    let folder = File::open(dir.path()).unwrap();
    crate::log::compress::pack(&segment, &folder, &AtomicBool::new(false), &counted).unwrap();
    let counted = counted.load(Ordering::Relaxed);
    // A block, what it becomes at worst, and what the library works with.
    assert!((700_000..4_000_000).contains(&counted), "{counted} bytes");
}
