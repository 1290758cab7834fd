//! Where the watch looks: at the kernel and the allocator, or at what a test makes up.

use super::{Cgroup, Held, Limit, LimitSource, Pressure, Usage, purge};

/// What the watch asks, about every second.
pub trait Probe: Send + 'static {
    /// The limit, which may change at any time.
    fn limit(&self) -> Limit;
    /// The working set and its parts, where `held` is what the owners count.
    fn usage(&self, held: &[Held]) -> Usage;
    /// How long tasks wait for memory, where the kernel says.
    fn pressure(&self) -> Option<Pressure>;
    /// Makes the allocator give back what it keeps for later.
    fn purge(&self);
}

/// The kernel and the allocator.
pub struct Machine {
    /// The limit that was set, if one was.
    pub limit_setting: Option<u64>,
    /// The cgroup, if there is one.
    pub cgroup: Option<Cgroup>,
}

impl Machine {
    /// The cgroup, if it is what limits the process. One that does not may hold others as well, as in a shell: what it
    /// counts says nothing then of this process.
    fn limiting_cgroup(&self) -> Option<&Cgroup> {
        let limits = matches!(self.limit().source, LimitSource::Cgroup1 | LimitSource::Cgroup2);
        self.cgroup.as_ref().filter(|_| limits)
    }
}

impl Probe for Machine {
    fn limit(&self) -> Limit {
        Limit::find(self.limit_setting, self.cgroup.as_ref())
    }

    fn usage(&self, held: &[Held]) -> Usage {
        Usage::read(self.limiting_cgroup(), held)
    }

    fn pressure(&self) -> Option<Pressure> {
        self.limiting_cgroup()?.pressure()
    }

    fn purge(&self) {
        purge::purge();
    }
}
