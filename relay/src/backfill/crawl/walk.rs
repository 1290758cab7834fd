//! A walk along accounts that a host lists, which is asked for one after the other.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::backfill::Context;
use crate::backfill::finding::{Before, Class, Finding};
use crate::backfill::pds::{Answer, Listed, Pds};
use crate::backfill::witness::{Home, Obstacle, Word};
use crate::backfill::{Step, Trouble};
use crate::protocol::did::Did;

/// Accounts whose identities are looked up while the host is asked for others.
const LOOKUPS_AHEAD: usize = 8;
/// Accounts in a row without an answer, after which it is the host that does not answer.
const SILENT_MAX: usize = 3;
/// Accounts in a row with answers that make no sense, after which none is expected to.
const NONSENSE_MAX: usize = 10;

/// A walk.
pub(super) struct Walk<'a> {
    walker: Walker<'a>,
    walked: Walked,
    /// Accounts in a row, up to the last one, of which the host has said nothing.
    silent: usize,
    /// Accounts in a row of which it has said nonsense.
    nonsense: usize,
    /// Why it ends early.
    trouble: Option<Trouble>,
}

/// How far a walk has come.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Accounts that are done with, those to be tried again included.
    pub done: usize,
    /// What was found of them.
    pub step: Step,
    /// Accounts that are the host's own.
    pub own: u64,
    /// Accounts that are not.
    pub strange: u64,
}

impl Walked {
    /// One account is to be tried again.
    pub fn put_off(account: &Listed, reason: String) -> Walked {
        let again = account.did.iter().map(|did| (did.clone(), reason.clone())).collect();
        Walked { done: 1, step: Step { again, ..Step::default() }, own: 0, strange: 0 }
    }
}

/// Who walks.
#[derive(Clone, Copy)]
struct Walker<'a> {
    context: &'a Context,
    pds: &'a Pds<'a>,
}

/// What is left to do for an account.
enum Task {
    /// Nothing.
    Settled(Finding),
    /// The host is asked.
    Ask(Did, Before),
}

impl<'a> Walk<'a> {
    /// A walk along the accounts of a host.
    pub fn new(context: &'a Context, pds: &'a Pds<'a>) -> Walk<'a> {
        let walker = Walker { context, pds };
        Walk { walker, walked: Walked::default(), silent: 0, nonsense: 0, trouble: None }
    }

    /// Walks along accounts until all are done, the time is over, or something is in the way of all of them; that is an
    /// error if it is in the way of the first.
    pub async fn along(mut self, accounts: &[Listed], time_max: Duration) -> Result<Walked, Trouble> {
        let (walker, started) = (self.walker, Instant::now());
        let tasks: Vec<_> = accounts.iter().map(|account| walker.task(account)).collect();
        let mut tasks = pin!(stream::iter(tasks).buffered(LOOKUPS_AHEAD));
        for account in accounts {
            let Some(task) = tasks.next().await else { break };
            match walker.carry_out(task).await {
                Ok(finding) => self.found(finding),
                Err(obstacle) => self.met(account, obstacle),
            }
            if self.trouble.is_some() || started.elapsed() > time_max {
                break;
            }
        }
        match self.trouble {
            // Whatever was done before somebody went away is kept; the next walk meets the same trouble at once.
            Some(Trouble::Wait { .. }) if self.walked.done > 0 => Ok(self.walked),
            Some(trouble) => Err(trouble),
            None => Ok(self.walked),
        }
    }

    fn found(&mut self, Finding { class, edits }: Finding) {
        (self.silent, self.nonsense) = (0, 0);
        let Walked { done, step, own, strange } = &mut self.walked;
        *done += 1;
        *if class.is_strange() { strange } else { own } += 1;
        *step.classes.entry(class.name().to_owned()).or_default() += 1;
        step.edits.extend(edits);
    }

    fn met(&mut self, account: &Listed, obstacle: Obstacle) {
        if let Obstacle::All { reason, after } = obstacle {
            self.trouble = Some(Trouble::Wait { reason, after });
            return;
        }
        self.walked.done += 1;
        self.walked.step.again.extend(account.did.clone().map(|did| (did, obstacle.to_string())));
        let (silent, nonsense) = (self.silent, self.nonsense);
        (self.silent, self.nonsense) = (0, 0);
        match obstacle {
            Obstacle::Nonsense(reason) => {
                self.nonsense = nonsense + 1;
                self.trouble = (self.nonsense == NONSENSE_MAX).then_some(Trouble::Fail(reason));
            }
            Obstacle::Host { reason, after } => {
                self.silent = silent + 1;
                self.silence(reason, after);
            }
            Obstacle::Account(_) | Obstacle::All { .. } => {}
        }
    }

    /// Ends the walk when it is the host that says nothing: its accounts are then not to blame.
    fn silence(&mut self, reason: String, after: Option<Duration>) {
        if after.is_none() && self.silent < SILENT_MAX {
            return;
        }
        let Walked { done, step, .. } = &mut self.walked;
        *done -= self.silent;
        step.again.truncate(step.again.len().saturating_sub(self.silent));
        self.trouble = Some(Trouble::Wait { reason, after });
    }
}

impl Walker<'_> {
    /// What is to be done for an account, as far as that can be said without its host.
    async fn task(self, account: &Listed) -> Result<Task, Obstacle> {
        let Listed { did: Some(did), status, .. } = account else {
            return Ok(Task::Settled(Finding::only(Class::Malformed)));
        };
        let (is_active, before) = (status.is_active(), self.context.before(did)?);
        if !is_active && before.collections.is_empty() {
            return Ok(Task::Settled(Finding::only(Class::Inactive(*status))));
        }
        Ok(match self.context.known_home(did, &before).await? {
            Home::Host(name) if name != self.pds.name.as_str() => Task::Settled(Finding::only(Class::Foreign)),
            Home::Host(_) if is_active => Task::Ask(did.clone(), before),
            Home::Host(_) => Task::Settled(Finding::of_answer(did, &before, Answer::Inactive(*status))),
            Home::Nowhere => Task::Settled(Finding::hidden(Class::Homeless, did, &before)),
            Home::Gone => Task::Settled(Finding::gone(Class::Gone, did, &before)),
        })
    }

    async fn carry_out(self, task: Result<Task, Obstacle>) -> Result<Finding, Obstacle> {
        match task? {
            Task::Settled(finding) => Ok(finding),
            Task::Ask(did, before) => match self.context.ask(self.pds, &did, &before).await? {
                Word::Found(finding) => Ok(finding),
                Word::Moved(_) => Ok(Finding::only(Class::Foreign)),
            },
        }
    }
}
