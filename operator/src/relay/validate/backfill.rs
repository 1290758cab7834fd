use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{Invalid, check};
use crate::api::patterns::{HOST, LIST, NSID, SCHEDULE, SERVICE};
use crate::api::{BackfillSpec, COLLECTIONS_NEED_SOURCES, SOURCES_NEED_COLLECTIONS};

/// Requests per second that make sense.
const RATE: RangeInclusive<f64> = 0.01..=1000.0;
/// Providers that a job can ask at the same time.
const CONCURRENCY: RangeInclusive<i32> = 1..=64;

/// Checks what is declared of backfills.
pub(super) fn backfill(spec: &BackfillSpec) -> Result<BackfillSpec, Invalid> {
    let BackfillSpec { sources, collections, crawl, verify, schedule, concurrency } = spec;
    let mut urls = BTreeSet::new();
    for source in sources {
        check("spec.backfill.sources.url", &source.url, SERVICE)?;
        rate("spec.backfill.sources.requestsPerSecond", source.requests_per_second)?;
        if !urls.insert(&source.url) {
            return Err(Invalid::Spec(format!("spec.backfill.sources names {} twice", source.url)));
        }
    }
    for name in &collections.names {
        check("spec.backfill.collections.names", name, NSID)?;
    }
    for list in &collections.lists {
        check("spec.backfill.collections.lists", list, LIST)?;
    }
    match (sources.is_empty(), collections.is_empty()) {
        (false, true) => return Err(Invalid::Spec(SOURCES_NEED_COLLECTIONS.into())),
        (true, false) => return Err(Invalid::Spec(COLLECTIONS_NEED_SOURCES.into())),
        _ => {}
    }
    for host in &crawl.hosts {
        check("spec.backfill.crawl.hosts", host, HOST)?;
    }
    rate("spec.backfill.crawl.requestsPerSecond", crawl.requests_per_second)?;
    check("spec.backfill.verify.schedule", &verify.schedule, SCHEDULE)?;
    rate("spec.backfill.verify.requestsPerSecond", verify.requests_per_second)?;
    if let Some(schedule) = schedule {
        check("spec.backfill.schedule", schedule, SCHEDULE)?;
    }
    match concurrency {
        Some(number) if !CONCURRENCY.contains(number) => {
            Err(Invalid::Spec(format!("spec.backfill.concurrency is {number}: it is between 1 and 64")))
        }
        _ => Ok(spec.clone()),
    }
}

fn rate(path: &str, rate: Option<f64>) -> Result<(), Invalid> {
    match rate {
        Some(rate) if !RATE.contains(&rate) => {
            Err(Invalid::Spec(format!("{path} is {rate}: it is between 0.01 and 1000")))
        }
        _ => Ok(()),
    }
}
