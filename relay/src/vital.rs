//! Threads without which the relay is none.

use std::sync::{Mutex, PoisonError};

use crate::exit::LastWords;

/// What a panic of one of them says. For the whole process, which is what a panic ends.
static LAST_WORDS: Mutex<Option<LastWords>> = Mutex::new(None);

/// Has a panic leave a termination message.
pub(crate) fn leave(last_words: LastWords) {
    *LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner) = Some(last_words);
}

/// Held by a thread for as long as it runs: should it panic, the process ends. A relay that goes on without one of them
/// looks alive and delivers nothing; one that is restarted goes on from its log.
pub(crate) struct Vital(pub(crate) &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(thread = self.0, "a vital thread has panicked, the process ends");
            if let Some(last_words) = &*LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner) {
                last_words.panicked(self.0);
            }
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::exit::tests::{again, is_again};

    #[test]
    fn a_panic_ends_the_process_and_leaves_a_message() {
        let file = std::env::temp_dir().join(format!("relay-last-words-{}", std::process::id()));
        if is_again() {
            let parent = std::os::unix::process::parent_id();
            leave(LastWords::new(Some(std::env::temp_dir().join(format!("relay-last-words-{parent}"))), None));
            let panicking = std::thread::spawn(|| {
                let _vital = Vital("sequencer");
                panic!("on purpose");
            });
            let _ = panicking.join();
        } else {
            let status = again("vital::tests::a_panic_ends_the_process_and_leaves_a_message");
            let said = std::fs::read_to_string(&file).expect("a message");
            let _ = std::fs::remove_file(file);
            assert_eq!(status.signal(), Some(6), "SIGABRT: {status}");
            assert!(said.contains(r#""reason":"Panicked""#) && said.contains("the thread of the sequencer"), "{said}");
        }
    }
}
