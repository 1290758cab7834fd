//! Disks that are full or failing, and processes that are killed: with the kernel's own errors, nothing is simulated.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// In a process that [`child`] started: the folder to work in.
const CHILD_DIR: &str = "RELAY_LOG_TEST_DIR";

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIR).map(PathBuf::from)
}

/// Runs the test `name` of this file in a process of its own, in which a file that grows too large is an error and no
/// signal.
fn child(name: &str, dir: &Path) -> Command {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]).arg(std::env::current_exe().unwrap());
    command.args([&format!("{module}::{name}"), "--exact", "--nocapture"]).env(CHILD_DIR, dir);
    command
}

/// Limits the size of every file that this process writes.
fn limit_file_bytes(current: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[test]
fn a_full_disk_loses_nothing_and_the_commit_can_be_tried_again() {
    let Some(dir) = child_dir() else {
        let dir = folder();
        let name = "a_full_disk_loses_nothing_and_the_commit_can_be_tried_again";
        let output = child(name, dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (_log, reader) = open(Options::new(dir.path()));
        assert_reads(&reader, 0, 1..=12);
        return;
    };
    let (mut log, reader) = open(Options::new(&dir));
    commit(&mut log, 3);
    let file = last_file(&dir);
    let committed = file.metadata().unwrap().len();
    let mut cursor = reader.cursor(0);
    for (count, room) in [(3, 0), (3, 1), (1, 100), (1, 400)] {
        limit_file_bytes(Some(committed + room));
        append_next(&mut log, count, event);
        let pending = log.pending_bytes();
        let error = log.commit().err().unwrap();
        assert!(matches!(error, Error::Io { action: "write", .. }), "{error}");
        assert_eq!(file.metadata().unwrap().len(), committed, "what was written in part is cut");
        assert_eq!(log.pending_bytes(), pending, "what could not be written is kept");
        assert_eq!(reader.last_seq(), 3, "what could not be written is not visible");
    }
    assert_eq!(drain(&mut cursor).unwrap().len(), 3);
    limit_file_bytes(None);
    let events = log.commit().unwrap();
    assert_eq!(events, (4..=11).map(event).collect::<Vec<_>>());
    assert_eq!(drain(&mut cursor).unwrap(), events);
    commit(&mut log, 1);
}

#[test]
fn a_disk_too_full_for_a_new_segment_leaves_none() {
    let Some(dir) = child_dir() else {
        let dir = folder();
        let output = child("a_disk_too_full_for_a_new_segment_leaves_none", dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (_log, reader) = open(options(dir.path()));
        assert_eq!(drain(&mut reader.cursor(9)).unwrap(), [event_of_size(10, 2000)]);
        return;
    };
    let (mut log, reader) = open(options(&dir));
    append(&mut log, &event(1));
    for room in [0, 10, 52, 100] {
        limit_file_bytes(Some(room));
        assert!(log.commit().is_err());
        assert_eq!(files(&dir), [] as [PathBuf; 0]);
    }
    limit_file_bytes(None);
    commit(&mut log, 8);
    assert_reads(&reader, 0, 1..=9);
    append(&mut log, &event_of_size(10, 2000));
    limit_file_bytes(Some(1500));
    assert!(log.commit().is_err());
    assert_eq!(files(&dir).len(), 1);
    limit_file_bytes(None);
    log.commit().unwrap();
    assert_eq!(files(&dir).len(), 2);
}

/// Lets the log write to `device` instead of its segment; gives the true file.
fn swap_file(log: &mut Log, device: &str) -> File {
    let device = File::options().write(true).open(device).unwrap();
    std::mem::replace(&mut log.active.as_mut().unwrap().file, device)
}

#[test]
fn a_write_that_fails_at_once_can_be_tried_again() {
    let dir = folder();
    let (mut log, reader) = filled(dir.path(), 1);
    let file = swap_file(&mut log, "/dev/full");
    append(&mut log, &event(4));
    let error = log.commit().err().unwrap();
    assert!(error.to_string().contains("No space left"), "{error}");
    log.active.as_mut().unwrap().file = file;
    commit(&mut log, 1);
    assert_reads(&reader, 0, 1..=5);
}

/// `/dev/null` takes every write and refuses to sync.
#[test]
fn after_a_failed_sync_the_commit_goes_into_a_new_segment() {
    let dir = folder();
    let (mut log, reader) = open(Options::new(dir.path()));
    commit(&mut log, 3);
    let file = last_file(dir.path());
    let committed = file.metadata().unwrap().len();
    let true_file = swap_file(&mut log, "/dev/null");
    append(&mut log, &event(4));
    let error = log.commit().err().unwrap();
    assert!(matches!(error, Error::Io { action: "sync", .. }), "{error}");
    assert_reads(&reader, 0, 1..=3);
    let error = log.commit().err().unwrap();
    assert!(matches!(error, Error::Io { action: "cut", .. }), "a file that cannot be cut is not left behind: {error}");
    log.active.as_mut().unwrap().file = true_file;
    std::fs::write(&file, [std::fs::read(&file).unwrap().as_slice(), b"what the disk may have"].concat()).unwrap();
    commit(&mut log, 1);
    assert_eq!(segment::list(dir.path()).unwrap(), [1, 4]);
    assert_eq!(file.metadata().unwrap().len(), committed);
    assert_reads(&reader, 0, 1..=5);
    drop(log);
    let (_log, reader) = open(Options::new(dir.path()));
    assert_reads(&reader, 0, 1..=5);
}

#[test]
fn a_killed_process_loses_nothing_that_it_committed() {
    const NAME: &str = "a_killed_process_loses_nothing_that_it_committed";
    if let Some(dir) = child_dir() {
        let (mut log, _) = open(Options { segment_bytes: 100_000, ..Options::new(dir) });
        loop {
            let count = log.next_seq() % 5 + 1;
            append_next(&mut log, count, event);
            let events = log.commit().unwrap();
            println!("\ncommitted {}", events.last().unwrap().header.seq);
        }
    }
    let dir = folder();
    let mut committed = 0;
    for round in 1..=10 {
        let mut child = child(NAME, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            committed = line.strip_prefix("committed ").map_or(committed, |seq| seq.parse().unwrap());
            if committed > round * 500 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(committed > round * 500, "the process ended by itself");
        let (log, reader) = open(Options::new(dir.path()));
        assert!(reader.last_seq() >= committed, "seq {committed} was committed and is lost");
        assert_reads(&reader, 0, 1..log.next_seq());
    }
}
