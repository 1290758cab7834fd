//! The memory: planned, held, and where it is going.

use super::Reporter;
use crate::memory::{Owner, Part, Usage, WatchView};
use crate::status::{Memory, MemoryOwner, MemoryPart};

impl Reporter {
    /// The memory, for the status document and the page.
    pub fn memory(&self) -> Memory {
        let WatchView { plan, step, usage, bytes_per_hour, seconds_to_limit, .. } = self.parts.watch.view();
        let held = self.parts.watch.held();
        let owner = |owner: Owner| {
            let counted = held.iter().filter(|held| held.owner == owner).map(|held| held.bytes);
            let used_bytes = counted.chain(unowned(owner, &usage)).reduce(|sum, bytes| sum + bytes);
            MemoryOwner { owner: owner.name().to_owned(), share_bytes: plan.share(owner), used_bytes }
        };
        let part = |part: Part| MemoryPart { part: part.name().to_owned(), bytes: usage.part(part) };
        Memory {
            limit_bytes: plan.limit.bytes,
            limit_source: plan.limit.source.name().to_owned(),
            working_set_bytes: usage.working_set,
            soft_bytes: plan.marks.soft_bytes(plan.limit.bytes),
            hard_bytes: plan.marks.hard_bytes(plan.limit.bytes),
            step: step.name().to_owned(),
            slope_bytes_per_hour: bytes_per_hour.map(|slope| slope as i64),
            seconds_to_limit,
            owners: Owner::ALL.into_iter().map(owner).collect(),
            parts: Part::ALL.into_iter().map(part).collect(),
        }
    }
}

/// Parts of the working set that belong to an owner who cannot count them.
fn unowned(owner: Owner, usage: &Usage) -> Option<u64> {
    let parts: &[Part] = match owner {
        Owner::Program => &[Part::Heap, Part::Program, Part::Mapped],
        Owner::Stacks => &[Part::Stacks],
        Owner::Slack => &[Part::Fragmentation, Part::Allocator],
        _ => return None,
    };
    let bytes: i64 = parts.iter().map(|part| usage.part(*part)).sum();
    Some(bytes.max(0) as u64)
}
