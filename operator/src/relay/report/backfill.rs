//! What is reported of the declared backfill jobs. Pure.
//!
//! The status is also the memory of what was told: a resume is told once, since the status that follows counts it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use super::conditions::{BACKFILL_COMPLETE, Finding, Verdict, quote};
use super::figures::{rate, signed};
use crate::api::{BackfillJobStatus, BackfillStatus};
use crate::relay::build::Declared;
use crate::relay::jobs::Jobs;
use crate::relay_admin::{Job, Kind, State};

/// The reason of a backfill that was declared and is complete.
const DONE: &str = "Done";

impl Declared {
    /// Whether the job adds what the directory lacks. A verification does not: it has no end that one could wait for.
    fn fills(&self) -> bool {
        self.spec.kind != Kind::Verify
    }
}

/// The condition [`BACKFILL_COMPLETE`]. `before` are the conditions that were reported of the same generation.
pub(super) fn finding(before: &[Condition], jobs: &Jobs) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(BACKFILL_COMPLETE, verdict, reason, quote(message));
    if let Some(trouble) = &jobs.trouble {
        let was_done = before.iter().find(|old| old.type_ == BACKFILL_COMPLETE && old.reason == DONE);
        return match was_done {
            // A job that is done stays so while the relay is away.
            Some(old) if trouble.is_silence() => found(Verdict::Good, DONE, &old.message),
            _ if trouble.is_silence() => found(Verdict::Waiting, trouble.reason(), &trouble.to_string()),
            _ => found(Verdict::Bad, trouble.reason(), &trouble.to_string()),
        };
    }
    let fills = || jobs.declared.iter().filter(|(declared, _)| declared.fills());
    if fills().next().is_none() {
        return found(Verdict::Good, "NotDeclared", "spec.backfill declares no import and no crawl.");
    }
    let first = |wanted: &[State]| fills().filter_map(|(_, job)| job.as_ref()).find(|job| wanted.contains(&job.state));
    let because = |job: &Job| job.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    if let Some(job) = first(&[State::Failed]) {
        return found(Verdict::Bad, "Failed", &format!("The job {} cannot go on{}", job.name, because(job)));
    }
    if let Some(job) = first(&[State::Cancelled]) {
        let message = format!("The job {0} was cancelled; `relay backfill run {0}` starts it again.", job.name);
        return found(Verdict::Waiting, "Cancelled", &message);
    }
    if let Some(job) = first(&[State::Paused]) {
        let message = format!("The job {0} was paused; it goes on with `relay backfill resume {0}`.", job.name);
        return found(Verdict::Waiting, "Paused", &message);
    }
    if first(&[State::Running]).is_some() {
        return found(Verdict::Waiting, "Running", "Jobs are at work; status.backfill says how far they are.");
    }
    if let Some(job) = first(&[State::Waiting]) {
        return found(Verdict::Waiting, "Waiting", &format!("The job {} waits{}", job.name, because(job)));
    }
    if let Some((declared, _)) = fills().find(|(_, job)| job.as_ref().is_none_or(|job| job.state != State::Done)) {
        return found(Verdict::Waiting, "Waiting", &format!("The job {} waits for its turn.", declared.name));
    }
    let mut message = String::from("Every declared import and crawl is done.");
    for job in fills().filter_map(|(_, job)| job.as_ref()).filter(|job| job.reason.is_some()) {
        message += &format!(" {}{}", job.name, because(job));
    }
    found(Verdict::Good, DONE, &message)
}

