//! Torn tails are cut, damage is not.

use super::*;

/// A log that ends with a commit of three events, as one segment; gives the length before that commit.
fn log_and_tail(dir: &Path) -> (PathBuf, u64) {
    let (mut log, _) = open(Options::new(dir));
    commit(&mut log, 4);
    let file = last_file(dir);
    let synced = file.metadata().unwrap().len();
    commit(&mut log, 3);
    (file, synced)
}

/// Where the records of [`log_and_tail`]'s last commit begin, as offset and seq, and where they end.
fn tail_records(synced: u64) -> Vec<(u64, u64)> {
    let mut offset = synced;
    let mut records = Vec::new();
    for seq in 5..=8 {
        records.push((offset, seq));
        offset += (record::HEADER_BYTES + event(seq).wire.len()) as u64;
    }
    records
}

/// Fails unless the log opens with the events before `next_seq`, and continues with that one, also after a restart.
#[track_caller]
fn assert_continues(dir: &Path, next_seq: u64, cut_bytes: u64) {
    let (mut log, reader) = open(Options::new(dir));
    assert_eq!(log.next_seq(), next_seq);
    assert_eq!(log.recovery(), Recovery { cut_bytes, skipped_seqs: 0 });
    assert_reads(&reader, 0, 1..next_seq);
    commit(&mut log, 2);
    drop(log);
    let (log, reader) = open(Options::new(dir));
    assert_eq!(log.recovery(), Recovery::default(), "the cut left nothing behind");
    assert_reads(&reader, 0, 1..=next_seq + 1);
}

#[track_caller]
fn assert_damaged(dir: &Path, expected_file: &Path, expected_offset: u64) {
    match Log::open(Options::new(dir)) {
        Err(Error::Damaged { file, offset, fault }) => {
            assert_eq!((file.as_path(), offset), (expected_file, expected_offset), "{fault}");
        }
        Err(other) => panic!("expected damage, got: {other}"),
        Ok(_) => panic!("a log that lost synced events was opened: their seqs would come twice"),
    }
}

#[test]
fn a_tail_that_ends_at_any_byte_is_cut_at_the_last_whole_record() {
    let dir = folder();
    let (file, synced) = log_and_tail(dir.path());
    let whole = std::fs::read(&file).unwrap();
    let records = tail_records(synced);
    for end in synced..=whole.len() as u64 {
        std::fs::write(&file, &whole[..end as usize]).unwrap();
        let (start, next_seq) = *records.iter().rfind(|(offset, _)| *offset <= end).unwrap();
        assert_continues(dir.path(), next_seq, end - start);
    }
}

#[test]
fn a_tail_that_is_wrong_at_any_byte_is_cut_before_that_record() {
    let dir = folder();
    let (file, synced) = log_and_tail(dir.path());
    let whole = std::fs::read(&file).unwrap();
    let records = tail_records(synced);
    for at in synced..whole.len() as u64 {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 1 << (at % 8);
        std::fs::write(&file, &bytes).unwrap();
        let (start, next_seq) = *records.iter().rfind(|(offset, _)| *offset <= at).unwrap();
        assert_continues(dir.path(), next_seq, whole.len() as u64 - start);
    }
}

#[test]
fn a_tail_of_which_a_part_never_reached_the_disk_is_cut() {
    let dir = folder();
    let (file, synced) = log_and_tail(dir.path());
    let whole = std::fs::read(&file).unwrap();
    for from in synced..whole.len() as u64 {
        let mut bytes = whole.clone();
        bytes[from as usize..].fill(0);
        std::fs::write(&file, &bytes).unwrap();
        let (log, reader) = open(Options::new(dir.path()));
        assert!((5..8).contains(&log.next_seq()) || bytes == whole, "zeros are no event");
        assert_reads(&reader, 0, 1..log.next_seq());
    }
}

#[test]
fn damage_to_synced_events_is_not_taken_for_a_torn_tail() {
    let dir = folder();
    let (file, synced) = log_and_tail(dir.path());
    let whole = std::fs::read(&file).unwrap();
    let mut start = segment::HEADER_BYTES as u64;
    for seq in 1..=4 {
        let end = start + (record::HEADER_BYTES + event(seq).wire.len()) as u64;
        for at in start..end {
            let mut bytes = whole.clone();
            bytes[at as usize] ^= 1 << (at % 8);
            std::fs::write(&file, &bytes).unwrap();
            assert_damaged(dir.path(), &file, start);
        }
        start = end;
    }
    assert_eq!(start, synced);
    std::fs::write(&file, &whole).unwrap();
    assert_continues(dir.path(), 8, 0);
}

#[test]
fn damage_is_found_behind_megabytes_of_other_bytes() {
    // Around two megabytes, so that the proof also lies across the end of what is scanned at once.
    for bytes in ((2 << 20) - 2 * record::HEADER_BYTES..=2 << 20).step_by(7) {
        let dir = folder();
        let (mut log, _) = open(Options::new(dir.path()));
        commit(&mut log, 1);
        let file = last_file(dir.path());
        let bad = file.metadata().unwrap().len();
        append(&mut log, &event_of_size(2, bytes));
        log.commit().unwrap();
        commit(&mut log, 1);
        drop(log);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[bad as usize..][..1 << 20].fill(0);
        std::fs::write(&file, bytes).unwrap();
        assert_damaged(dir.path(), &file, bad);
    }
}

