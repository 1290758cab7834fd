//! Following the directory's export: every operation on every DID, in the order in which the directory took them.
//!
//! An operation never becomes an identity here. It may be undone by a later one, and it may come late, after one that
//! follows it; whoever wrote it down could set an identity back. So all that it does is to make the relay forget what
//! it says otherwise about: the next event of the account asks the directory, whose answer counts. What is not
//! remembered anyway is none of the relay's business, and leaves no trace.
//!
//! The position is stored after what it stands for: after a crash the last operations are read once more, which does no
//! harm.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::coverage::Position;
use super::stats::Effect;
use super::{Resolver, Transient, export, millis, now_ms};

/// Operations on one page, the most that the directory gives.
const PAGE_OPERATIONS: usize = 1000;
/// The directory may show an operation a moment after a later one; so the end is read again.
const OVERLAP: Duration = Duration::from_secs(10);
/// A first start begins so much earlier than now, for clocks that differ.
const START_OVERLAP: Duration = Duration::from_secs(60);
/// A position that is older is given up: what was remembered is past its time, too, and there are days to be read.
const RESUME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// An export in which nothing has happened for longer says nothing: it may be a mirror that stands still.
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// Longest wait after failures.
const WAIT_LONGEST: Duration = Duration::from_secs(60);

/// What was on a page.
#[derive(Default)]
struct Page {
    lines: usize,
    malformed: usize,
    newest_ms: Option<i64>,
}

impl Resolver {
    /// Follows the export, if that is configured, for as long as the relay runs.
    pub async fn follow_export(self: Arc<Self>) {
        let Some(url) = &self.export_url else { return };
        let mut position = self.start_position(url);
        let mut is_at_end = true;
        let mut failures: u32 = 0;
        loop {
            let wait = match Arc::clone(&self).read_page(url, &mut position, is_at_end).await {
                Ok(now_at_end) => {
                    failures = 0;
                    is_at_end = now_at_end;
                    self.coverage.set(&position);
                    self.cache.put_position(url, &position);
                    if is_at_end { self.lifetimes.export_poll } else { self.lifetimes.export_page }
                }
                Err(error) => {
                    tracing::debug!(url, %error, "export not read");
                    self.stats.export_failures.fetch_add(1, Ordering::Relaxed);
                    let doubled = self.lifetimes.export_poll * (1 << failures.min(10));
                    failures += 1;
                    doubled.min(WAIT_LONGEST).max(error.retry_after().unwrap_or_default())
                }
            };
            // With jitter, so that relays that started together do not ask together.
            let jitter = rand::random_range(0.8..=1.2);
            tokio::time::sleep(wait.mul_f64(jitter)).await;
        }
    }

    fn start_position(&self, url: &str) -> Position {
        let now = now_ms();
        let stored = self.cache.position(url).filter(|position| position.after_ms > now - millis(RESUME_MAX));
        let position = stored.unwrap_or_else(|| {
            tracing::info!(url, "following the export from now on");
            Position { after_ms: now - millis(START_OVERLAP), since_ms: now, until_ms: now }
        });
        self.coverage.set(&position);
        self.stats.export_reached_ms.store(position.after_ms, Ordering::Relaxed);
        position
    }

    /// Reads the next page, and says whether it was the last one for now.
    async fn read_page(
        self: Arc<Self>,
        url: &str,
        position: &mut Position,
        is_at_end: bool,
    ) -> Result<bool, Transient> {
        let started_ms = now_ms();
        let after_ms = if is_at_end { position.after_ms - millis(OVERLAP) } else { position.after_ms };
        let body = self.fetcher.export(url, after_ms, PAGE_OPERATIONS).await?;
        // Rows are looked for on the disk.
        let resolver = Arc::clone(&self);
        let taken = tokio::task::spawn_blocking(move || resolver.take_page(&body, started_ms)).await;
        let page = taken.map_err(|_| Transient::Stopping)?;
        let malformed = |reason: &str| Transient::Malformed { host: url.into(), reason: reason.to_owned() };
        if page.lines > 0 && page.newest_ms.is_none() {
            return Err(malformed("the answer is not an export"));
        }
        let is_full = page.lines >= PAGE_OPERATIONS;
        let newest_ms = page.newest_ms.unwrap_or(after_ms);
        if is_full && newest_ms <= after_ms {
            return Err(malformed("the export does not go on from where it was asked to"));
        }
        if page.malformed > 0 {
            // One of them may have been the change of an identity that is remembered.
            position.since_ms = started_ms;
        }
        if is_full {
            // The next one begins with the last millisecond of this one, which may have had more operations.
            position.after_ms = if newest_ms - 1 > after_ms { newest_ms - 1 } else { newest_ms };
        } else {
            position.after_ms = position.after_ms.max(newest_ms);
        }
        let is_up_to_date = !is_full && started_ms - position.after_ms < millis(SILENCE_MAX);
        if is_up_to_date {
            position.until_ms = started_ms;
        }
        let reached_ms = if is_up_to_date { started_ms } else { position.after_ms };
        self.stats.export_reached_ms.store(reached_ms, Ordering::Relaxed);
        Ok(!is_full)
    }

    fn take_page(&self, body: &Bytes, now_ms: i64) -> Page {
        let mut page = Page::default();
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            page.lines += 1;
            let effect = match export::read(line, now_ms) {
                Some(operation) => {
                    page.newest_ms = page.newest_ms.max(Some(operation.created_at_ms));
                    self.take_operation(&operation)
                }
                None => {
                    page.malformed += 1;
                    Effect::Malformed
                }
            };
            self.stats.exported(effect);
        }
        page
    }

    fn take_operation(&self, operation: &export::Operation) -> Effect {
        let export::Operation { did, is_nullified, states, .. } = operation;
        if *is_nullified {
            // The operation that has undone it is in the export, too.
            return Effect::Nullified;
        }
        // The answer to a request under way may be from before.
        self.flights.outdate(did);
        match self.cache.known(did) {
            None => Effect::Unknown,
            Some(known) if states.is(known.as_deref()) => Effect::Unchanged,
            Some(_) => {
                tracing::debug!(%did, "identity has changed");
                self.cache.remove(did);
                Effect::Forgotten
            }
        }
    }
}
