//! Where a log continues: after a clean end, after a crash, from a floor, and what keeps it from being opened.

use super::*;

fn os(dir: &Path) -> Options {
    Options { durability: Durability::Os, ..options(dir) }
}

#[test]
fn a_log_continues_after_any_end() {
    for close in [true, false] {
        let dir = folder();
        for round in 0..5 {
            let (mut log, reader) = open(options(dir.path()));
            assert_eq!(log.recovery(), Recovery::default(), "nothing is to be repaired");
            assert_eq!((log.next_seq(), reader.last_seq()), (round * 7 + 1, round * 7));
            commit(&mut log, 7);
            assert_reads(&reader, 0, 1..=round * 7 + 7);
            if close {
                log.close().unwrap();
            }
        }
    }
}

#[test]
fn close_commits_what_is_appended() {
    let dir = folder();
    let (mut log, _) = open(options(dir.path()));
    append(&mut log, &event(1));
    log.close().unwrap();
    let (_log, reader) = open(options(dir.path()));
    assert_reads(&reader, 0, [1]);
}

/// Protocol 5.
#[test]
fn seqs_start_at_the_initial_seq_and_never_below() {
    let dir = folder();
    let from = |initial_seq| Options { initial_seq, ..options(dir.path()) };
    let (mut log, reader) = open(from(1000));
    assert_eq!((log.next_seq(), reader.first_seq(), reader.last_seq()), (1000, 1000, 999));
    commit(&mut log, 3);
    drop(log);
    let (mut log, _) = open(from(5));
    assert_eq!(log.next_seq(), 1003, "a floor below the log changes nothing");
    commit(&mut log, 1);
    drop(log);
    let (mut log, reader) = open(from(2000));
    assert_eq!(log.recovery().skipped_seqs, 996);
    assert_eq!(reader.last_seq(), 1999, "a cursor in the gap is not from the future");
    assert_reads(&reader, 1000, 1001..=1003);
    let mut waiting = reader.cursor(1500);
    assert_eq!(drain(&mut waiting).unwrap(), []);
    commit(&mut log, 2);
    assert_eq!(drain(&mut waiting).unwrap(), [event(2000), event(2001)]);
    for after in [0, 999, 1000, 1002, 1003, 1004, 1999, 2000, 2001] {
        assert_reads(&reader, after, (1000..=1003).chain(2000..=2001).filter(|seq| *seq > after));
    }
    drop(log);
    let (_log, reader) = open(options(dir.path()));
    assert_reads(&reader, 1003, 2000..=2001);
}

#[test]
fn without_sync_only_an_unclean_end_jumps_ahead() {
    let dir = folder();
    let (mut log, _) = open(os(dir.path()));
    commit(&mut log, 7);
    log.close().unwrap();
    let (mut log, _) = open(os(dir.path()));
    assert_eq!((log.next_seq(), log.recovery().skipped_seqs), (8, 0), "after a clean end nothing is skipped");
    commit(&mut log, 1);
    drop(log);
    let (mut log, reader) = open(os(dir.path()));
    let next = log.next_seq();
    assert!(next > 9 && next <= 9 + SEQ_RESERVE, "after a crash seqs jump ahead, to {next}");
    assert_reads(&reader, 0, 1..=8);
    commit(&mut log, 1);
    assert_reads(&reader, 7, [8, next]);
}

/// Protocol 5.
#[test]
fn without_sync_no_loss_makes_a_seq_come_twice() {
    let dir = folder();
    let mut next = 1;
    for round in 0..4 {
        let (mut log, _) = open(os(dir.path()));
        assert!(log.next_seq() >= next, "round {round}: seq {} was given out before", log.next_seq());
        commit(&mut log, 5);
        next = log.next_seq();
        drop(log);
        for file in files(dir.path()) {
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn the_jump_outlives_a_run_that_commits_nothing_with_another_durability() {
    let dir = folder();
    let (mut log, _) = open(os(dir.path()));
    commit(&mut log, 5);
    drop(log);
    let (log, _) = open(options(dir.path()));
    let next = log.next_seq();
    assert!(next > 6, "the run before was without sync and ended uncleanly");
    log.close().unwrap();
    let (log, _) = open(options(dir.path()));
    assert_eq!(log.next_seq(), next);
}

#[test]
fn more_events_than_were_reserved_reserve_more() {
    let dir = folder();
    let file = dir.path().join("next_seq");
    std::fs::write(&file, "5").unwrap();
    let (mut log, _) = open(os(dir.path()));
    commit(&mut log, 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", 6 + SEQ_RESERVE));
    log.close().unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "6\n", "a clean end gives back what was not used");
}

/// Protocol 5.
#[test]
fn seqs_end_where_clients_lose_precision() {
    let dir = folder();
    let at = |initial_seq| Options { initial_seq, ..options(dir.path()) };
    assert!(matches!(Log::open(at(MAX_SEQ + 1)), Err(Error::SeqsExhausted { .. })));
    let (mut log, reader) = open(at(MAX_SEQ));
    commit(&mut log, 1);
    let beyond = log.append(&event(MAX_SEQ + 1).header, b"");
    assert!(matches!(beyond, Err(Error::SeqsExhausted { .. })), "{beyond:?}");
    assert_reads(&reader, 0, [MAX_SEQ]);
}

#[test]
fn a_log_has_one_writer() {
    let dir = folder();
    let (log, _) = open(options(dir.path()));
    let second = Log::open(options(dir.path())).err().unwrap();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    drop(log);
    open(options(dir.path()));
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let dir = folder();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Log::open(options(&file.join("log"))).err().unwrap().to_string();
    assert!(error.contains("cannot make") && error.contains("file/log"), "{error}");
}

#[test]
fn a_reservation_that_is_no_number_is_refused() {
    for text in ["", "x", "-1", "1.5", "\u{0}"] {
        let dir = folder();
        std::fs::write(dir.path().join("next_seq"), text).unwrap();
        let error = Log::open(options(dir.path())).err().unwrap();
        assert!(matches!(error, Error::BadReservation { .. }), "{text:?}: {error}");
    }
}

#[test]
fn a_newer_format_is_left_alone() {
    let dir = folder();
    drop(filled(dir.path(), 4));
    let file = &files(dir.path())[0];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[8] = 2;
    std::fs::write(file, &bytes).unwrap();
    let error = Log::open(options(dir.path())).err().unwrap();
    assert!(matches!(error, Error::Version { version: 2, .. }), "{error}");
    assert_eq!(std::fs::read(file).unwrap(), bytes);
}
