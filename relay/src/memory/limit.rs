//! The memory limit: who sets it, and what it is.

use std::fmt;

use super::{Cgroup, proc};

/// What the relay may use, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes.
    pub bytes: u64,
    /// Who says so.
    pub source: LimitSource,
}

/// Who sets the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSource {
    /// `memory.max`, cgroup version 2.
    Cgroup2,
    /// `memory.limit_in_bytes`, cgroup version 1.
    Cgroup1,
    /// The setting `memory-limit`.
    Setting,
    /// The machine: nothing else limits the process.
    Machine,
}

impl Limit {
    /// The limit of this process: the smaller of the setting and the cgroup's; the machine's memory where there is
    /// neither.
    pub fn find(setting: Option<u64>, cgroup: Option<&Cgroup>) -> Limit {
        let set = setting.map(|bytes| Limit { bytes, source: LimitSource::Setting });
        let of_cgroup = cgroup.and_then(|cgroup| Some(Limit { bytes: cgroup.limit()?, source: cgroup.source() }));
        let machine = || Limit { bytes: proc::machine_bytes().unwrap_or(u64::MAX), source: LimitSource::Machine };
        set.into_iter().chain(of_cgroup).min_by_key(|limit| limit.bytes).unwrap_or_else(machine)
    }
}

impl LimitSource {
    /// Its name in the status document and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            LimitSource::Cgroup2 => "cgroup2",
            LimitSource::Cgroup1 => "cgroup1",
            LimitSource::Setting => "setting",
            LimitSource::Machine => "machine",
        }
    }
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitSource::Cgroup2 => "memory.max of the cgroup",
            LimitSource::Cgroup1 => "memory.limit_in_bytes of the cgroup",
            LimitSource::Setting => "memory-limit",
            LimitSource::Machine => "the machine's memory",
        })
    }
}
