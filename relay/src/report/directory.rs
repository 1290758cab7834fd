//! The directory and the jobs that fill it, as the status document has them.

use std::collections::BTreeMap;

use crate::backfill::Job;
use crate::protocol::nsid::Nsid;
use crate::status::{Backfill, Collections};

/// Jobs in the document: the operator declares some tens.
const JOBS_MAX: usize = 50;

/// The sums of the collections.
pub(super) fn collections(counts: &BTreeMap<Nsid, u64>) -> Collections {
    let shown = counts.values().filter(|accounts| **accounts > 0);
    Collections { collections: shown.clone().count() as u64, pairs: shown.sum() }
}

/// All jobs by state, and the first of them: those that somebody declared before those that a person has started.
pub(super) fn backfill(mut jobs: Vec<Job>) -> Backfill {
    let mut by_state = BTreeMap::new();
    jobs.iter().for_each(|job| *by_state.entry(job.state).or_default() += 1);
    jobs.sort_by(|one, other| {
        let rank = |job: &Job| (job.spec.declared_by.is_none(), job.name.clone());
        rank(one).cmp(&rank(other))
    });
    jobs.truncate(JOBS_MAX);
    Backfill { by_state, jobs }
}
