//! What is removed, what never is, and what cursors see of it.

use std::thread;

use super::*;

/// Lets everything go.
const ALL: Retention = Retention { oldest_ms: i64::MAX, max_bytes: 0, keep_after_seq: u64::MAX };

/// Lets nothing go.
const NONE: Retention = Retention { oldest_ms: i64::MIN, max_bytes: u64::MAX, keep_after_seq: u64::MAX };

/// First seqs of the segments.
fn firsts(dir: &Path) -> Vec<u64> {
    segment::list(dir).unwrap()
}

#[test]
fn nothing_goes_within_the_limits() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 10);
    assert_eq!(log.retain(NONE).unwrap(), Removed::default());
    assert_reads(&reader, 0, 1..=30);
}

#[test]
fn the_segment_being_written_stays() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 10);
    let before = (files(dir.path()).len() as u64, reader.bytes());
    let removed = log.retain(ALL).unwrap();
    assert_eq!(removed.segments, before.0 - 1);
    assert_eq!(removed.bytes, before.1 - reader.bytes());
    let first = reader.first_seq();
    assert_eq!(firsts(dir.path()), [first]);
    assert_eq!(reader.oldest_ms(), Some(event(first).header.time_ms));
    assert_reads(&reader, 0, first..=30);
    commit(&mut log, 3);
    drop(log);
    let (log, reader) = open(options(dir.path()));
    assert_eq!(log.next_seq(), 34);
    assert_reads(&reader, 0, first..=33);
}

#[test]
fn a_segment_goes_when_its_newest_event_is_old_enough() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 10);
    let firsts = firsts(dir.path());
    for pair in firsts.windows(2) {
        // The newest event of the first segment is one second older than the first of the second.
        let at = event(pair[1]).header.time_ms;
        log.retain(Retention { oldest_ms: at, ..NONE }).unwrap();
        assert_eq!(reader.first_seq(), pair[0], "an event of that very time stays");
        log.retain(Retention { oldest_ms: at + 1, ..NONE }).unwrap();
        assert_eq!(reader.first_seq(), pair[1]);
    }
}

#[test]
fn the_oldest_go_until_the_size_fits() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 20);
    let total = reader.bytes();
    for max_bytes in [total, total - 1, total / 2, 1500] {
        log.retain(Retention { max_bytes, ..NONE }).unwrap();
        let on_disk: u64 = files(dir.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
        assert_eq!(reader.bytes(), on_disk);
        assert!(on_disk <= max_bytes && on_disk + 2000 > max_bytes.min(total), "{on_disk} bytes for {max_bytes}");
    }
}

#[test]
fn what_derived_state_does_not_hold_yet_stays() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 20);
    for keep_after_seq in 0..=60 {
        log.retain(Retention { keep_after_seq, ..ALL }).unwrap();
        assert!(reader.first_seq() <= keep_after_seq + 1, "events after {keep_after_seq} are needed");
    }
    assert_eq!(firsts(dir.path()).len(), 1);
}

#[test]
fn a_cursor_reads_a_removed_segment_to_its_end_and_goes_on_with_the_oldest_left() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 20);
    let firsts = firsts(dir.path());
    let mut cursor = reader.cursor(0);
    let mut seen = Vec::new();
    cursor.read(0, &mut seen).unwrap();
    assert_eq!(seen.last().unwrap().header.seq, firsts[1] - 1, "one read ends with its segment");
    let mut fresh = reader.cursor(firsts[1]);
    fresh.read(0, &mut Vec::new()).unwrap();
    log.retain(ALL).unwrap();
    let last = *firsts.last().unwrap();
    assert_eq!(drain(&mut cursor).unwrap()[0], event(last), "a segment that it had not opened is gone");
    commit(&mut log, 1);
    assert_reads(&reader, 0, last..=61);
    assert_eq!(drain(&mut fresh).unwrap().last(), Some(&event(61)));
}

#[test]
fn a_cursor_reads_on_in_the_file_that_was_removed_under_it() {
    let dir = folder();
    let (mut log, reader) = open(Options { segment_bytes: 500_000, ..options(dir.path()) });
    while files(dir.path()).len() < 3 {
        commit(&mut log, 100);
    }
    let second = firsts(dir.path())[1];
    let mut cursor = reader.cursor(0);
    let mut seen = Vec::new();
    cursor.read(0, &mut seen).unwrap();
    let read = seen.len() as u64;
    assert!(read < second - 1, "the first segment is read in part");
    log.retain(Retention { max_bytes: reader.bytes() - 1, ..NONE }).unwrap();
    assert_eq!(reader.first_seq(), second);
    let rest = drain(&mut cursor).unwrap();
    assert_eq!(rest, (read + 1..=reader.last_seq()).map(event).collect::<Vec<_>>());
}

#[test]
fn readers_survive_retention_at_full_speed() {
    const LAST: u64 = 20_000;
    let dir = folder();
    let (mut log, reader) = open(options(dir.path()));
    thread::scope(|scope| {
        for _ in 0..3 {
            let reader = reader.clone();
            scope.spawn(move || {
                let mut cursor = reader.cursor(0);
                let mut last = 0;
                while last < LAST {
                    for read in drain(&mut cursor).unwrap() {
                        assert!(read.header.seq > last, "seqs rise");
                        last = read.header.seq;
                        assert_eq!(read, event(last));
                    }
                }
            });
        }
        while log.next_seq() <= LAST {
            commit(&mut log, 1);
            log.retain(Retention { max_bytes: 3000, ..NONE }).unwrap();
        }
    });
}

#[test]
fn a_file_that_cannot_be_removed_stays_in_the_log() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 10);
    let oldest = files(dir.path()).remove(0);
    let aside = dir.path().join("aside");
    std::fs::rename(&oldest, &aside).unwrap();
    let error = log.retain(ALL).err().unwrap();
    assert!(matches!(&error, Error::Io { path, .. } if *path == oldest), "{error}");
    std::fs::rename(&aside, &oldest).unwrap();
    assert_reads(&reader, 0, 1..=30);
    assert!(log.retain(ALL).unwrap().segments > 1);
}
