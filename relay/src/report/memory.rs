//! The memory by owner: planned, held, and where it is going.

use super::Reporter;
use crate::memory::{Owner, WatchView};
use crate::status::{Memory, MemoryOwner};

impl Reporter {
    /// The memory, for the status document and the page.
    pub fn memory(&self) -> Memory {
        let WatchView { plan, step, usage, bytes_per_hour, seconds_to_limit } = self.parts.watch.view();
        let held = self.parts.watch.held();
        let owner = |owner: Owner| {
            let mut of_owner = held.iter().filter(|held| held.owner == owner).map(|held| held.bytes).peekable();
            let used_bytes = of_owner.peek().is_some().then(|| of_owner.sum());
            MemoryOwner { owner: owner.name().to_owned(), share_bytes: plan.share(owner), used_bytes }
        };
        let percent = |percent: u8| plan.limit.bytes / 100 * u64::from(percent);
        Memory {
            limit_bytes: plan.limit.bytes,
            limit_source: plan.limit.source.name().to_owned(),
            working_set_bytes: usage.working_set,
            soft_bytes: percent(plan.marks.soft_percent),
            hard_bytes: percent(plan.marks.hard_percent),
            step: step.name().to_owned(),
            slope_bytes_per_hour: bytes_per_hour.unwrap_or(0.0) as i64,
            seconds_to_limit,
            owners: Owner::ALL.into_iter().map(owner).collect(),
        }
    }
}
