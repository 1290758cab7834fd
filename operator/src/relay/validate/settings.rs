//! What the relay is told, beside its memory.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::upstream::upstream;
use super::{Invalid, Storage, check, size, within};
use crate::api::patterns::{DURATION, HOSTS_OF, URL};
use crate::api::{
    BUNDLED_HAS_COLLECTIONS, CollectionsSpec, Compression, Durability, FirehoseSpec, Implementation, LogLevel,
    MAX_SIZE_NEEDS_ROOM, PLC_EXPORT_URL_NEEDS_ENABLED, PlcExportSpec, RelaySpec, UpstreamSpec, ValidationSpec,
};
use crate::relay::byte_size::ByteSize;

/// Share of the volume that the event log may fill. Events beyond go before their time, rather than that a burst fills
/// the disk and holds back every host; the rest is for the state of accounts and the segment being written.
const LOG_PERCENT: u64 = 80;
/// Consumers that one relay could have.
const CONSUMERS: RangeInclusive<i32> = 1..=100_000;
/// Sequence numbers that leave room to count: consumers read them as JSON numbers.
const SEQS: RangeInclusive<i64> = 1..=1 << 52;
/// Accounts of a collection that is listed.
const ACCOUNTS: RangeInclusive<i32> = 0..=1_000_000;

/// What the relay is told, beside its memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The PLC directory.
    pub plc_url: String,
    /// Whose export is followed.
    pub plc_export: PlcExport,
    /// Which hosts to crawl.
    pub upstream: UpstreamSpec,
    /// How events are checked.
    pub validation: ValidationSpec,
    /// The stream that it serves.
    pub firehose: Firehose,
    /// The directory of collections.
    pub collections: CollectionsSpec,
    /// How much it logs.
    pub log_level: LogLevel,
}

/// Whose export of PLC operations is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlcExport {
    /// Nobody's.
    Off,
    /// That of the PLC directory.
    Directory,
    /// That of the mirror at this URL.
    Mirror(String),
}

/// The stream that the relay serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Firehose {
    /// How far back consumers may resume.
    pub replay_window: String,
    /// What the events of that time may fill, where the spec says so.
    pub max_size: Option<ByteSize>,
    /// What they may fill: a share of the volume where the spec does not say.
    pub log_size: ByteSize,
    /// When an event counts as written.
    pub durability: Durability,
    /// What becomes of older events.
    pub compression: Compression,
    /// Consumers at once.
    pub max_consumers: Option<i32>,
    /// Consumers at once of one address.
    pub max_consumers_per_address: Option<i32>,
    /// Consumers come through a proxy that says who they are, where the spec says whether.
    pub trust_forwarded_for: Option<bool>,
    /// The first sequence number.
    pub initial_seq: Option<i64>,
}

pub(super) fn settings(spec: &RelaySpec, storage: &Storage) -> Result<Settings, Invalid> {
    check("spec.plcURL", &spec.plc_url, URL)?;
    Ok(Settings {
        plc_url: spec.plc_url.clone(),
        plc_export: plc_export(&spec.plc_export)?,
        upstream: upstream(&spec.upstream)?,
        validation: validation(&spec.validation)?,
        firehose: firehose(&spec.firehose, storage)?,
        collections: collections(&spec.collections, spec.implementation)?,
        log_level: spec.log_level,
    })
}

fn plc_export(spec: &PlcExportSpec) -> Result<PlcExport, Invalid> {
    match (spec.enabled, &spec.url) {
        (false, None) => Ok(PlcExport::Off),
        (false, Some(_)) => Err(Invalid::Spec(format!("spec.{PLC_EXPORT_URL_NEEDS_ENABLED}"))),
        (true, None) => Ok(PlcExport::Directory),
        (true, Some(url)) => {
            check("spec.plcExport.url", url, URL)?;
            Ok(PlcExport::Mirror(url.clone()))
        }
    }
}

fn validation(spec: &ValidationSpec) -> Result<ValidationSpec, Invalid> {
    let mut seen = BTreeSet::new();
    for host in &spec.hosts {
        check("spec.validation.hosts.match", &host.match_, HOSTS_OF)?;
        if !seen.insert(&host.match_) {
            return Err(Invalid::Spec(format!("spec.validation.hosts names {} twice; the first holds", host.match_)));
        }
    }
    Ok(spec.clone())
}

fn firehose(spec: &FirehoseSpec, storage: &Storage) -> Result<Firehose, Invalid> {
    // Without "..": a new field cannot be forgotten here.
    let FirehoseSpec {
        replay_window,
        max_size,
        durability,
        compression,
        max_consumers,
        max_consumers_per_address,
        trust_forwarded_for,
        initial_seq,
    } = spec;
    check("spec.firehose.replayWindow", replay_window, DURATION)?;
    let max_size = max_size.as_deref().map(|text| size("spec.firehose.maxSize", text)).transpose()?;
    if max_size.is_some_and(|max_size| max_size.0 / 4 > storage.size.0 / 5) {
        return Err(Invalid::Spec(format!("spec.{MAX_SIZE_NEEDS_ROOM}")));
    }
    for (path, number) in [
        ("spec.firehose.maxConsumers", max_consumers),
        ("spec.firehose.maxConsumersPerAddress", max_consumers_per_address),
    ] {
        number.map_or(Ok(()), |number| within(path, number, &CONSUMERS))?;
    }
    initial_seq.map_or(Ok(()), |seq| within("spec.firehose.initialSeq", seq, &SEQS))?;
    // While the volume grows there is only the room of before.
    let room = ByteSize(storage.usable.0 / 100 * LOG_PERCENT);
    Ok(Firehose {
        replay_window: replay_window.clone(),
        max_size,
        log_size: max_size.map_or(room, |max_size| max_size.min(room)),
        durability: *durability,
        compression: *compression,
        max_consumers: *max_consumers,
        max_consumers_per_address: *max_consumers_per_address,
        trust_forwarded_for: *trust_forwarded_for,
        initial_seq: *initial_seq,
    })
}

fn collections(spec: &CollectionsSpec, implementation: Implementation) -> Result<CollectionsSpec, Invalid> {
    if implementation == Implementation::Bundled && !spec.enabled {
        return Err(Invalid::Spec(format!("spec.{BUNDLED_HAS_COLLECTIONS}")));
    }
    spec.min_accounts.map_or(Ok(()), |accounts| within("spec.collections.minAccounts", accounts, &ACCOUNTS))?;
    Ok(spec.clone())
}
