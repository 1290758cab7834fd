//! The memory limit: who sets it, and what it is.

use std::fmt;

use super::{Cgroup, proc};

/// Where nothing limits the relay, it plans for this part of the machine: the rest is for the page cache, which reads of
/// the log live on, and for whatever else runs there.
const MACHINE_DIVISOR: u64 = 2;

/// What is planned for where even the machine's memory is not known.
const UNKNOWN_BYTES: u64 = 1 << 30;

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
    /// The machine: nothing else limits the process, or allows less.
    Machine,
}

impl Limit {
    /// The limit of this process: the smallest of the cgroup's, the setting and the machine's memory, the first of them
    /// where they are equal, since a cgroup also counts; half of the machine's memory where there is neither.
    pub fn find(setting: Option<u64>, cgroup: Option<&Cgroup>) -> Limit {
        Limit::of(setting, cgroup, proc::machine_bytes())
    }

    /// What a person should know of how it was found: files that cannot be read, and limits that do not hold.
    pub fn remarks(setting: Option<u64>, cgroup: Option<&Cgroup>) -> Vec<String> {
        remarks(setting, cgroup, proc::machine_bytes())
    }

    fn of(setting: Option<u64>, cgroup: Option<&Cgroup>, machine: Option<u64>) -> Limit {
        let given = given(setting, cgroup).min_by_key(|limit| limit.bytes);
        let Some(limit) = given else {
            let bytes = machine.map_or(UNKNOWN_BYTES, |bytes| bytes / MACHINE_DIVISOR);
            return Limit { bytes, source: LimitSource::Machine };
        };
        match machine {
            Some(bytes) if bytes < limit.bytes => Limit { bytes, source: LimitSource::Machine },
            _ => limit,
        }
    }

    /// The group that counts what this limit is for. One that is not what limits the process may hold others as well, as
    /// in a shell: what it counts says nothing then of this process.
    pub fn counted_by(self, cgroup: Option<&Cgroup>) -> Option<&Cgroup> {
        cgroup.filter(|_| matches!(self.source, LimitSource::Cgroup1 | LimitSource::Cgroup2))
    }
}

/// The limits that somebody has set.
fn given(setting: Option<u64>, cgroup: Option<&Cgroup>) -> impl Iterator<Item = Limit> + use<> {
    let set = setting.map(|bytes| Limit { bytes, source: LimitSource::Setting });
    let of_cgroup = cgroup.and_then(|cgroup| Some(Limit { bytes: cgroup.limit()?, source: cgroup.source() }));
    of_cgroup.into_iter().chain(set)
}

fn remarks(setting: Option<u64>, cgroup: Option<&Cgroup>, machine: Option<u64>) -> Vec<String> {
    let limit = Limit::of(setting, cgroup, machine);
    let given: Vec<Limit> = given(setting, cgroup).collect();
    let planned = match machine {
        _ if !given.is_empty() => format!("the relay plans for {} MiB ({})", limit.bytes >> 20, limit.source),
        Some(machine) => format!(
            "the relay plans for {} MiB, half of the machine's {} MiB; memory-limit sets another",
            limit.bytes >> 20,
            machine >> 20
        ),
        None => format!(
            "the relay plans for {} MiB, since /proc/meminfo does not say what the machine has; memory-limit sets another",
            limit.bytes >> 20
        ),
    };
    let mut remarks = Vec::new();
    match cgroup.map(Cgroup::own_limit) {
        Some(Err(error)) => remarks.push(format!("{error}: {planned}")),
        Some(Ok(_)) if given.is_empty() => remarks.push(format!("the cgroup sets no memory limit: {planned}")),
        None if given.is_empty() => remarks.push(format!("there is no cgroup with a memory controller: {planned}")),
        _ => {}
    }
    for Limit { bytes, source } in given {
        // That a container allows more than the setting is a choice.
        let is_chosen = limit.source == LimitSource::Setting;
        if bytes > limit.bytes && !is_chosen {
            remarks.push(format!("{source} of {} MiB does not hold: {planned}", bytes >> 20));
        }
    }
    if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.stat().is_none()) {
        let path = cgroup.stat_path();
        remarks.push(format!(
            "{path} is missing or does not say what is charged: the resident set is taken for the working set"
        ));
    }
    remarks
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
            LimitSource::Machine => "the machine",
        })
    }
}

#[cfg(test)]
mod tests;