#[test]
fn a_host_cannot_pass_a_torn_tail_off_as_damage() {
    let dir = folder();
    let (mut log, _) = open(Options::new(dir.path()));
    commit(&mut log, 1);
    let file = last_file(dir.path());
    let torn = file.metadata().unwrap().len();
    // A frame that holds what would be the record of a later commit, if the host knew the salt.
    let mut planted = Vec::new();
    for salt in 0..1000 {
        record::encode(&event(9).header, 0, salt, b"", &mut planted);
    }
    append(&mut log, &event(2));
    log.append(&event(3).header, &planted).unwrap();
    log.commit().unwrap();
    drop(log);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[torn as usize] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert_continues(dir.path(), 2, bytes.len() as u64 - torn);
}

#[test]
fn a_segment_that_was_never_finished_is_removed() {
    let dir = folder();
    let (mut log, _) = open(options(dir.path()));
    commit(&mut log, 3);
    commit(&mut log, 6);
    drop(log);
    let file = last_file(dir.path());
    assert_eq!(files(dir.path()).len(), 2);
    let whole = std::fs::read(&file).unwrap();
    let first_record = segment::HEADER_BYTES + record::HEADER_BYTES + event(4).wire.len();
    for end in 0..first_record {
        for bytes in [whole[..end].to_vec(), vec![0; end]] {
            std::fs::write(&file, bytes).unwrap();
            let (mut log, reader) = open(options(dir.path()));
            assert_eq!(log.next_seq(), 4);
            assert!(!file.exists(), "a segment without an event is no segment");
            assert_reads(&reader, 0, 1..=3);
            commit(&mut log, 6);
            assert_reads(&reader, 0, 1..=9);
            drop(log);
        }
    }
}

#[test]
fn the_segment_before_an_unfinished_one_is_whole_or_damaged() {
    let dir = folder();
    let (mut log, _) = open(options(dir.path()));
    commit(&mut log, 3);
    commit(&mut log, 6);
    drop(log);
    let [first, last] = files(dir.path()).try_into().unwrap();
    let (whole, unfinished) = (std::fs::read(&first).unwrap(), std::fs::read(&last).unwrap());
    for at in segment::HEADER_BYTES..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&first, bytes).unwrap();
        std::fs::write(&last, &unfinished[..segment::HEADER_BYTES]).unwrap();
        let error = Log::open(options(dir.path())).err();
        assert!(matches!(error, Some(Error::Damaged { .. })), "byte {at}: {error:?}");
    }
    // Not even the header says how far the one before went, but it had an event.
    std::fs::write(&first, &whole[..segment::HEADER_BYTES]).unwrap();
    std::fs::write(&last, "").unwrap();
    let error = Log::open(options(dir.path())).err();
    assert!(matches!(error, Some(Error::Damaged { .. })), "{error:?}");
}

#[test]
fn damage_in_a_sealed_segment_is_told_when_it_is_read() {
    let dir = folder();
    drop(filled(dir.path(), 20));
    let file = files(dir.path())[2].clone();
    let first_seq = segment::list(dir.path()).unwrap()[2];
    let mut bytes = std::fs::read(&file).unwrap();
    let second_record = segment::HEADER_BYTES + record::HEADER_BYTES + event(first_seq).wire.len();
    bytes[second_record + 70] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (_log, reader) = open(options(dir.path()));
    let mut cursor = reader.cursor(0);
    let mut events = Vec::new();
    let error = loop {
        if let Err(error) = cursor.read(0, &mut events) {
            break error;
        }
    };
    assert_eq!(events, (1..=first_seq).map(event).collect::<Vec<_>>(), "all before the damage is read");
    let again = cursor.read(0, &mut events).err().unwrap();
    for error in [error, again] {
        let text = error.to_string();
        let Error::Damaged { file: found, offset, .. } = error else { panic!("{text}") };
        assert_eq!((found, offset), (file.clone(), second_record as u64), "{text}");
        assert!(text.contains(file.to_str().unwrap()) && text.contains(&format!("byte {second_record}")), "{text}");
    }
}

#[test]
fn a_sealed_segment_that_is_too_short_is_told_when_it_is_read() {
    let dir = folder();
    drop(filled(dir.path(), 20));
    let file = files(dir.path())[2].clone();
    let first_seq = segment::list(dir.path()).unwrap()[2];
    let whole = std::fs::read(&file).unwrap();
    let second_record = segment::HEADER_BYTES + record::HEADER_BYTES + event(first_seq).wire.len();
    for end in [second_record, second_record + 1, whole.len() - 1] {
        std::fs::write(&file, &whole[..end]).unwrap();
        let (_log, reader) = open(options(dir.path()));
        let error = drain(&mut reader.cursor(0)).err();
        assert!(matches!(&error, Some(Error::Damaged { file: found, .. }) if *found == file), "{error:?}");
    }
}

#[test]
fn a_missing_or_misplaced_segment_is_told_at_once() {
    let dir = folder();
    drop(filled(dir.path(), 20));
    let files = files(dir.path());
    let aside = dir.path().join("aside");
    std::fs::rename(&files[2], &aside).unwrap();
    let error = Log::open(options(dir.path())).err();
    assert!(
        matches!(&error, Some(Error::Damaged { file, fault: Fault::Chain(_), .. }) if *file == files[3]),
        "{error:?}"
    );
    std::fs::copy(&files[3], &files[2]).unwrap();
    let error = Log::open(options(dir.path())).err();
    assert!(
        matches!(&error, Some(Error::Damaged { file, fault: Fault::SegmentHeader, .. }) if *file == files[2]),
        "{error:?}"
    );
    std::fs::rename(&aside, &files[2]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    open(options(dir.path()));
}
