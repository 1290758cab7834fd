//! The relay's status document, `GET /admin/status`: the contract between operator and relay.
//!
//! `tests/contract/admin-status.json` is the recorded document that both sides test against.

use serde::Deserialize;

use super::AskError;
use super::jobs::Job;

/// Version of the document that this operator understands.
pub(super) const VERSION: u32 = 1;

/// What the operator uses of the document. Anything else in it is for others.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Document {
    /// Name and version, such as relay/0.1.0.
    pub software: String,
    /// Whether `/readyz` says so too.
    pub ready: bool,
    /// Whether the relay is about to stop.
    pub draining: bool,
    /// Sequence numbers in the log.
    pub seq: Seq,
    /// Counters of events.
    pub events: Events,
    /// Hosts by state.
    pub hosts: Hosts,
    /// Consumers of the firehose.
    pub consumers: Consumers,
    /// Memory as the kernel counts it.
    pub memory: Memory,
    /// Backfill jobs; absent in relays from before there were any.
    pub backfill: Option<Backfill>,
}

/// Sequence numbers in the log.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Seq {
    /// Number of the last event, 0 before the first.
    pub last: u64,
}

/// Counters of events.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Events passed on per second, over the last minute or so.
    pub per_second: f64,
}

/// Hosts by state.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Hosts {
    /// Hosts known.
    pub total: u64,
    /// Hosts with an open connection.
    pub connected: u64,
}

/// Consumers of the firehose.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Consumers {
    /// Open connections.
    pub connected: u64,
}

/// Memory as the kernel counts it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Limit in bytes, where there is one.
    pub limit_bytes: Option<u64>,
    /// Memory in use that the kernel cannot take back, in bytes.
    pub working_set_bytes: u64,
    /// The soft mark in bytes; absent, as what follows, in relays from before there was one.
    pub soft_bytes: Option<u64>,
    /// The hard mark in bytes.
    pub hard_bytes: Option<u64>,
    /// What the relay does about pressure, `none` or a step of its ladder.
    pub step: Option<String>,
    /// How fast the memory in use grows, where that can be said.
    pub slope_bytes_per_hour: Option<i64>,
    /// In how many seconds it would reach the limit, where it does.
    pub seconds_to_limit: Option<u64>,
}

impl Memory {
    /// Whether the relay does something about its memory, or ought to.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let acts = self.step.as_deref().is_some_and(|step| step != "none");
        acts || self.soft_bytes.is_some_and(|soft| self.working_set_bytes >= soft)
    }
}

/// Backfill jobs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct Backfill {
    /// All that somebody declared, and some of the others.
    pub jobs: Vec<Job>,
}

pub(super) fn decode(body: &[u8]) -> Result<Document, AskError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let malformed = |error: serde_json::Error| AskError::Malformed(error.to_string());
    // The version first: a document of another version may lack any other field.
    let Versioned { version } = serde_json::from_slice(body).map_err(malformed)?;
    if version != VERSION {
        return Err(AskError::Version(version));
    }
    serde_json::from_slice(body).map_err(malformed)
}
