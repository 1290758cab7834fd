//! Where the watch looks: at the kernel and the allocator, or at what a test makes up.

use super::{Cgroup, Held, Limit, Pressure, Usage, decay};

/// What the watch asks, about every second.
pub trait Probe: Send + 'static {
    /// How it is now, where `held` is what the owners count.
    fn look(&self, held: &[Held]) -> Seen;
    /// Makes the allocator give back what it keeps for later.
    fn purge(&self);
}

/// What is seen at a look.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The limit, which may change at any time.
    pub limit: Limit,
    /// The working set and its parts.
    pub usage: Usage,
    /// How long tasks wait for memory, where the kernel says.
    pub pressure: Option<Pressure>,
}

/// The kernel and the allocator.
pub struct Machine {
    /// The limit that was set, if one was.
    pub limit_setting: Option<u64>,
    /// The cgroup, if there is one.
    pub cgroup: Option<Cgroup>,
}

impl Probe for Machine {
    fn look(&self, held: &[Held]) -> Seen {
        let limit = Limit::find(self.limit_setting, self.cgroup.as_ref());
        let cgroup = limit.counted_by(self.cgroup.as_ref());
        Seen { limit, usage: Usage::read(cgroup, held), pressure: cgroup.and_then(Cgroup::pressure) }
    }

    fn purge(&self) {
        decay::purge();
    }
}
