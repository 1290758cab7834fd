//! Step 4, apply, for what is not an object of the cluster: the relay's backfill jobs, by its admin API.
//!
//! What the relay has as declared is not sent, so an unchanged world sees no request. A job is changed or removed only if the
//! operator declared it. Whatever goes wrong is reported, and tried again at the next observation; the Relay is not worse
//! for it.

use super::Context;
use super::build::{DECLARED_BY, Declared};
use super::read::World;
use super::validate::ValidRelay;
use crate::relay_admin::{AskError, Door, Job};

/// The declared jobs, and how the relay has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Jobs {
    /// In the order of their declaration; `None` for one that the relay does not have.
    pub(super) declared: Vec<(Declared, Option<Job>)>,
    /// Why they may be others than those declared.
    pub(super) trouble: Option<Trouble>,
}

/// Why the relay's jobs may be others than those declared. The text is the condition's message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Trouble {
    /// No pod runs.
    #[error("No pod runs yet.")]
    NoPod,
    /// The relay does not say which jobs it has.
    #[error("{0}")]
    Away(AskError),
    /// The relay is of a version without jobs.
    #[error("This version of the relay knows no backfill; name a newer one in spec.image.")]
    Unsupported,
    /// The Relay is paused.
    #[error("spec.paused is true: the relay's jobs are not brought to what spec.backfill declares.")]
    Paused,
    /// Somebody else has a job of that name.
    #[error("The relay has a job {0} that somebody else has started; `relay backfill delete {0}` removes it.")]
    NameTaken(String),
    /// The relay did not take a change.
    #[error("The job {job} cannot be brought to what is declared: {source}")]
    Ask {
        /// Name of the job.
        job: String,
        /// What the relay says.
        source: AskError,
    },
}

impl Trouble {
    /// The condition's reason.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoPod | Self::Away(_) => "RelayUnavailable",
            Self::Unsupported => "Unsupported",
            Self::Paused => "RelayPaused",
            Self::NameTaken(_) => "NameTaken",
            Self::Ask { .. } => "ApplyFailed",
        }
    }

    /// Whether nothing was heard of the jobs.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::NoPod | Self::Away(_))
    }
}

