//! What a kind of job does, apart from when it runs and how its progress is kept.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::collections::Edit;
use crate::protocol::did::Did;

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One kind of job, with what is asked of it. It keeps nothing that is not in its parts: whoever runs it stores what each
/// step has found, together with where the next one begins, and may stop or repeat a step at any time.
pub trait Work: Send + Sync {
    /// The parts of a run: each is read from its begin to its end, independently of the others.
    fn plan(&self) -> Later<'_, Result<Vec<Planned>, Trouble>>;

    /// The next piece of a part: at most some thousand edits, and some seconds.
    fn step<'a>(&'a self, part: &'a Part) -> Later<'a, Result<Step, Trouble>>;

    /// Tries accounts again that a step could not look at.
    fn retry<'a>(&'a self, part: &'a Part, dids: &'a [Did]) -> Later<'a, Result<Step, Trouble>>;
}

/// A part as it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Names it among the parts of its job, for people too: a source and a collection, a host.
    pub key: String,
    /// Whom it asks: parts of one provider are not worked on at the same time.
    pub provider: String,
    /// How many DIDs it may have, where somebody has said so; for the estimate of the time.
    pub expected: Option<u64>,
}

/// A part as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// As planned.
    pub key: String,
    /// Where the next step begins; `None` at the begin.
    pub cursor: Option<String>,
    /// DIDs that its source has named so far.
    pub seen: u64,
    /// Steps so far, begun anew when the part is.
    pub steps: u64,
}

/// What a step has found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What is to change of the directory.
    pub edits: Vec<Edit>,
    /// DIDs that the source has named.
    pub seen: u64,
    /// Where the next step begins; `None` when the part is done.
    pub cursor: Option<String>,
    /// Accounts by what was found of them.
    pub classes: BTreeMap<String, u64>,
    /// Accounts that could not be looked at and are to be tried again, each with the reason.
    pub again: Vec<(Did, String)>,
}

/// Why a step has found nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Somebody is busy, broken or away: the same step is tried again, as often as it takes.
    Wait {
        /// Who, and what is wrong.
        reason: String,
        /// How long they asked to be left alone.
        after: Option<Duration>,
    },
    /// The source knows our cursor no more: the part begins anew.
    Restart(String),
    /// The part cannot be done: the source does not have it, or lies.
    Fail(String),
}
