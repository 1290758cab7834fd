//! The directory of collections, and the jobs that fill it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Error;

use jiff::Timestamp;

use super::super::directory;
use super::{Out, Scrape};
use crate::backfill::{Job, State};
use crate::protocol::nsid::Nsid;

/// Collections with a series of their own, those with most accounts: anybody can make up more.
const COLLECTIONS_MAX: usize = 50;

impl Scrape {
    pub(super) fn directory(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let directory = &self.0.parts.directory;
        let counts = directory.counts();
        let sums = directory::collections(&counts);
        out.gauge("collections", "Collections that active accounts have records in", sums.collections)?;
        out.gauge("collection_pairs", "Pairs of an active account and a collection", sums.pairs)?;
        out.gauges(
            "collection_accounts",
            "Active accounts of the largest collections",
            "collection",
            largest(&counts),
        )?;
        out.counter("collection_pairs_refused", "Pairs beyond the limits of the directory", directory.refused())
    }

    pub(super) fn backfill(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let jobs = self.0.jobs();
        let mut by_state: BTreeMap<&str, u64> = State::ALL.into_iter().map(|state| (state.name(), 0)).collect();
        jobs.iter().for_each(|job| *by_state.entry(job.state.name()).or_default() += 1);
        out.gauges("backfill_jobs", "Backfill jobs by state", "state", by_state)?;
        let of_each = |figure: fn(&Job) -> u64| jobs.iter().map(move |job| (job.name.as_str(), figure(job)));
        out.counters("backfill_seen", "DIDs that sources have named", "job", of_each(|job| job.progress.seen))?;
        out.counters("backfill_added", "Pairs that were new", "job", of_each(|job| job.progress.added))?;
        out.counters("backfill_removed", "Pairs that went", "job", of_each(|job| job.progress.removed))?;
        let parts = jobs.iter().flat_map(|job| {
            let progress = &job.progress;
            let (done, failed) = (progress.parts_done, progress.parts_failed);
            let open = progress.parts.saturating_sub(done + failed);
            let of = |state, parts: u64| ([("job", job.name.as_str()), ("state", state)], parts as f64);
            [of("open", open), of("done", done), of("failed", failed)]
        });
        out.gauge_families("backfill_parts", "Parts of jobs", parts)?;
        let retrying = of_each(|job| job.progress.retrying);
        out.gauges("backfill_retrying", "Accounts that are to be asked again", "job", retrying)?;
        let rates = jobs.iter().map(|job| ([("job", job.name.as_str())], job.progress.per_second));
        out.gauge_families("backfill_per_second", "DIDs per second, lately", rates)?;
        let left = jobs.iter().filter_map(|job| Some((job.name.as_str(), job.progress.eta_seconds?)));
        out.gauges("backfill_eta_seconds", "Time until a job is done, as far as can be said", "job", left)?;
        let now = Timestamp::now();
        let still = jobs.iter().filter_map(|job| Some((job.name.as_str(), still_seconds(job, now)?)));
        out.gauges("backfill_still_seconds", "Time since a job that has not ended came further", "job", still)
    }
}

/// The collections with most accounts.
fn largest(counts: &BTreeMap<Nsid, u64>) -> Vec<(&str, u64)> {
    let mut all: Vec<(&str, u64)> = counts.iter().map(|(name, accounts)| (name.as_str(), *accounts)).collect();
    all.sort_by_key(|(_, accounts)| Reverse(*accounts));
    all.truncate(COLLECTIONS_MAX);
    all
}

/// How long a job that should run has not come further.
fn still_seconds(job: &Job, now: Timestamp) -> Option<u64> {
    if !matches!(job.state, State::Running | State::Waiting) {
        return None;
    }
    let times = [&job.started_at, &job.resumed_at, &job.progress.moved_at];
    let since: Timestamp = times.into_iter().flatten().filter_map(|time| time.parse().ok()).max()?;
    Some(u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_collections_alone_have_series() {
        let name = |number: u64| Nsid::parse(&format!("com.example.c{number:03}")).expect("an NSID");
        let counts: BTreeMap<Nsid, u64> = (0..120).map(|number| (name(number), number * 7 % 120)).collect();
        let shown = largest(&counts);
        assert_eq!(
            shown.iter().map(|(_, accounts)| *accounts).collect::<Vec<_>>(),
            (70..120).rev().collect::<Vec<_>>()
        );
    }
}
