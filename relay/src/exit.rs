//! How the relay ends, and what it leaves behind for whoever starts it again.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::log::Reader;
use crate::memory::{Cgroup, Limit, RestartReason, Usage};

/// Exit code of a relay that cannot start.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a restart that the relay has planned itself.
pub const EXIT_PLANNED_RESTART: u8 = 75;

/// Kubernetes cuts a termination message here, and JSON that is cut is none.
const TERMINATION_BYTES_MAX: usize = 4096;

/// What the relay is told from outside, mostly by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To stop.
    Stop,
    /// To restart as it does when its memory runs short.
    Restart,
}

/// How a relay that had started came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// It wants to be started again.
    Restart(RestartReason),
}

impl Ended {
    /// The exit code that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Ended::Stopped => 0,
            Ended::Restart(_) => EXIT_PLANNED_RESTART,
        }
    }
}

/// The termination message: what Kubernetes shows of a container that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// One word: `Stopped`, `MemoryHardMark`, `MemoryTrend`, `Requested`, `Failed`, `Panicked`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The last seq in the log; 0 when it is empty.
    pub seq: u64,
    /// Working set, in bytes.
    pub working_set: u64,
    /// Memory limit, in bytes.
    pub limit: u64,
    /// When (RFC 3339).
    pub at: String,
}

impl Termination {
    /// Writes it to `path`.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.to_json().map_err(std::io::Error::other)?)
    }

    /// As JSON, the message cut to what fits.
    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut short = self.clone();
        loop {
            let json = serde_json::to_vec(&short)?;
            if json.len() <= TERMINATION_BYTES_MAX || short.message.is_empty() {
                return Ok(json);
            }
            // A character takes a byte at least, and six where it is escaped: what is over is cut, then what still is.
            let excess = json.len() - TERMINATION_BYTES_MAX;
            let keep = short.message.len().saturating_sub(excess.div_ceil(6).max(1));
            short.message.truncate(short.message.floor_char_boundary(keep));
        }
    }
}

/// Writes the termination message, however the relay ends; clones write to the same place.
#[derive(Debug, Clone)]
pub struct LastWords(Arc<Place>);

#[derive(Debug)]
struct Place {
    file: Option<PathBuf>,
    memory_limit: Option<u64>,
    log: OnceLock<Reader>,
}

impl LastWords {
    /// Last words that go to `file`, of a relay whose memory limit was set to `memory_limit`, if it was.
    pub fn new(file: Option<PathBuf>, memory_limit: Option<u64>) -> LastWords {
        LastWords(Arc::new(Place { file, memory_limit, log: OnceLock::new() }))
    }

    /// The log whose last seq they name.
    pub fn set_log(&self, log: Reader) {
        // There is one log in the life of a relay.
        let _ = self.0.log.set(log);
    }

    /// It ends, or begins to: `more` says how far that is.
    pub fn ended(&self, ended: &Ended, more: &str) {
        match ended {
            Ended::Stopped => self.say("Stopped", format!("told to stop; {more}"), self.memory()),
            Ended::Restart(why) => {
                self.say(why.reason, format!("{}; {more}", why.message), (why.working_set, why.limit));
            }
        }
    }

    /// It cannot start.
    pub fn failed(&self, error: impl Display) {
        self.say("Failed", error.to_string(), self.memory());
    }

    /// A thread panicked without which it is none.
    pub fn panicked(&self, thread: &str) {
        let message = format!("the thread of the {thread} has panicked; the relay's log says where");
        self.say("Panicked", message, self.memory());
    }

    /// Working set and limit.
    fn memory(&self) -> (u64, u64) {
        let cgroup = Cgroup::of_this_process();
        let limit = Limit::find(self.0.memory_limit, cgroup.as_ref());
        (Usage::read(limit.counted_by(cgroup.as_ref()), &[]).working_set, limit.bytes)
    }

    fn say(&self, reason: &str, message: String, (working_set, limit): (u64, u64)) {
        let Some(file) = &self.0.file else { return };
        let now = Timestamp::now();
        let termination = Termination {
            reason: reason.to_owned(),
            message,
            seq: self.0.log.get().map_or(0, Reader::last_seq),
            working_set,
            limit,
            at: Timestamp::from_second(now.as_second()).unwrap_or(now).to_string(),
        };
        if let Err(error) = termination.write(file) {
            tracing::warn!(file = %file.display(), %error, "termination message not written");
        }
    }
}

