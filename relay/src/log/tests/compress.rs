//! Compressed segments: the same events, whatever happens while they are made.

use std::fs::File;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use super::*;
use crate::log::segment::Segment;

/// Longest wait for the thread that compresses.
const PATIENCE: Duration = Duration::from_secs(60);

fn pack(dir: &Path, segment: &Arc<Segment>) -> Result<(), Error> {
    crate::log::compress::pack(segment, &File::open(dir).unwrap(), &AtomicBool::new(false), &AtomicUsize::new(0))
}

/// Compresses all sealed segments of a log, on this thread.
pub(super) fn pack_sealed(dir: &Path, log: &Log) {
    let sealed: Vec<_> = log.shared.segments().iter().filter(|segment| segment.sealed().is_some()).cloned().collect();
    for segment in sealed.iter().filter(|segment| segment.packed_bytes().is_none()) {
        pack(dir, segment).unwrap();
    }
}

/// Files of the folder by their endings: plain ones, compressed ones, unfinished ones.
fn forms(dir: &Path) -> [usize; 3] {
    [".log", ".log.zst", ".log.new"].map(|ending| {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(ending)).count()
    })
}

fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.file_name() != "next_seq").map(|entry| entry.metadata().unwrap().len()).sum()
}

/// A log of one sealed segment with several blocks, and one that is being written; all events are of 10,000 bytes.
fn blocks(dir: &Path) -> (Log, Reader, Arc<Segment>) {
    let (mut log, reader) = open(Options { segment_bytes: 2_000_000, ..Options::new(dir) });
    while log.shared.segments().len() < 2 {
        append_next(&mut log, 10, |seq| event_of_size(seq, 10_000));
        log.commit().unwrap();
    }
    let segment = Arc::clone(&log.shared.segments()[0]);
    (log, reader, segment)
}

fn read_after(reader: &Reader, after: u64) -> Vec<u64> {
    let events = drain(&mut reader.cursor(after)).unwrap();
    assert!(events.iter().all(|event| *event == event_of_size(event.header.seq, 10_000)), "bytes stay as they are");
    events.iter().map(|event| event.header.seq).collect()
}

#[test]
fn every_cursor_over_compressed_segments_gives_exactly_the_events_after_it() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 20);
    let plain = files(dir.path()).len();
    pack_sealed(dir.path(), &log);
    assert_eq!(forms(dir.path()), [1, plain - 1, 0], "all but the one that is written");
    let check = |reader: &Reader| (0..=61).for_each(|after| assert_reads(reader, after, after + 1..=60));
    check(&reader);
    drop(log);
    (log, _) = open(options(dir.path()));
    assert_eq!((log.next_seq(), log.recovery()), (61, Recovery::default()));
    let (log, reader) = {
        drop(log);
        open(options(dir.path()))
    };
    check(&reader);
    assert_eq!(reader.bytes(), disk_bytes(dir.path()), "the size is that on disk");
    drop(log);
}

#[test]
fn any_seq_of_a_segment_with_many_blocks_is_found() {
    let dir = folder();
    let (log, reader, segment) = blocks(dir.path());
    let before = read_after(&reader, 0);
    pack(dir.path(), &segment).unwrap();
    let last = reader.last_seq();
    assert_eq!(read_after(&reader, 0), before);
    for after in (0..=last).rev() {
        let mut events = Vec::new();
        reader.cursor(after).read(0, &mut events).unwrap();
        assert_eq!(events.first().map(|event| event.header.seq), (after < last).then_some(after + 1));
        let bytes: usize = events.iter().map(|event| event.wire.len()).sum();
        assert!(bytes <= packed::BLOCK_BYTES, "one read is one block at most, it was {bytes} bytes");
    }
    drop(log);
    let (_log, reader) = open(Options::new(dir.path()));
    (0..last).step_by(17).for_each(|after| assert_eq!(read_after(&reader, after), before[after as usize..]));
}

