//! What is done about memory that is short.

use std::fmt::Error;

use super::{Out, Scrape};
use crate::memory::{Step, WatchView};

impl Scrape {
    pub(super) fn pressure(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let WatchView { step, climbed, purges, replans, restarts_refused, .. } = self.0.parts.watch.view();
        out.gauge("memory_step", "The step of the ladder that has been climbed to", step as u64)?;
        let climbed = Step::ALL.into_iter().zip(climbed).skip(1).map(|(step, times)| (step.name(), times));
        out.counters("memory_steps", "Times that a step was climbed", "step", climbed)?;
        out.counter("memory_purges", "Times that the allocator was asked to give back", purges)?;
        out.counter("memory_replans", "Plans for another limit", replans)?;
        out.counter("memory_planned_restarts_refused", "Restarts that were due and not allowed", restarts_refused)
    }
}
