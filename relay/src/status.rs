//! The status document: what the operator, the page and people read of a running relay.
//!
//! Its form is a contract: `version` grows when a field changes its meaning or goes; new fields may come at any time.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::backfill::{Job, State};

/// Version of the form.
pub const VERSION: u32 = 1;

/// The document at `/admin/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Version of the form.
    pub version: u32,
    /// Name and version of the program.
    pub software: String,
    /// When the process started (RFC 3339).
    pub started_at: String,
    /// Whether the relay delivers: `/readyz` as a field.
    pub ready: bool,
    /// Whether it is stopping.
    pub draining: bool,
    /// Seqs in the log.
    pub seq: Seqs,
    /// Events since the start of the process.
    pub events: Events,
    /// Hosts by status.
    pub hosts: HostCounts,
    /// Accounts of all hosts, without the deleted ones.
    pub accounts: u64,
    /// The log on disk.
    pub log: LogState,
    /// Firehose connections.
    pub consumers: Consumers,
    /// Memory.
    pub memory: Memory,
    /// The directory of collections.
    pub collections: Collections,
    /// Backfill jobs.
    pub backfill: Backfill,
}

/// Seqs in the log; 0 when it is empty.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seqs {
    /// The oldest that can be replayed.
    pub first: u64,
    /// The newest.
    pub last: u64,
}

/// Events since the start of the process.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Messages from hosts.
    pub received: u64,
    /// Passed on.
    pub passed: u64,
    /// Not passed on.
    pub dropped: u64,
    /// Passed on per second, over about the last half minute.
    pub per_second: f64,
    /// Dropped, by reason.
    pub dropped_by_reason: BTreeMap<String, u64>,
}

/// Hosts by status.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostCounts {
    /// All.
    pub total: u64,
    /// With an open stream.
    pub connected: u64,
    /// By status, as in `listHosts`.
    pub active: u64,
    /// Ended its stream, and is not asked again until somebody says so.
    pub idle: u64,
    /// Not reached for a while.
    pub offline: u64,
    /// Over a limit.
    pub throttled: u64,
    /// Banned here.
    pub banned: u64,
    /// Hosts whose stream is more than a minute behind.
    pub catching_up: u64,
    /// How far the stream is behind that is furthest.
    pub largest_lag_seconds: u64,
    /// The hosts that failed last and are not well again, at most five.
    pub troubled: Vec<HostTrouble>,
}

/// A host that cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostTrouble {
    /// Its name.
    pub host: String,
    /// Its status.
    pub status: String,
    /// What went wrong.
    pub error: String,
    /// When (RFC 3339).
    pub at: String,
    /// When it is tried again (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<String>,
}

/// The log on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogState {
    /// Files.
    pub segments: u64,
    /// Their size.
    pub bytes: u64,
    /// Time of the oldest event (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<String>,
    /// The replay window that is configured.
    pub window_seconds: u64,
}

/// Firehose connections.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Consumers {
    /// Open now.
    pub connected: u64,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The limit planned for.
    pub limit_bytes: u64,
    /// Who sets it: `cgroup2`, `cgroup1`, `setting` or `machine`.
    pub limit_source: String,
    /// The working set, as the kubelet counts it; the resident set where no cgroup counts.
    pub working_set_bytes: u64,
    /// The soft mark.
    pub soft_bytes: u64,
    /// The hard mark.
    pub hard_bytes: u64,
    /// What has been done about pressure: `none`, `caches`, `purge`, `backfill`, `catch-up`, `consumers`, `restart`.
    pub step: String,
    /// Where the working set is going; absent in the first minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slope_bytes_per_hour: Option<i64>,
    /// When it reaches the limit, if it goes on like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_limit: Option<u64>,
    /// Who may hold what, and what they hold.
    pub owners: Vec<MemoryOwner>,
    /// What the working set is made of: they sum to it.
    pub parts: Vec<MemoryPart>,
}

/// A part that has a share of the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryOwner {
    /// Its name.
    pub owner: String,
    /// What it may hold.
    pub share_bytes: u64,
    /// What it holds now; absent where that is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
}

/// A part of the working set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPart {
    /// Its name; `unexplained` is the rest.
    pub part: String,
    /// Its size; the rest may be below zero.
    pub bytes: i64,
}

/// The directory of collections.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collections {
    /// Collections that an active account has records in.
    pub collections: u64,
    /// Pairs of an active account and a collection.
    pub pairs: u64,
}

