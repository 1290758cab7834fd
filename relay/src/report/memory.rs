//! The memory by owner, for people; the metrics and the status document have the sums.

use serde::Serialize;

use super::Reporter;

/// How the limit is divided, and what is used of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryReport {
    /// The limit planned for.
    pub limit_bytes: u64,
    /// The working set, as the kubelet counts it; the resident set where no cgroup counts.
    pub working_set_bytes: u64,
    /// The parts that have a share of the limit.
    pub owners: Vec<Owner>,
}

/// A part that has a share of the limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Its name.
    pub owner: &'static str,
    /// What it may hold.
    pub share_bytes: u64,
    /// What it holds now; absent where that is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
}

impl Reporter {
    /// The memory by owner.
    pub fn memory(&self) -> MemoryReport {
        let budget = &self.parts.budget;
        let shares = [
            ("ingest", budget.ingest),
            ("parked", budget.parked),
            ("ring", budget.ring),
            ("replay", budget.replay),
            ("accounts", budget.accounts),
            ("identities", budget.identities),
            ("store", budget.block_cache + budget.memtables),
            ("directory", budget.directory),
        ];
        let used = self.memory_used();
        let owner = |(owner, share_bytes): (&'static str, u64)| {
            let used_bytes = used.iter().find(|(name, _)| *name == owner).map(|(_, bytes)| *bytes);
            Owner { owner, share_bytes, used_bytes }
        };
        MemoryReport {
            limit_bytes: budget.limit,
            working_set_bytes: self.working_set(),
            owners: shares.into_iter().map(owner).collect(),
        }
    }

    /// What the owners hold that count it.
    pub(super) fn memory_used(&self) -> [(&'static str, u64); 5] {
        let parts = &self.parts;
        [
            ("ingest", parts.intake.ingest_bytes() as u64),
            ("ring", parts.firehose.ring_bytes() as u64),
            ("identities", parts.resolver.memory_bytes() as u64),
            ("store", parts.store.memory_bytes()),
            ("directory", parts.directory.memory_bytes() as u64),
        ]
    }
}
