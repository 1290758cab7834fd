//! The states of a job, and what leads from one to another.

use super::spec::State;

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Its runner begins.
    Begin,
    /// A start of the relay finds it as it was left.
    Restart,
    /// A person stops it, for a time.
    Pause,
    /// A person lets it go on.
    Resume,
    /// A person ends it.
    Cancel,
    /// A person or its schedule starts it from the start.
    Run,
    /// Something else is asked of it.
    Ask,
    /// It has done all that it could.
    Done,
    /// Nothing could be done.
    Fail,
}

impl State {
    /// The state that a change leads to; none where it cannot happen.
    pub(super) fn after(self, change: Change) -> Option<State> {
        use State::{Cancelled, Done, Failed, Paused, Queued, Running, Waiting};
        match (self, change) {
            (Queued | Running | Waiting, Change::Begin) => Some(Running),
            (Queued | Running | Waiting, Change::Restart) => Some(Queued),
            (Queued | Running | Waiting | Paused, Change::Pause) => Some(Paused),
            (Paused, Change::Resume) => Some(Queued),
            (Queued | Running | Waiting, Change::Resume) => Some(self),
            (Queued | Running | Waiting | Paused | Cancelled, Change::Cancel) => Some(Cancelled),
            (Done | Failed | Cancelled, Change::Run) => Some(Queued),
            (Paused, Change::Ask) => Some(Paused),
            (Queued | Running | Waiting | Done | Failed | Cancelled, Change::Ask) => Some(Queued),
            (Queued | Running | Waiting, Change::Done) => Some(Done),
            (Queued | Running | Waiting, Change::Fail) => Some(Failed),
            (state, Change::Restart) => Some(state),
            _ => None,
        }
    }

    /// Whether it has something to do, now or after a while.
    pub(super) fn is_active(self) -> bool {
        matches!(self, State::Queued | State::Running | State::Waiting)
    }

    /// Every state.
    pub const ALL: [State; 7] =
        [State::Queued, State::Running, State::Waiting, State::Paused, State::Done, State::Failed, State::Cancelled];

    /// Its name in the admin API.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Paused => "paused",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}
