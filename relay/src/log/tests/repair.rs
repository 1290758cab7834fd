//! What a check finds, and that a repaired log opens again with all that could be read.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::compress::pack_sealed;
use super::*;

fn check(dir: &Path) -> Report {
    View::open(dir).unwrap().check(|_| Ok(())).unwrap()
}

fn repaired(dir: &Path) -> (Report, Vec<Repair>) {
    repair(dir, |_| Ok(())).unwrap()
}

/// The file of a segment, in the form in which it is.
fn file_of(dir: &Path, first_seq: u64) -> PathBuf {
    let plain = segment::path(dir, first_seq);
    if plain.exists() { plain } else { plain.with_extension("log.zst") }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Damages the third segment of a log of 60 events; gives the first seqs of all, oldest first.
fn damaged(dir: &Path, compressed: bool, at: impl Fn(usize) -> usize) -> Vec<u64> {
    let (log, _) = filled(dir, 20);
    if compressed {
        pack_sealed(dir, &log);
    }
    let firsts = segment::list(dir).unwrap();
    let file = file_of(dir, firsts[2]);
    flip(&file, at(std::fs::read(&file).unwrap().len()));
    firsts
}

/// Fails unless the log in `dir` has nothing wrong, opens and gives exactly the events of these seqs.
#[track_caller]
fn assert_holds(dir: &Path, seqs: impl IntoIterator<Item = u64>) -> Log {
    let report = check(dir);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let (log, reader) = open(options(dir));
    assert_reads(&reader, 0, seqs);
    log
}

#[test]
fn a_whole_log_is_found_whole_and_a_repair_changes_nothing() {
    for compressed in [false, true] {
        let dir = folder();
        let (log, _) = filled(dir.path(), 20);
        if compressed {
            pack_sealed(dir.path(), &log);
        }
        let report = check(dir.path());
        assert!(report.findings.is_empty(), "beside its relay: {:?}", report.findings);
        assert_eq!((report.events, report.seqs), (60, Some((1, 60))));
        let in_use = repair(dir.path(), |_| Ok(())).err().unwrap();
        assert!(matches!(in_use, Error::InUse { .. }), "{in_use}");
        drop(log);
        let before: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let (report, repairs) = repaired(dir.path());
        assert_eq!((report.findings.len(), repairs), (0, vec![]));
        let after: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(before, after);
        assert_holds(dir.path(), 1..=60);
    }
}

#[test]
fn the_segments_are_listed_with_what_they_hold() {
    let dir = folder();
    let (log, reader) = filled(dir.path(), 20);
    pack_sealed(dir.path(), &log);
    let infos = View::open(dir.path()).unwrap().segments().unwrap();
    let firsts = segment::list(dir.path()).unwrap();
    assert_eq!(infos.iter().map(|info| info.first_seq).collect::<Vec<_>>(), firsts);
    assert_eq!(infos.iter().map(SegmentInfo::events).sum::<u64>(), 60);
    assert_eq!(infos.iter().map(|info| info.disk_bytes).sum::<u64>(), reader.bytes());
    for (info, next) in infos.iter().zip(firsts[1..].iter().chain([&61])) {
        assert_eq!(info.last_seq, Some(next - 1));
        assert_eq!(info.first_ms, Some(event(info.first_seq).header.time_ms));
        let until = if *next == 61 { 60 } else { *next };
        assert_eq!(info.until_ms, Some(event(until).header.time_ms));
        assert_eq!(info.is_compressed, *next != 61, "all but the one that is written");
        assert_eq!(info.file, file_of(dir.path(), info.first_seq));
    }
}

#[test]
fn events_are_read_from_any_seq_without_the_lock() {
    let dir = folder();
    let (log, _) = filled(dir.path(), 20);
    pack_sealed(dir.path(), &log);
    let view = View::open(dir.path()).unwrap();
    for from in [0, 1, 17, 60, 61] {
        let mut read = Vec::new();
        view.read(from, |event| {
            read.push(event);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(read, (from.max(1)..=60).map(event).collect::<Vec<_>>());
    }
    let mut count = 0;
    view.read(5, |_| {
        count += 1;
        if count == 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(count, 20, "nothing more after a break");
}

#[test]
fn of_a_damaged_segment_what_is_before_the_damage_is_kept() {
    let dir = folder();
    let offset = |first_seq: u64| segment::HEADER_BYTES + record::HEADER_BYTES + event(first_seq).wire.len();
    // Into the second record of the segment.
    let (log, _) = filled(dir.path(), 20);
    drop(log);
    let firsts = segment::list(dir.path()).unwrap();
    let (first, next) = (firsts[2], firsts[3]);
    let file = file_of(dir.path(), first);
    flip(&file, offset(first) + 70);
    let report = check(dir.path());
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert!(
        matches!(finding, Finding::Damaged { lost: (from, Some(to)), .. } if (*from, *to) == (first + 1, next - 1)),
        "{finding:?}"
    );
    assert!(finding.to_string().contains(&format!("seqs {} to {} cannot be read", first + 1, next - 1)), "{finding}");
    let damaged = std::fs::read(&file).unwrap();
    let (_, repairs) = repaired(dir.path());
    let aside = PathBuf::from(format!("{}.damaged", file.display()));
    assert_eq!(
        repairs,
        [
            Repair::SetAside { file, aside: aside.clone(), kept_until: Some(first) },
            Repair::Lost { first: first + 1, last: Some(next - 1) }
        ]
    );
    assert_eq!(std::fs::read(aside).unwrap(), damaged, "nothing is deleted");
    let mut log = assert_holds(dir.path(), (1..=first).chain(next..=60));
    assert_eq!(log.next_seq(), 61);
    commit(&mut log, 3);
    let reader = Reader::new(std::sync::Arc::clone(&log.shared));
    assert_reads(&reader, first, next..=63);
    assert_eq!(View::open(dir.path()).unwrap().lost(), [first + 1..=next - 1]);
}

#[test]
fn a_damaged_compressed_segment_is_set_aside() {
    for at in [|_| 20, |bytes| bytes - 1, |bytes| bytes - 30, |bytes| bytes / 2] {
        let dir = folder();
        let firsts = damaged(dir.path(), true, at);
        let (report, repairs) = repaired(dir.path());
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        let lost = Repair::Lost { first: firsts[2], last: Some(firsts[3] - 1) };
        assert_eq!(repairs[1], lost, "of one block nothing is kept: {repairs:?}");
        assert_holds(dir.path(), (1..firsts[2]).chain(firsts[3]..=60));
    }
}

#[test]
fn a_segment_without_a_header_is_set_aside_wherever_it_is() {
    for position in [0, 2, 5] {
        let dir = folder();
        let firsts = {
            drop(filled(dir.path(), 20));
            segment::list(dir.path()).unwrap()
        };
        flip(&file_of(dir.path(), firsts[position]), 20);
        let error = Log::open(options(dir.path())).err().unwrap();
        assert!(error.to_string().contains("relay log check --repair"), "{error}");
        repaired(dir.path());
        let range = firsts[position]..firsts[position + 1];
        assert_holds(dir.path(), (1..=60).filter(|seq| !range.contains(seq)));
    }
}

#[test]
fn neighbours_that_are_damaged_are_lost_together() {
    let dir = folder();
    drop(filled(dir.path(), 20));
    let firsts = segment::list(dir.path()).unwrap();
    flip(&file_of(dir.path(), firsts[2]), segment::HEADER_BYTES + 5);
    flip(&file_of(dir.path(), firsts[3]), 20);
    std::fs::remove_file(file_of(dir.path(), firsts[4])).unwrap();
    repaired(dir.path());
    assert_holds(dir.path(), (1..firsts[2]).chain(firsts[5]..=60));
    assert_eq!(View::open(dir.path()).unwrap().lost(), [firsts[2]..=firsts[5] - 1]);
}

#[test]
fn a_missing_segment_is_written_down() {
    let dir = folder();
    drop(filled(dir.path(), 20));
    let firsts = segment::list(dir.path()).unwrap();
    std::fs::remove_file(file_of(dir.path(), firsts[2])).unwrap();
    let report = check(dir.path());
    let lost = firsts[2]..=firsts[3] - 1;
    assert!(
        matches!(report.findings.as_slice(), [Finding::Missing { lost: found }] if *found == lost),
        "{:?}",
        report.findings
    );
    let (_, repairs) = repaired(dir.path());
    assert_eq!(repairs, [Repair::Lost { first: *lost.start(), last: Some(*lost.end()) }]);
    assert_holds(dir.path(), (1..=60).filter(|seq| !lost.contains(seq)));
}

#[test]
fn an_unfinished_end_is_found_and_cut() {
    let dir = folder();
    drop(filled(dir.path(), 20));
    let file = last_file(dir.path());
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, [whole.as_slice(), &[7; 100]].concat()).unwrap();
    let report = check(dir.path());
    assert!(matches!(report.findings.as_slice(), [Finding::Torn { bytes: 100, .. }]), "{:?}", report.findings);
    assert_eq!(std::fs::read(&file).unwrap().len(), whole.len() + 100, "a check changes nothing");
    let (_, repairs) = repaired(dir.path());
    assert_eq!(repairs, [Repair::Cut { bytes: 100 }]);
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    assert_holds(dir.path(), 1..=60);
}

#[test]
fn after_damage_at_the_end_no_seq_comes_twice() {
    let dir = folder();
    let (mut log, _) = open(Options::new(dir.path()));
    (0..20).for_each(|_| commit(&mut log, 3));
    drop(log);
    let file = last_file(dir.path());
    let at: usize = (1..=30).map(|seq| record::HEADER_BYTES + event(seq).wire.len()).sum();
    flip(&file, segment::HEADER_BYTES + at + 10);
    let error = Log::open(Options::new(dir.path())).err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    let (report, repairs) = repaired(dir.path());
    assert!(matches!(report.findings[0], Finding::Damaged { lost: (31, None), .. }), "{:?}", report.findings);
    assert!(repairs.contains(&Repair::Lost { first: 31, last: None }), "{repairs:?}");
    let mut log = assert_holds(dir.path(), 1..=30);
    assert_eq!(log.next_seq(), 31 + SEQ_RESERVE);
    commit(&mut log, 1);
    drop(log);
    assert_holds(dir.path(), (1..=30).chain([31 + SEQ_RESERVE]));
}

#[test]
fn an_event_that_makes_no_sense_is_told_and_left() {
    let dir = folder();
    drop(filled(dir.path(), 2));
    let refuse = |event: &Event| if event.header.seq == 3 { Err("odd".to_owned()) } else { Ok(()) };
    let (report, repairs) = repair(dir.path(), refuse).unwrap();
    assert!(matches!(report.findings.as_slice(), [Finding::Event { seq: 3, .. }]), "{:?}", report.findings);
    assert_eq!(repairs, []);
    assert_holds(dir.path(), 1..=6);
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let dir = folder();
    let missing = dir.path().join("missing");
    assert!(View::open(&missing).is_err());
    assert!(repair(&missing, |_| Ok(())).is_err());
    assert!(!missing.exists());
}

#[test]
fn a_file_of_lost_seqs_that_cannot_be_read_is_named() {
    for text in ["1", "a b", "5 4", "1 2 3", "1,2"] {
        let dir = folder();
        std::fs::write(dir.path().join("lost"), text).unwrap();
        let error = Log::open(options(dir.path())).err().unwrap();
        assert!(matches!(error, Error::BadLost { .. }), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn whatever_is_damaged_a_repaired_log_opens_and_gives_only_true_events(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
        missing in prop::option::of(any::<prop::sample::Index>()),
        compressed: bool,
    ) {
        let dir = folder();
        let (log, _) = filled(dir.path(), 20);
        if compressed {
            pack_sealed(dir.path(), &log);
        }
        drop(log);
        let firsts = segment::list(dir.path()).unwrap();
        for (file, at) in flips {
            let file = file_of(dir.path(), *file.get(&firsts));
            flip(&file, at.index(std::fs::read(&file).unwrap().len()));
        }
        if let Some(missing) = missing {
            std::fs::remove_file(file_of(dir.path(), *missing.get(&firsts))).unwrap();
        }
        match repair(dir.path(), |_| Ok(())) {
            Err(Error::Version { .. }) => return Ok(()),
            result => result.unwrap(),
        };
        let report = check(dir.path());
        prop_assert!(report.findings.is_empty(), "{:?}", report.findings);
        let (mut log, reader) = open(options(dir.path()));
        let read = drain(&mut reader.cursor(0)).unwrap();
        let seqs: Vec<u64> = read.iter().map(|event| event.header.seq).collect();
        prop_assert!(seqs.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(&read, &seqs.iter().map(|seq| event(*seq)).collect::<Vec<_>>());
        let lost = View::open(dir.path()).unwrap().lost().to_vec();
        let (oldest, newest) = (segment::list(dir.path()).unwrap().first().copied().unwrap_or(61), firsts[firsts.len() - 1]);
        for seq in (oldest..newest).filter(|seq| !seqs.contains(seq)) {
            let is_told = lost.iter().any(|range| range.contains(&seq)) || log.next_seq() > SEQ_RESERVE;
            prop_assert!(is_told || missing.is_some(), "seq {} is gone and nothing says so: {:?}", seq, lost);
        }
        commit(&mut log, 3);
        let appended = drain(&mut reader.cursor(log.next_seq() - 4)).unwrap();
        prop_assert_eq!(appended.len(), 3);
    }
}
