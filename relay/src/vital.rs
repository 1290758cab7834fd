//! Threads without which the relay is none.

/// Held by a thread for as long as it runs: should it panic, the process ends. A relay that goes on without one of them
/// looks alive and delivers nothing; one that is restarted goes on from its log.
pub(crate) struct Vital(pub(crate) &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(thread = self.0, "a vital thread has panicked, the process ends");
            std::process::abort();
        }
    }
}