/// Backfill jobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backfill {
    /// Their number by state.
    pub by_state: BTreeMap<State, u64>,
    /// The jobs, those that somebody declared first, at most 50.
    pub jobs: Vec<Job>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded_job() -> Job {
        let json = serde_json::json!({
            "name": "import",
            "spec": {
                "kind": "import",
                "sources": ["https://relay.example.com"],
                "collections": {"names": ["app.bsky.feed.post"], "lists": ["https://lists.example.com/llms.txt"]},
                "requestsPerSecond": 4.0,
                "schedule": "@weekly",
                "declaredBy": "operator"
            },
            "state": "waiting",
            "reason": "relay.example.com asks for a pause",
            "waitsUntil": "2026-11-24T10:05:00Z",
            "lastError": "relay.example.com answers 429",
            "lastErrorAt": "2026-11-24T10:00:00Z",
            "run": 1,
            "resumes": 2,
            "resumedFrom": "relay.example.com app.bsky.feed.post after did:plc:7iza6de2dwap2sbkpav7c6c6",
            "resumedAt": "2026-11-24T09:59:00Z",
            "createdAt": "2026-11-24T09:00:00Z",
            "startedAt": "2026-11-24T09:00:01Z",
            "progress": {
                "parts": 4, "partsDone": 1, "partsFailed": 0,
                "current": "relay.example.com app.bsky.feed.post",
                "cursor": "did:plc:7iza6de2dwap2sbkpav7c6c6",
                "seen": 12000, "added": 11000, "removed": 0, "retrying": 0, "perSecond": 250.5, "etaSeconds": 3600
            }
        });
        serde_json::from_value(json).expect("a job")
    }

    /// The document that the operator's tests read (operator/tests/contract).
    #[test]
    fn the_document_is_the_one_that_the_operator_reads() {
        let recorded = include_str!("../../operator/tests/contract/admin-status.json");
        let recorded: serde_json::Value = serde_json::from_str(recorded).expect("recorded JSON");
        let document = Document {
            version: VERSION,
            software: "relay/0.1.0".to_owned(),
            started_at: "2026-11-24T10:00:00Z".to_owned(),
            ready: true,
            draining: false,
            seq: Seqs { first: 1, last: 123 },
            events: Events {
                received: 130,
                passed: 123,
                dropped: 7,
                per_second: 12.5,
                dropped_by_reason: BTreeMap::from([("signature".to_owned(), 3)]),
            },
            hosts: HostCounts {
                total: 3,
                connected: 2,
                active: 2,
                offline: 1,
                catching_up: 1,
                largest_lag_seconds: 75,
                troubled: vec![HostTrouble {
                    host: "pds.example.com".to_owned(),
                    status: "offline".to_owned(),
                    error: "connection refused".to_owned(),
                    at: "2026-11-24T10:00:00Z".to_owned(),
                    next_try_at: Some("2026-11-24T11:00:00Z".to_owned()),
                }],
                ..HostCounts::default()
            },
            accounts: 3,
            log: LogState {
                segments: 1,
                bytes: 4096,
                oldest_at: Some("2026-11-24T10:00:00Z".to_owned()),
                window_seconds: 259_200,
            },
            consumers: Consumers { connected: 1 },
            memory: Memory {
                limit_bytes: 536_870_912,
                limit_source: "cgroup2".to_owned(),
                working_set_bytes: 73_400_320,
                soft_bytes: 429_496_729,
                hard_bytes: 483_183_820,
                step: "none".to_owned(),
                slope_bytes_per_hour: Some(1_048_576),
                seconds_to_limit: Some(1_592_000),
                owners: vec![MemoryOwner {
                    owner: "ring".to_owned(),
                    share_bytes: 42_949_672,
                    used_bytes: Some(1_048_576),
                }],
                parts: vec![
                    MemoryPart { part: "owned".to_owned(), bytes: 73_924_608 },
                    MemoryPart { part: "unexplained".to_owned(), bytes: -524_288 },
                ],
            },
            collections: Collections { collections: 4, pairs: 11 },
            backfill: Backfill { by_state: BTreeMap::from([(State::Waiting, 1)]), jobs: vec![recorded_job()] },
        };
        let written = serde_json::to_value(&document).expect("a document");
        assert_eq!(written, recorded, "a change of the document is a change of the contract");
    }
}