/// The figures of the jobs; what was reported before while nothing is heard of them.
pub(super) fn status(before: Option<&BackfillStatus>, jobs: &Jobs) -> Option<BackfillStatus> {
    if jobs.declared.is_empty() {
        return None;
    }
    if jobs.trouble.as_ref().is_some_and(|trouble| trouble.is_silence()) {
        return before.cloned();
    }
    let mut status = BackfillStatus::default();
    let mut per_second = 0.0;
    for (declared, job) in &jobs.declared {
        status.jobs.push(job_status(declared, job.as_ref()));
        if !declared.fills() {
            continue;
        }
        status.total += 1;
        *match job.as_ref().map(|job| job.state) {
            Some(State::Done) => &mut status.done,
            Some(State::Running) => &mut status.running,
            Some(State::Paused | State::Cancelled) => &mut status.paused,
            Some(State::Failed) => &mut status.failed,
            Some(State::Queued | State::Waiting | State::Other) | None => &mut status.waiting,
        } += 1;
        if let Some(job) = job {
            status.seen += signed(job.progress.seen);
            status.added += signed(job.progress.added);
            status.eta_seconds = status.eta_seconds.max(job.progress.eta_seconds.map(signed));
            per_second += job.progress.per_second;
        }
    }
    status.per_second = rate(per_second);
    status.summary = format!("{}/{} done", status.done, status.total);
    Some(status)
}

fn job_status(declared: &Declared, job: Option<&Job>) -> BackfillJobStatus {
    let name = declared.name.clone();
    let Some(job) = job else {
        return BackfillJobStatus { name, state: "missing".into(), ..BackfillJobStatus::default() };
    };
    let progress = &job.progress;
    BackfillJobStatus {
        name,
        state: job.state.name().into(),
        reason: job.reason.as_deref().map(quote),
        progress: (progress.parts > 0).then(|| format!("{}/{}", progress.parts_done, progress.parts)),
        last_error: job.last_error.as_deref().map(quote),
        started_at: job.started_at.clone(),
        finished_at: job.finished_at.clone(),
        resumes: signed(job.resumes),
    }
}

/// `status` without what changes all the time.
pub(super) fn without_figures(status: &BackfillStatus) -> BackfillStatus {
    let plain =
        |job: &BackfillJobStatus| BackfillJobStatus { reason: None, progress: None, last_error: None, ..job.clone() };
    BackfillStatus {
        seen: 0,
        added: 0,
        per_second: 0.0,
        eta_seconds: None,
        jobs: status.jobs.iter().map(plain).collect(),
        ..status.clone()
    }
}

/// What has happened to jobs since `before` was reported.
pub(super) fn events(before: Option<&BackfillStatus>, jobs: &Jobs) -> Vec<Event> {
    let known = |name: &str| before.and_then(|before| before.jobs.iter().find(|old| old.name == name));
    let jobs = jobs.declared.iter().filter_map(|(_, job)| job.as_ref());
    jobs.flat_map(|job| news(known(&job.name), job)).collect()
}

fn news(before: Option<&BackfillJobStatus>, job: &Job) -> Vec<Event> {
    let name = &job.name;
    let event = |reason: &str, type_, note: String| Event {
        type_,
        reason: reason.into(),
        note: Some(quote(&note)),
        action: "Backfill".into(),
        secondary: None,
    };
    let known = before.cloned().unwrap_or_default();
    let ended =
        |state: State| job.state == state && (known.state != state.name() || known.finished_at != job.finished_at);

    let mut news = Vec::new();
    if job.started_at.is_some() && known.started_at != job.started_at {
        news.push(event("BackfillStarted", EventType::Normal, format!("The job {name} has begun.")));
    }
    if known.resumes < signed(job.resumes) {
        let from = job.resumed_from.as_deref().unwrap_or("its beginning");
        let note = format!("After a restart of the relay the job {name} goes on from {from}");
        news.push(event("BackfillResumed", EventType::Normal, note));
    }
    if ended(State::Done) {
        let (seen, added) = (job.progress.seen, job.progress.added);
        let note = format!("The job {name} is done: sources named {seen} DIDs, {added} pairs were new.");
        news.push(event("BackfillCompleted", EventType::Normal, note));
    }
    if ended(State::Failed) {
        let reason = job.reason.as_deref().unwrap_or("it does not say why");
        news.push(event("BackfillFailed", EventType::Warning, format!("The job {name} cannot go on: {reason}")));
    }
    news
}

#[cfg(test)]
mod tests;
