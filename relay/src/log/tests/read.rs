//! Appending, committing and reading an intact log.

use std::thread;

use super::*;

#[test]
fn a_commit_returns_its_events_and_only_then_readers_see_them() {
    let dir = folder();
    let (mut log, reader) = open(options(dir.path()));
    let events: Vec<Event> = (1..=5).map(event).collect();
    for event in &events {
        append(&mut log, event);
    }
    assert!(log.pending_bytes() > 0, "appended events are pending");
    assert_eq!((reader.last_seq(), log.next_seq()), (0, 6), "appended events take seqs and are not visible");
    assert_reads(&reader, 0, []);
    assert_eq!(log.commit().unwrap(), events);
    assert_eq!((reader.first_seq(), reader.last_seq(), log.pending_bytes()), (1, 5, 0));
    assert_reads(&reader, 0, 1..=5);
    assert_eq!(log.commit().unwrap(), [], "an empty commit commits nothing");
}

#[test]
fn an_empty_log_has_nothing_and_starts_at_one() {
    let dir = folder();
    let (log, reader) = open(options(dir.path()));
    assert_eq!((log.next_seq(), reader.first_seq(), reader.last_seq()), (1, 1, 0));
    assert_eq!((reader.oldest_ms(), reader.bytes()), (None, 0));
    assert_reads(&reader, 0, []);
}

#[test]
fn every_cursor_over_many_segments_gives_exactly_the_events_after_it() {
    let dir = folder();
    let (log, reader) = filled(dir.path(), 20);
    assert!(files(dir.path()).len() > 5, "the test needs many file boundaries");
    for after in 0..=61 {
        assert_reads(&reader, after, after + 1..=60);
    }
    drop(log);
    let (_log, reader) = open(options(dir.path()));
    for after in (0..=61).rev() {
        assert_reads(&reader, after, after + 1..=60);
    }
}

#[test]
fn a_cursor_at_the_head_goes_on_when_the_log_does() {
    let dir = folder();
    let (mut log, reader) = open(options(dir.path()));
    let mut early = reader.cursor(0);
    let mut seen = drain(&mut early).unwrap();
    for _ in 0..20 {
        commit(&mut log, 2);
        seen.extend(drain(&mut early).unwrap());
        let mut late = reader.cursor(reader.last_seq());
        commit(&mut log, 1);
        assert_eq!(drain(&mut late).unwrap(), [event(reader.last_seq())]);
    }
    seen.extend(drain(&mut early).unwrap());
    assert_eq!(seen, (1..=60).map(event).collect::<Vec<_>>());
}

#[test]
fn a_cursor_from_the_future_waits_for_its_seq() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 2);
    let mut cursor = reader.cursor(10);
    assert_eq!(drain(&mut cursor).unwrap(), []);
    commit(&mut log, 8);
    assert_eq!(drain(&mut cursor).unwrap(), (11..=14).map(event).collect::<Vec<_>>());
}

#[test]
fn any_seq_of_a_long_segment_is_found_with_and_without_an_index() {
    let dir = folder();
    let long = Options::new(dir.path());
    let (mut log, reader) = open(long.clone());
    for _ in 0..30 {
        append_next(&mut log, 100, |seq| event_of_size(seq, 900));
        log.commit().unwrap();
    }
    let check = |reader: &Reader, after: u64| {
        let mut events = Vec::new();
        reader.cursor(after).read(usize::MAX, &mut events).unwrap();
        assert_eq!(events[0], event_of_size(after + 1, 900));
    };
    (0..3000).step_by(61).for_each(|after| check(&reader, after));
    *log.shared.indexes() = index::Indexes::default();
    (0..3000).rev().step_by(61).for_each(|after| check(&reader, after));
    drop(log);
    let (_log, reader) = open(long);
    (0..3000).rev().step_by(67).for_each(|after| check(&reader, after));
}

#[test]
fn one_read_gives_about_as_much_as_asked_for() {
    let dir = folder();
    let (mut log, reader) = open(Options::new(dir.path()));
    append_next(&mut log, 3000, |seq| event_of_size(seq, 1000));
    log.commit().unwrap();
    for (max_bytes, expected) in [(0, 64 << 10), (100_000, 100_000), (usize::MAX, 1 << 20)] {
        let mut events = Vec::new();
        reader.cursor(0).read(max_bytes, &mut events).unwrap();
        let bytes: usize = events.iter().map(|event| event.wire.len() + record::HEADER_BYTES).sum();
        assert!(bytes <= expected && bytes > expected - 2000, "{bytes} bytes were read where {expected} fit");
    }
}

#[test]
fn events_larger_than_a_block_are_read_whole() {
    let dir = folder();
    let (mut log, reader) = open(options(dir.path()));
    let sizes = [10, 70_000, 0, MAX_WIRE_BYTES, 10, 2 << 20];
    let events: Vec<Event> = (1..).zip(sizes).map(|(seq, bytes)| event_of_size(seq, bytes)).collect();
    for event in &events {
        append(&mut log, event);
    }
    log.commit().unwrap();
    assert_eq!(drain(&mut reader.cursor(0)).unwrap(), events);
    drop(log);
    let (_log, reader) = open(options(dir.path()));
    assert_eq!(drain(&mut reader.cursor(2)).unwrap(), events[2..]);
}

#[test]
fn an_event_that_does_not_belong_is_refused_and_changes_nothing() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 1);
    let next = event(4);
    let early = log.append(&event(3).header, b"x");
    assert!(matches!(early, Err(Error::OutOfOrder { seq: 3, expected: 4 })), "{early:?}");
    let late = log.append(&event(5).header, b"x");
    assert!(matches!(late, Err(Error::OutOfOrder { seq: 5, expected: 4 })), "{late:?}");
    let large = log.append(&next.header, &vec![0; MAX_WIRE_BYTES + 1]);
    assert!(matches!(large, Err(Error::TooLarge { .. })), "{large:?}");
    assert_eq!((log.pending_bytes(), log.next_seq()), (0, 4));
    commit(&mut log, 1);
    assert_reads(&reader, 0, 1..=4);
}

#[test]
fn readers_beside_the_writer_miss_and_repeat_nothing() {
    const LAST: u64 = 20_000;
    let dir = folder();
    let (mut log, reader) = open(Options { segment_bytes: 20_000, ..options(dir.path()) });
    let follow = |reader: Reader, after: u64| {
        let mut cursor = reader.cursor(after);
        let mut expected = after;
        while expected < LAST {
            let head = reader.last_seq();
            let events = drain(&mut cursor).unwrap();
            for read in events {
                expected += 1;
                assert_eq!(read, event(expected), "events come in order, without gap or repetition");
            }
            assert!(expected >= head, "all events up to the head can be read");
        }
    };
    thread::scope(|scope| {
        for after in [0, 1, 77, 9_999] {
            let reader = reader.clone();
            scope.spawn(move || follow(reader, after));
        }
        while log.next_seq() <= LAST {
            let count = (log.next_seq() % 13 + 1).min(LAST + 1 - log.next_seq());
            commit(&mut log, count);
        }
    });
}
