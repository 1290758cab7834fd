//! What is left by a kill at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;

/// Steps of the import.
const STEPS: u64 = 20;
/// At how many places the write-ahead log is cut.
const CUTS: u64 = 40;

/// One step of an import: two new accounts, and one that goes.
fn step(number: u64) -> Vec<Edit> {
    let number = number as u32;
    let gone = Edit::Forget(did(number / 2));
    vec![Edit::Add(did(2 * number), nsid(1)), Edit::Add(did(2 * number + 1), nsid(1)), gone]
}

fn note(steps: u64) -> Option<Note> {
    Some(Note { name: "import".to_owned(), value: Some(steps.to_be_bytes().to_vec()) })
}

fn steps(directory: &Directory) -> u64 {
    directory.note("import").unwrap().map_or(0, |note| u64::from_be_bytes(note.try_into().unwrap()))
}

/// The files as they are at this moment.
fn copied(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// With memtables so large that all is in one write-ahead log.
fn opened(folder: TempDir) -> Rig {
    let store = Store::open(folder.path(), Sizes { block_cache: 1 << 20, memtables: 64 << 20 }).unwrap();
    Rig::with(folder, store, MEMORY_BYTES)
}

/// The newest write-ahead log.
fn write_ahead_log(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

/// A kill leaves the write-ahead log up to some byte.
#[test]
fn pairs_and_the_note_of_where_they_come_from_survive_together() {
    let shown = |rig: &Rig| -> (Vec<Did>, BTreeMap<Nsid, u64>) { (rig.page(&nsid(1)), rig.directory.counts()) };
    let rig = opened(tempfile::tempdir().unwrap());
    let mut expected = vec![shown(&rig)];
    for number in 0..STEPS {
        rig.directory.apply(&step(number), |_| note(number + 1)).unwrap();
        expected.push(shown(&rig));
    }
    let log = write_ahead_log(rig.folder.path());
    let log_bytes = fs::metadata(&log).unwrap().len();
    let mut left_steps = Vec::new();
    for cut in 0..=CUTS {
        let copy = copied(rig.folder.path());
        let file = fs::OpenOptions::new().write(true).open(copy.path().join(log.file_name().unwrap())).unwrap();
        file.set_len(log_bytes * cut / CUTS).unwrap();
        let left = opened(copy);
        let steps = steps(&left.directory);
        assert_eq!(shown(&left), expected[steps as usize], "{steps} steps are left");
        left_steps.push(steps);
    }
    assert!(left_steps.is_sorted());
    assert_eq!((left_steps[0], left_steps[CUTS as usize]), (0, STEPS));
}

#[test]
fn events_and_how_far_they_were_read_survive_together() {
    let rig = Rig::new();
    for seq in 1..=5 {
        let mut group = rig.directory.group();
        group.event(&did(seq), None, &active(), &[has(&nsid(1))]).unwrap();
        group.write(u64::from(seq)).unwrap();
        drop(group);
        let left = opened(copied(rig.folder.path()));
        assert_eq!(left.directory.applied().unwrap(), Some(u64::from(seq)));
        assert_eq!(left.page(&nsid(1)).len(), seq as usize);
    }
}