#[test]
fn a_cursor_reads_on_in_the_plain_file_that_was_compressed_under_it() {
    let dir = folder();
    let (_log, reader, segment) = blocks(dir.path());
    let mut cursor = reader.cursor(0);
    let mut seen = Vec::new();
    cursor.read(0, &mut seen).unwrap();
    assert!(seen.len() < 100, "the first segment is read in part");
    pack(dir.path(), &segment).unwrap();
    assert!(!segment.plain_path().exists());
    seen.extend(drain(&mut cursor).unwrap());
    assert_eq!(seen.len() as u64, reader.last_seq());
    assert!(seen.iter().zip(1..).all(|(event, seq)| *event == event_of_size(seq, 10_000)));
}

#[test]
fn a_compressed_segment_is_a_zstd_file_of_the_plain_one() {
    let dir = folder();
    let (_log, _, segment) = blocks(dir.path());
    let plain = std::fs::read(segment.plain_path()).unwrap();
    pack(dir.path(), &segment).unwrap();
    let packed = std::fs::read(segment.packed_path()).unwrap();
    assert_eq!(packed.len() as u64, segment.packed_bytes().unwrap());
    assert_eq!(zstd::decode_all(packed.as_slice()).unwrap(), plain);
}

#[test]
fn what_ends_while_it_compresses_leaves_a_log_that_is_whole() {
    let dir = folder();
    let (log, _, segment) = blocks(dir.path());
    let last = log.next_seq() - 1;
    let plain = std::fs::read(segment.plain_path()).unwrap();
    pack(dir.path(), &segment).unwrap();
    drop(log);
    let packed = std::fs::read(segment.packed_path()).unwrap();
    let check = |expected: [usize; 3], what: &str| {
        let (log, reader) = open(Options::new(dir.path()));
        assert_eq!(log.recovery(), Recovery::default(), "{what}");
        assert_eq!(forms(dir.path()), expected, "{what}");
        assert_eq!(read_after(&reader, 0), (1..=last).collect::<Vec<_>>(), "{what}");
        assert_eq!(reader.bytes(), disk_bytes(dir.path()), "{what}");
    };
    let start = |plain_file: bool, packed_file: Option<&[u8]>, new: Option<&[u8]>| {
        let files = [
            (segment.plain_path().to_owned(), plain_file.then_some(plain.as_slice())),
            (segment.packed_path(), packed_file),
            (segment.new_path(), new),
        ];
        for (path, bytes) in files {
            let _ = std::fs::remove_file(&path);
            bytes.into_iter().for_each(|bytes| std::fs::write(&path, bytes).unwrap());
        }
    };
    for end in (0..packed.len()).step_by(packed.len() / 5) {
        start(true, None, Some(&packed[..end]));
        check([2, 0, 0], "killed while the new file is written");
        start(true, Some(&packed[..end]), None);
        check([2, 0, 0], "a file that is not whole does not stand for the plain one");
    }
    start(true, None, Some(&packed));
    check([2, 0, 0], "killed before the new file got its name");
    start(true, Some(&packed), None);
    check([1, 1, 0], "killed before the plain file was removed");
    start(false, Some(&packed), None);
    check([1, 1, 0], "done");
}

#[test]
fn a_damaged_compressed_segment_is_told_where_it_is_read() {
    let dir = folder();
    let (log, _, segment) = blocks(dir.path());
    pack(dir.path(), &segment).unwrap();
    drop(log);
    let whole = std::fs::read(segment.packed_path()).unwrap();
    let trailer = whole.len() - packed::TRAILER_BYTES;
    for at in (0..whole.len()).step_by(whole.len() / 97).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(segment.packed_path(), &bytes).unwrap();
        let error = match Log::open(Options::new(dir.path())) {
            Ok((_log, reader)) => {
                assert!(at < trailer, "the trailer is read at start");
                let mut events = Vec::new();
                let mut cursor = reader.cursor(0);
                let error = loop {
                    let before = events.len();
                    match cursor.read(0, &mut events) {
                        Err(error) => break error,
                        Ok(()) => assert!(events.len() > before, "byte {at} of {} is not missed", whole.len()),
                    }
                };
                let is_true = |(event, seq): (&Event, u64)| *event == event_of_size(seq, 10_000);
                assert!(events.iter().zip(1..).all(is_true), "no wrong event is given out");
                error
            }
            Err(error) => error,
        };
        let text = error.to_string();
        assert!(matches!(&error, Error::Damaged { file, .. } if *file == segment.packed_path()), "byte {at}: {text}");
    }
    for end in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(segment.packed_path(), &whole[..end]).unwrap();
        let error = Log::open(Options::new(dir.path())).err().unwrap();
        assert!(matches!(error, Error::Damaged { fault: Fault::Index, .. }), "{error}");
    }
}

