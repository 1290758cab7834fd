//! The promises of the log, by subject. Every event's content follows from its seq, so a test speaks of seqs only.
#![allow(clippy::unwrap_used)]

mod compress;
mod disk;
mod memory;
mod open;
mod property;
mod read;
mod repair;
mod retention;
mod tear;

use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A folder in memory if possible: there a sync costs nothing.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Small segments, so that a few events fill several.
fn options(dir: &Path) -> Options {
    Options { segment_bytes: 1000, ..Options::new(dir) }
}

fn open(options: Options) -> (Log, Reader) {
    Log::open(options).unwrap()
}

/// The event of `seq`: sizes from 0 to 250 bytes, times a second apart.
fn event(seq: u64) -> Event {
    event_of_size(seq, (seq * 89 % 251) as usize)
}

fn event_of_size(seq: u64, bytes: usize) -> Event {
    let header = Header {
        seq,
        time_ms: seq as i64 * 1000,
        host: seq as u32 % 7,
        upstream_seq: seq * 3,
        kind: [Kind::Commit, Kind::Sync, Kind::Identity, Kind::Account][seq as usize % 4],
        account: AccountTag::of(&format!("did:plc:{seq}")),
    };
    let wire = (0..bytes as u64).map(|at| (seq.wrapping_mul(31) ^ at.wrapping_mul(17) ^ (at >> 8)) as u8).collect();
    Event { header, wire }
}

fn append(log: &mut Log, event: &Event) {
    log.append(&event.header, &event.wire).unwrap();
}

/// Appends the next `count` events, as `event` makes them.
fn append_next(log: &mut Log, count: u64, event: impl Fn(u64) -> Event) {
    for seq in log.next_seq()..log.next_seq() + count {
        append(log, &event(seq));
    }
}

/// Appends the next `count` events and commits them at once.
fn commit(log: &mut Log, count: u64) {
    append_next(log, count, event);
    log.commit().unwrap();
}

/// A log of `commits` commits of three events each: about two commits to a segment.
fn filled(dir: &Path, commits: u64) -> (Log, Reader) {
    let (mut log, reader) = open(options(dir));
    for _ in 0..commits {
        commit(&mut log, 3);
    }
    (log, reader)
}

/// Reads all there is.
fn drain(cursor: &mut Cursor) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    loop {
        let before = events.len();
        cursor.read(0, &mut events)?;
        if events.len() == before {
            return Ok(events);
        }
    }
}

/// Fails unless a cursor at `after` gives exactly the events of `seqs`.
#[track_caller]
fn assert_reads(reader: &Reader, after: u64, seqs: impl IntoIterator<Item = u64>) {
    let read = drain(&mut reader.cursor(after)).unwrap();
    let expected: Vec<Event> = seqs.into_iter().map(event).collect();
    assert_eq!(read, expected, "a cursor gives exactly the events after it; it was {after}");
}

/// Paths of the segments, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir).unwrap().into_iter().map(|first_seq| segment::path(dir, first_seq)).collect()
}

fn last_file(dir: &Path) -> PathBuf {
    files(dir).pop().unwrap()
}
