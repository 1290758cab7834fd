//! Memory, and the time to stop.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Invalid, check, duration, size, within};
use crate::api::{CACHES_NEED_ROOM, MemoryResize, MemorySpec, patterns};
use crate::relay::byte_size::ByteSize;

/// Smallest memory limit a relay can plan its queues and caches in.
const MIN_LIMIT: ByteSize = ByteSize(128 << 20);
/// Where the soft mark may be: a plan has to fit below it.
const SOFT_PERCENT: RangeInclusive<i32> = 50..=92;
/// Where the hard mark may be: above, a restart comes too late.
const HARD_PERCENT: RangeInclusive<i32> = 55..=97;
/// Fewest percent between the two: less is passed in a moment.
const DISTANCE_MIN: i32 = 5;
/// Restarts of a relay for its memory; more within an hour is no operation.
const RESTARTS_PER_HOUR: RangeInclusive<i32> = 0..=10;
/// Times to stop: the pod's last 10 seconds are not the relay's, and those before must be enough to drain.
const GRACE_SECONDS: RangeInclusive<i64> = 20..=3600;

/// How much memory a relay gets, and what happens when it is short.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// What the scheduler sets aside, where that is not the limit.
    pub request: Option<ByteSize>,
    /// What the spec allows.
    pub limit: ByteSize,
    /// How far it may grow: at least the limit.
    pub max: ByteSize,
    /// Soft mark, in percent of the limit.
    pub soft_percent: i32,
    /// Hard mark, in percent of the limit.
    pub hard_percent: i32,
    /// Memory of the cache of identities.
    pub identity_cache: Option<ByteSize>,
    /// Memory of the block cache.
    pub block_cache: Option<ByteSize>,
    /// How another limit comes about.
    pub resize: MemoryResize,
    /// Restarts for memory that the relay makes in an hour.
    pub restarts_per_hour: i32,
    /// Shortest time between two of them, as the spec has it.
    pub restart_cooldown: String,
}

/// Memory of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// What the scheduler sets aside.
    pub request: ByteSize,
    /// What the kernel allows.
    pub limit: ByteSize,
}

impl Memory {
    /// What the container has when its limit is `limit`.
    #[must_use]
    pub fn at(&self, limit: ByteSize) -> Resources {
        Resources { request: self.request.unwrap_or(limit), limit }
    }

    /// Shortest time between two restarts.
    #[must_use]
    pub fn restart_cooldown(&self) -> Duration {
        duration(&self.restart_cooldown)
    }
}

pub(super) fn memory(spec: &MemorySpec) -> Result<Memory, Invalid> {
    let limit = size("spec.memory.limit", &spec.limit)?;
    let sized = |path, text: &Option<String>| text.as_deref().map(|text| size(path, text)).transpose();
    let request = sized("spec.memory.request", &spec.request)?;
    let max = sized("spec.memory.max", &spec.max)?;
    check("spec.memory.restartCooldown", &spec.restart_cooldown, patterns::DURATION)?;
    let refused = |text: String| Err(Invalid::Spec(text));
    if limit < MIN_LIMIT {
        return refused(format!("spec.memory.limit must be at least {MIN_LIMIT}"));
    }
    if request.is_some_and(|request| request > limit) {
        return refused("spec.memory.request must not be above spec.memory.limit".into());
    }
    if max.is_some_and(|max| max < limit) {
        return refused("spec.memory.max must not be below spec.memory.limit".into());
    }
    within("spec.memory.softPercent", spec.soft_percent, &SOFT_PERCENT)?;
    within("spec.memory.hardPercent", spec.hard_percent, &HARD_PERCENT)?;
    if spec.soft_percent + DISTANCE_MIN > spec.hard_percent {
        return refused(format!(
            "spec.memory.softPercent must be at least {DISTANCE_MIN} below spec.memory.hardPercent"
        ));
    }
    within("spec.memory.maxRestartsPerHour", spec.max_restarts_per_hour, &RESTARTS_PER_HOUR)?;
    let identity_cache = sized("spec.memory.identityCache", &spec.identity_cache)?;
    let block_cache = sized("spec.memory.blockCache", &spec.block_cache)?;
    // The relay knows what fits, and refuses to start; what fits in no way can be said before.
    let caches = [identity_cache, block_cache].iter().flatten().fold(0_u64, |sum, cache| sum.saturating_add(cache.0));
    let soft = limit.0 / 100 * u64::from(spec.soft_percent.unsigned_abs());
    if caches >= soft {
        return refused(format!("spec.{CACHES_NEED_ROOM}"));
    }
    Ok(Memory {
        request: request.filter(|request| *request != limit),
        limit,
        max: max.unwrap_or(limit),
        soft_percent: spec.soft_percent,
        hard_percent: spec.hard_percent,
        identity_cache,
        block_cache,
        resize: spec.resize,
        restarts_per_hour: spec.max_restarts_per_hour,
        restart_cooldown: spec.restart_cooldown.clone(),
    })
}

pub(super) fn grace_seconds(seconds: Option<i64>) -> Result<Option<i64>, Invalid> {
    if let Some(seconds) = seconds {
        within("spec.terminationGracePeriodSeconds", seconds, &GRACE_SECONDS)?;
    }
    Ok(seconds)
}