#[test]
fn a_damaged_plain_segment_is_not_compressed() {
    let dir = folder();
    let (_log, _, segment) = blocks(dir.path());
    let mut bytes = std::fs::read(segment.plain_path()).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(segment.plain_path(), &bytes).unwrap();
    let error = pack(dir.path(), &segment).err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(forms(dir.path()), [2, 0, 0]);
    assert_eq!(std::fs::read(segment.plain_path()).unwrap(), bytes, "the damaged file is left alone");
}

#[test]
fn retention_counts_what_compressed_segments_take_on_disk() {
    let dir = folder();
    let (mut log, reader) = open(Options { segment_bytes: 100_000, ..Options::new(dir.path()) });
    while log.shared.segments().len() < 6 {
        append_next(&mut log, 1, |seq| Event { wire: vec![7; 10_000].into(), ..event_of_size(seq, 0) });
        log.commit().unwrap();
    }
    let plain = reader.bytes();
    pack_sealed(dir.path(), &log);
    let total = reader.bytes();
    assert!(total < plain / 3, "{total} bytes of {plain}");
    assert_eq!(total, disk_bytes(dir.path()));
    let retention = |max_bytes| Retention { oldest_ms: i64::MIN, max_bytes, keep_after_seq: u64::MAX };
    assert_eq!(log.retain(retention(total)).unwrap(), Removed::default(), "what fits on disk stays");
    let oldest = log.shared.segments()[0].packed_bytes().unwrap();
    assert_eq!(log.retain(retention(total - 1)).unwrap(), Removed { segments: 1, bytes: oldest });
    assert_eq!(disk_bytes(dir.path()), total - oldest);
}

#[test]
fn retention_by_time_removes_compressed_segments() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 20);
    pack_sealed(dir.path(), &log);
    let firsts = segment::list(dir.path()).unwrap();
    for pair in firsts.windows(2) {
        let at = event(pair[1]).header.time_ms;
        let retention = |oldest_ms| Retention { oldest_ms, max_bytes: u64::MAX, keep_after_seq: u64::MAX };
        log.retain(retention(at)).unwrap();
        assert_eq!(reader.first_seq(), pair[0], "an event of that very time stays");
        log.retain(retention(at + 1)).unwrap();
        assert_eq!(reader.first_seq(), pair[1]);
        assert_reads(&reader, 0, pair[1]..=60);
    }
    assert_eq!(forms(dir.path()), [1, 0, 0]);
}

#[test]
fn a_segment_that_retention_has_removed_does_not_come_back_compressed() {
    let dir = folder();
    let (mut log, _, segment) = blocks(dir.path());
    let all = Retention { oldest_ms: i64::MAX, max_bytes: 0, keep_after_seq: u64::MAX };
    assert!(segment.claim(), "as while it is being replaced");
    assert_eq!(log.retain(all).unwrap(), Removed::default(), "it goes the next time");
    segment.release();
    assert_eq!(log.retain(all).unwrap().segments, 1);
    let error = pack(dir.path(), &segment).err();
    assert!(matches!(error, Some(Error::Io { .. })), "{error:?}");
    assert_eq!(forms(dir.path()), [1, 0, 0]);
}

#[test]
fn a_log_that_ends_with_a_compressed_segment_goes_on_in_a_new_one() {
    let dir = folder();
    let (log, _) = filled(dir.path(), 20);
    pack_sealed(dir.path(), &log);
    drop(log);
    let written = files(dir.path()).pop().unwrap();
    let first_seq = segment::list(dir.path()).unwrap().pop().unwrap();
    std::fs::remove_file(written).unwrap();
    let (mut log, _) = open(options(dir.path()));
    assert_eq!(log.next_seq(), first_seq);
    commit(&mut log, 3);
    drop(log);
    let (_log, reader) = open(options(dir.path()));
    assert_reads(&reader, 0, 1..=first_seq + 2);
}

