//! Backfill: jobs that fill the directory from outside, and look whether what it says is still so.
//!
//! A job ([`Spec`], [`Job`]) is a list of parts, each read from its begin to its end in steps. What a step does is the
//! matter of its kind ([`Work`]); when it is done, how its progress survives, and what people see and change of it is the
//! matter of [`Jobs`]:
//!
//! ```text
//! lane of a provider:  work.step(part) ──▶ directory: edits and a note, one batch ──▶ SQL: the part's row ──▶ next step
//! ```
//!
//! A kill may come at any point: a note ahead of its row is copied at the next start, so nothing is lost or counted twice.

mod answers;
mod backoff;
mod check;
mod clock;
mod crawl;
mod finding;
mod import;
mod jobs;
mod lane;
mod life;
mod moves;
mod names;
mod note;
mod pace;
mod pairs;
mod pds;
mod provider;
mod runner;
mod schedule;
mod spec;
#[cfg(test)]
mod tests;
mod told;
mod verify;
mod view;
mod web;
mod witness;
mod work;

pub use check::SpecError;
pub use crawl::Crawl;
pub use import::{Import, NotAUrl};
pub use jobs::{Error, Jobs, Parts};
pub use names::nsids;
pub use note::StorageError;
pub use pairs::{Refused, Taken, Taking};
pub use schedule::{Schedule, ScheduleError};
pub use spec::{Collections, Job, Kind, Progress, Spec, State};
pub use verify::Verify;
pub use web::{Refusal, Web};
pub use work::{Later, Part, Planned, Step, Trouble, Work};

use std::sync::Arc;

use crate::account::Accounts;
use crate::collections::Directory;
use crate::host::Hosts;
use crate::identity::Resolver;

/// Requests of a verification to one provider per second, unless it is told otherwise: there is no hurry.
const VERIFY_REQUESTS_PER_SECOND: f64 = 2.0;

/// What kinds of jobs work with; clones share it.
#[derive(Clone)]
pub struct Context {
    /// Asks services and hosts.
    pub web: Web,
    /// What is filled.
    pub directory: Directory,
    /// What the relay knows of accounts.
    pub accounts: Accounts,
    /// The hosts that the relay knows.
    pub hosts: Arc<Hosts>,
    /// Who an account is.
    pub resolver: Arc<Resolver>,
    /// Whether loopback and private addresses and plain HTTP may be asked.
    pub allow_insecure: bool,
}

/// The kind of job that a spec asks for.
pub fn work(spec: &Spec, context: &Context) -> Box<dyn Work> {
    let of_kind = (spec.kind == Kind::Verify).then_some(VERIFY_REQUESTS_PER_SECOND);
    let web = context.web.at_rate(spec.requests_per_second.or(of_kind));
    let context = Context { web, ..context.clone() };
    match spec.kind {
        Kind::Crawl => Box::new(Crawl::new(context, spec.hosts.clone())),
        Kind::Verify => Box::new(Verify::new(context)),
        Kind::Import => match Import::new(spec, context.web.trusting(), context.directory) {
            Ok(import) => Box::new(import),
            Err(error) => Box::new(Impossible(error.to_string())),
        },
        Kind::Pairs => Box::new(Impossible("pairs are sent to it, it has none to find".to_owned())),
    }
}

/// What takes no steps, and why.
struct Impossible(String);

impl Work for Impossible {
    fn plan(&self) -> Later<'_, Result<Vec<Planned>, Trouble>> {
        Box::pin(async { Err(Trouble::Fail(self.0.clone())) })
    }

    fn step<'a>(&'a self, _part: &'a Part) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(async { Err(Trouble::Fail(self.0.clone())) })
    }

    fn retry<'a>(&'a self, part: &'a Part, _dids: &'a [crate::protocol::did::Did]) -> Later<'a, Result<Step, Trouble>> {
        self.step(part)
    }
}
