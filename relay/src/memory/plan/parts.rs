//! What each owner may be given: the table behind every plan.
//!
//! Where a figure was measured, the comment says so; what a share buys is in `docs/reference/memory.md`.

use super::needs::{Needs, Setting};
use crate::firehose::{CONSUMER_BYTES, CONSUMER_SPARE_BYTES, KEPT_BYTES_MIN};
use crate::host::{ROOM_BYTES_MIN, STREAM_BYTES, STREAM_SPARE_BYTES};
use crate::memory::Owner;

const MIB: u64 = 1 << 20;

/// One owner and its share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) owner: Owner,
    /// With less it does not do its work, in bytes.
    pub(super) min: u64,
    /// What it gets of what the others leave, relative to them.
    pub(super) weight: u64,
    /// More makes nothing faster, in bytes.
    pub(super) max: u64,
    /// What the allocator needs on top, in percent.
    pub(super) overhead_percent: u64,
}

/// Memory that goes with a number of connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connections {
    /// Bytes of one.
    each: u64,
    /// Bytes for what few of them need at once.
    room: u64,
}

/// The room is for messages that are not whole yet, of which the largest has 5 MB.
pub(super) const HOSTS: Connections = Connections { each: STREAM_BYTES + STREAM_SPARE_BYTES, room: 6 * MIB };

/// The room is for events that stalled consumers are in the middle of, of which the largest has 5 MB.
pub(super) const CONSUMERS: Connections = Connections { each: CONSUMER_BYTES + CONSUMER_SPARE_BYTES, room: 5 * MIB };

const _: () = assert!(HOSTS.room >= ROOM_BYTES_MIN && CONSUMERS.room >= KEPT_BYTES_MIN);

impl Connections {
    /// Share of so many.
    pub(super) const fn share(self, count: u64) -> u64 {
        count.saturating_mul(self.each).saturating_add(self.room)
    }

    /// How many a share is enough for.
    pub(super) const fn count(self, share: u64) -> u64 {
        share.saturating_sub(self.room) / self.each
    }
}

/// The heap of what comes and goes, like events and blocks: with jemalloc, 1.44 times what was in use was measured under
/// bursts.
const CHURNING: u64 = 44;
/// The heap of what stays for longer: what size classes round up.
const STEADY: u64 = 10;
/// What does not come from the allocator, or was measured with it.
const OUTSIDE: u64 = 0;

/// All owners but the slack, which is their overhead together.
const PARTS: [Part; Owner::ALL.len() - 1] = [
    // Idle and with all others empty, 6.5 MiB without files were measured, stacks included, and 24 MiB of the program and its
    // libraries mapped, of which the working set has what is used again and again.
    fixed(Owner::Program, 16 * MIB, OUTSIDE),
    // Nineteen threads on two cores, two more for each further core.
    fixed(Owner::Stacks, 4 * MIB, OUTSIDE),
    part(Owner::Hosts, HOSTS.share(64), 60, HOSTS.share(4000), STEADY),
    part(Owner::Consumers, CONSUMERS.share(16), 12, CONSUMERS.share(1000), STEADY),
    // The largest event has to get through, and another one beside it should not wait for it.
    part(Owner::Ingest, 6 * MIB, 6, 64 * MIB, CHURNING),
    part(Owner::Parked, 5 * MIB, 3, 32 * MIB, CHURNING),
    // Seconds of the whole network at the least, 20 s at the most.
    part(Owner::Ring, 4 * MIB, 8, 128 * MIB, CHURNING),
    part(Owner::Replay, 2 * MIB, 5, 64 * MIB, CHURNING),
    // A group of 4 MiB as it is made and as it is written, and the indexes of 64 segments.
    fixed(Owner::Log, 8 * MIB, STEADY),
    part(Owner::Accounts, MIB, 9, 256 * MIB, STEADY),
    // Twelve documents at once, of 256 KiB with their connections.
    part(Owner::Identities, 4 * MIB, 8, 256 * MIB, STEADY),
    part(Owner::BlockCache, 4 * MIB, 14, 1024 * MIB, CHURNING),
    part(Owner::Memtables, 4 * MIB, 6, 128 * MIB, STEADY),
    // 256 files, whose indexes and filters are in the block cache.
    fixed(Owner::TableReaders, 2 * MIB, STEADY),
    part(Owner::Directory, MIB, 1, 8 * MIB, STEADY),
    part(Owner::Backfill, 4 * MIB, 4, 32 * MIB, CHURNING),
];

const fn part(owner: Owner, min: u64, weight: u64, max: u64, overhead_percent: u64) -> Part {
    Part { owner, min, weight, max, overhead_percent }
}

const fn fixed(owner: Owner, bytes: u64, overhead_percent: u64) -> Part {
    part(owner, bytes, 0, bytes, overhead_percent)
}

/// What a need is to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Firmness {
    /// To be met.
    Exactly,
    /// To be met as far as it fits.
    AtMost,
}

/// The parts with what is asked of them. No cache has less than its minimum.
pub(super) fn parts(needs: &Needs, firmness: Firmness) -> [Part; PARTS.len()] {
    PARTS.map(|part| {
        let Some(setting) = needs.setting_of(part.owner) else { return part };
        let share = match setting {
            Setting::MaxHosts(_) | Setting::MaxConsumers(_) => setting.share(),
            Setting::IdentityCache(_) | Setting::BlockCache(_) => setting.share().max(part.min),
        };
        match firmness {
            Firmness::Exactly => Part { min: share, max: share, ..part },
            Firmness::AtMost => Part { min: part.min.min(share), max: share, ..part },
        }
    })
}

impl Part {
    /// The share at a level: so many bytes for each unit of weight.
    pub(super) fn share(&self, level: u64) -> u64 {
        self.weight.saturating_mul(level).clamp(self.min, self.max)
    }

    /// What the allocator needs on top of a share.
    pub(super) fn overhead(&self, share: u64) -> u64 {
        share / 100 * self.overhead_percent
    }

    /// The largest share that with its overhead stays within `bytes`.
    pub(super) fn share_within(&self, bytes: u64) -> u64 {
        bytes / (100 + self.overhead_percent) * 100
    }
}
