//! What is left by a kill at any moment.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

/// How often the files are taken as they are.
const KILLS: usize = 12;

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

/// The directory of the files as they are at this moment.
fn killed(folder: &Path) -> Rig {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let store = open_store(copy.path());
    Rig::with(copy, store, MEMORY_BYTES)
}

#[test]
fn pairs_and_the_note_of_where_they_come_from_survive_together() {
    let rig = Rig::new();
    let (durable, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                rig.directory.apply(&step(number), |_| note(number + 1)).unwrap();
                durable.store(number + 1, Ordering::Release);
            }
        });
        for _ in 0..KILLS {
            let before = durable.load(Ordering::Acquire);
            let left = killed(rig.folder.path());
            let steps = steps(&left.directory);
            assert!(steps >= before, "{before} steps were durable, {steps} are left");

            let undisturbed = Rig::new();
            undisturbed.apply(&(0..steps).flat_map(step).collect::<Vec<_>>());
            let all = |rig: &Rig| rig.directory.page(&nsid(1), None, usize::MAX).unwrap();
            assert_eq!(all(&left), all(&undisturbed));
            assert_eq!(left.directory.counts(), undisturbed.directory.counts());
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn events_and_how_far_they_were_read_survive_together() {
    let rig = Rig::new();
    for seq in 1..=5 {
        let mut group = rig.directory.group();
        group.event(&did(seq), None, &active(), &[has(&nsid(1))]).unwrap();
        group.write(u64::from(seq)).unwrap();
        drop(group);
        let left = killed(rig.folder.path());
        assert_eq!(left.directory.applied().unwrap(), Some(u64::from(seq)));
        assert_eq!(left.page(&nsid(1)).len(), seq as usize);
    }
}