/// A request that brings the relay closer to what is declared.
#[derive(Debug, PartialEq)]
enum Change<'a> {
    Put(&'a Declared),
    Delete(&'a str),
}

/// Makes the relay's jobs be those that are `declared`, beside the jobs of others.
pub(super) async fn apply(context: &Context, relay: &ValidRelay, world: &World, declared: Vec<Declared>) -> Jobs {
    let mut found = match found(world) {
        Ok(found) => found,
        Err(_) if declared.is_empty() => return Jobs::default(),
        Err(trouble) => return pair(declared, Vec::new(), Some(trouble)),
    };
    let before = found.clone();
    let taken = declared.iter().find(|wanted| is_taken(&before, &wanted.name));
    let mut trouble = taken.map(|wanted| Trouble::NameTaken(wanted.name.clone()));
    for change in changes(&declared, &before) {
        let Some(door) = world.door.as_ref().filter(|_| !relay.paused) else {
            trouble = trouble.or(Some(Trouble::Paused));
            break;
        };
        let (verb, job, done) = match change {
            Change::Put(wanted) => ("put", &*wanted.name, put(context, door, wanted, &mut found).await),
            Change::Delete(name) => ("delete", name, context.admin.delete_job(door, name).await),
        };
        context.metrics.asked(verb, done.is_ok());
        tracing::info!(namespace = relay.namespace, relay = relay.name, verb, job, ?done, "backfill job asked for");
        if let Err(source) = done {
            let goes_on = matches!(source, AskError::Refused(_));
            trouble = trouble.or(Some(Trouble::Ask { job: job.to_owned(), source }));
            if !goes_on {
                break; // the next job would wait as long for the same answer
            }
        }
    }
    pair(declared, found, trouble)
}

/// The jobs that the relay has.
fn found(world: &World) -> Result<Vec<Job>, Trouble> {
    match &world.document {
        None => Err(Trouble::NoPod),
        Some(Err(error)) => Err(Trouble::Away(error.clone())),
        Some(Ok(document)) => document.backfill.clone().map(|backfill| backfill.jobs).ok_or(Trouble::Unsupported),
    }
}

async fn put(context: &Context, door: &Door, wanted: &Declared, found: &mut Vec<Job>) -> Result<(), AskError> {
    let job = context.admin.put_job(door, &wanted.name, &wanted.spec).await?;
    found.retain(|old| old.name != wanted.name);
    found.push(job);
    Ok(())
}

fn is_ours(job: &Job) -> bool {
    job.spec.declared_by.as_deref() == Some(DECLARED_BY)
}

fn is_taken(found: &[Job], name: &str) -> bool {
    found.iter().any(|job| job.name == name && !is_ours(job))
}

/// What is to be asked of a relay that has the jobs `found`.
fn changes<'a>(declared: &'a [Declared], found: &'a [Job]) -> Vec<Change<'a>> {
    let is_as_wanted = |wanted: &Declared| found.iter().any(|job| job.name == wanted.name && job.spec == wanted.spec);
    let is_declared = |job: &Job| declared.iter().any(|wanted| wanted.name == job.name);
    let put = declared.iter().filter(|wanted| !is_as_wanted(wanted) && !is_taken(found, &wanted.name)).map(Change::Put);
    let delete = found.iter().filter(|job| is_ours(job) && !is_declared(job)).map(|job| Change::Delete(&job.name));
    delete.chain(put).collect()
}

fn pair(declared: Vec<Declared>, mut found: Vec<Job>, trouble: Option<Trouble>) -> Jobs {
    let mut take = |wanted: &Declared| {
        let at = found.iter().position(|job| job.name == wanted.name && is_ours(job))?;
        Some(found.swap_remove(at))
    };
    let declared = declared.into_iter().map(|wanted| (take(&wanted), wanted)).map(|(job, wanted)| (wanted, job));
    Jobs { declared: declared.collect(), trouble }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::relay_admin::JobSpec;

    fn spec(source: &str, declared_by: Option<&str>) -> JobSpec {
        JobSpec { sources: vec![source.into()], declared_by: declared_by.map(str::to_owned), ..JobSpec::default() }
    }

    fn wanted(name: &str, source: &str) -> Declared {
        Declared { name: name.into(), spec: spec(source, Some(DECLARED_BY)) }
    }

    fn job(name: &str, state: &str, spec: JobSpec) -> Job {
        serde_json::from_value(json!({"name": name, "state": state, "spec": spec})).unwrap()
    }

    #[test]
    fn only_what_differs_is_asked_for_and_only_of_our_own_jobs() {
        let (ours, theirs) = (Some(DECLARED_BY), None);
        let a = wanted("a", "https://a");
        let b = wanted("b", "https://b");
        let declared = [a.clone(), b.clone()];
        let b_is_there = || job("b", "done", spec("https://b", ours));
        #[rustfmt::skip]
        let table = [
            ("nothing there", vec![], vec![Change::Put(&a), Change::Put(&b)]),
            ("all there", vec![job("a", "running", spec("https://a", ours)), b_is_there()], vec![]),
            ("paused by a person", vec![job("a", "paused", spec("https://a", ours)), b_is_there()], vec![]),
            ("another source", vec![job("a", "running", spec("https://x", ours)), b_is_there()], vec![Change::Put(&a)]),
            ("no longer declared", vec![job("c", "failed", spec("https://c", ours)), b_is_there()], vec![Change::Delete("c"), Change::Put(&a)]),
            ("a job of somebody else", vec![job("c", "done", spec("https://c", theirs)), b_is_there()], vec![Change::Put(&a)]),
            ("a name of somebody else", vec![job("a", "done", spec("https://a", theirs)), b_is_there()], vec![]),
        ];
        for (case, found, want) in &table {
            assert_eq!(&changes(&declared, found), want, "{case}");
        }
    }
}