/// Ends the process when its time is up, whatever hangs; dropped before, it does nothing.
#[derive(Debug)]
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    /// Ends the process with `code` after `time`.
    pub fn start(time: Duration, code: u8) -> std::io::Result<Watchdog> {
        let (alive, until) = mpsc::channel();
        let watch = move || {
            if until.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                tracing::error!(?time, "not stopped in time, the process ends; the next start repairs what it left");
                now(code);
            }
        };
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { _alive: alive })
    }
}

/// Ends the process at once, as a kill does but with an exit code. An exit in the usual way runs what libraries have
/// left for it, and RocksDB's waits for compactions, however long.
#[allow(unsafe_code, reason = "the standard library has no exit without exit handlers")]
pub fn now(code: u8) -> ! {
    // SAFETY: `_exit` takes any number, reads no memory of ours, and nothing of this process runs after it.
    unsafe { libc::_exit(code.into()) }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    fn termination(message: String) -> Termination {
        Termination {
            reason: "MemoryHardMark".to_owned(),
            message,
            seq: 123_456,
            working_set: 963_641_344,
            limit: 1 << 30,
            at: "2026-11-28T10:00:00Z".to_owned(),
        }
    }

    /// The operator reads it: the file is the contract.
    #[test]
    fn the_message_is_as_the_operator_expects_it() {
        let contract: Value =
            serde_json::from_str(include_str!("../../operator/tests/contract/termination.json")).unwrap();
        let message = contract["message"].as_str().unwrap().to_owned();
        let ours: Value = serde_json::from_slice(&termination(message).to_json().unwrap()).unwrap();
        assert_eq!(ours, contract);
    }

    #[test]
    fn a_long_message_is_cut_and_stays_json() {
        for message in ["x".repeat(10_000), "ü".repeat(10_000), "\u{1}\"\\".repeat(5000), "short".to_owned()] {
            let json = termination(message.clone()).to_json().unwrap();
            assert!(json.len() <= TERMINATION_BYTES_MAX, "{} bytes", json.len());
            let read: Value = serde_json::from_slice(&json).unwrap();
            let cut = read["message"].as_str().unwrap();
            assert!(message.starts_with(cut) && (cut == message || json.len() > TERMINATION_BYTES_MAX - 20), "{cut}");
        }
    }

    /// Runs a test of this program again, in a process of its own that knows it.
    pub(crate) fn again(test: &str) -> std::process::ExitStatus {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).env(AGAIN, "1");
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap()
    }

    /// Whether this is that process.
    pub(crate) fn is_again() -> bool {
        std::env::var_os(AGAIN).is_some()
    }

    const AGAIN: &str = "RELAY_TEST_AGAIN";

    #[test]
    fn what_hangs_is_ended_by_the_watchdog() {
        if is_again() {
            let _watchdog = Watchdog::start(Duration::from_millis(10), 75).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        } else {
            assert_eq!(again("exit::tests::what_hangs_is_ended_by_the_watchdog").code(), Some(75));
        }
    }

    #[test]
    fn a_watchdog_that_is_dropped_ends_nothing() {
        if is_again() {
            drop(Watchdog::start(Duration::from_millis(50), 75).unwrap());
            std::thread::sleep(Duration::from_millis(200));
        } else {
            assert_eq!(again("exit::tests::a_watchdog_that_is_dropped_ends_nothing").code(), Some(0));
        }
    }

    #[test]
    fn last_words_are_the_latest_and_never_a_reason_to_fail() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("termination-log");
        let words = LastWords::new(Some(file.clone()), Some(1 << 30));
        let why =
            RestartReason { reason: "MemoryTrend", message: "it leaks".to_owned(), working_set: 1000, limit: 2000 };
        words.ended(&Ended::Restart(why), "draining");
        let read = || -> Value { serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap() };
        let said = read();
        assert_eq!((&said["reason"], &said["message"]), (&"MemoryTrend".into(), &"it leaks; draining".into()));
        assert_eq!((&said["workingSet"], &said["limit"], &said["seq"]), (&1000.into(), &2000.into(), &0.into()));

        words.ended(&Ended::Stopped, "drained");
        let said = read();
        assert_eq!((&said["reason"], &said["message"]), (&"Stopped".into(), &"told to stop; drained".into()));
        assert!(said["workingSet"].as_u64().unwrap() > 0 && said["limit"].as_u64().unwrap() > 0, "{said}");
        assert!(said["at"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{said}");

        words.panicked("sequencer");
        assert_eq!(read()["reason"], "Panicked");
        LastWords::new(Some(folder.path().join("not/there")), None).failed("nowhere to say it");
        LastWords::new(None, None).failed("nobody to say it to");
    }
}