#[test]
fn the_thread_compresses_all_but_the_newest_while_readers_read() {
    const LAST: u64 = 20_000;
    let dir = folder();
    let compressing = Options { compression: Compression::Zstd, segment_bytes: 20_000, ..Options::new(dir.path()) };
    let (mut log, reader) = open(compressing.clone());
    std::thread::scope(|scope| {
        for after in [0, 1, 9_999] {
            let reader = reader.clone();
            scope.spawn(move || {
                let mut expected = after;
                let mut cursor = reader.cursor(after);
                while expected < LAST {
                    for read in drain(&mut cursor).unwrap() {
                        expected += 1;
                        assert_eq!(read, event(expected), "events come in order, without gap or repetition");
                    }
                }
            });
        }
        while log.next_seq() <= LAST {
            let count = (log.next_seq() % 13 + 1).min(LAST + 1 - log.next_seq());
            commit(&mut log, count);
        }
    });
    let deadline = Instant::now() + PATIENCE;
    while forms(dir.path())[0] > 3 || forms(dir.path())[2] > 0 {
        assert!(Instant::now() < deadline, "still plain: {:?}", forms(dir.path()));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_reads(&reader, 0, 1..=LAST);
    assert_eq!(reader.bytes(), disk_bytes(dir.path()));
    drop(log);
    // What was plain for want of time, or under another setting, is compressed by a later start.
    let (mut log, _) = open(Options { compression: Compression::None, ..compressing.clone() });
    while log.shared.segments().iter().filter(|segment| segment.packed_bytes().is_none()).count() < 10 {
        commit(&mut log, 10);
    }
    drop(log);
    let (log, reader) = open(compressing);
    while forms(dir.path())[0] > 3 {
        assert!(Instant::now() < deadline, "still plain: {:?}", forms(dir.path()));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_reads(&reader, LAST, LAST + 1..log.next_seq());
}

#[test]
fn retention_beside_the_thread_leaves_nothing_behind() {
    let dir = folder();
    let compressing = Options { compression: Compression::Zstd, segment_bytes: 5_000, ..Options::new(dir.path()) };
    let (mut log, reader) = open(compressing);
    while log.next_seq() < 20_000 {
        commit(&mut log, 10);
        let retention = Retention { oldest_ms: i64::MIN, max_bytes: 30_000, keep_after_seq: u64::MAX };
        log.retain(retention).unwrap();
    }
    assert_reads(&reader, 0, reader.first_seq()..log.next_seq());
    drop(log);
    let (log, reader) = open(options(dir.path()));
    assert_reads(&reader, 0, reader.first_seq()..log.next_seq());
    assert_eq!(reader.bytes(), disk_bytes(dir.path()), "no file is left over");
}

#[test]
fn a_process_killed_while_it_compresses_loses_nothing() {
    const NAME: &str = "a_process_killed_while_it_compresses_loses_nothing";
    const CHILD_DIR: &str = "RELAY_LOG_TEST_PACK_DIR";
    let options = |dir: &Path| Options {
        compression: Compression::Zstd,
        segment_bytes: 300_000,
        durability: Durability::Os,
        ..Options::new(dir)
    };
    if let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) {
        let (mut log, _) = open(options(&dir));
        // It is killed long before this; should the other process die first, it must not fill the disk.
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            commit(&mut log, 200);
            // The thread of low priority gets its turn on a busy machine too.
            while forms(&dir)[0] > 8 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        return;
    }
    let dir = folder();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut packed = 0;
    for _ in 0..10 {
        let deadline = Instant::now() + PATIENCE;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&format!("{module}::{NAME}"), "--exact"])
            .env(CHILD_DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while forms(dir.path())[1] < packed + 3 {
            assert!(Instant::now() < deadline, "nothing is compressed: {:?}", forms(dir.path()));
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (log, reader) = open(Options { compression: Compression::None, ..options(dir.path()) });
        packed = forms(dir.path())[1];
        assert_eq!(forms(dir.path())[2], 0, "nothing unfinished is left");
        let read: Vec<Event> = drain(&mut reader.cursor(0)).unwrap();
        assert!(read.is_sorted_by(|a, b| a.header.seq < b.header.seq));
        assert!(read.iter().all(|read| *read == event(read.header.seq)));
        log.close().unwrap();
    }
}
