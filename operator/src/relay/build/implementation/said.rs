//! What a spec says beyond its defaults of how a relay works: each program does something about a part of it.

use crate::api::{CollectionsSpec, Compression, LimitsSpec, LogLevel, UpstreamSpec, ValidationMode, ValidationSpec};
use crate::relay::validate::{Firehose, PlcExport, Settings, ValidRelay};

/// The fields of the spec that say something, in the order of the spec. Left out are those that the operator or Kubernetes does
/// something about whatever the program is, and `durability`: of what happens in a crash of the node no other program says more.
pub(super) fn said(relay: &ValidRelay) -> Vec<&'static str> {
    // Without "..": a new field cannot be forgotten here.
    let Settings { plc_url, plc_export, upstream, validation, firehose, collections, log_level } = &relay.settings;
    let UpstreamSpec {
        bootstrap_relays,
        discovery_interval,
        hosts,
        allow_insecure_hosts,
        trusted_domains,
        banned_domains,
        sibling_relays,
        sibling_token_secret_ref,
        limits,
    } = upstream;
    let default = UpstreamSpec::default();
    let LimitsSpec { accounts_per_host, events_per_second, new_hosts_per_day, max_hosts } = limits;
    let ValidationSpec { mode, hosts: validation_hosts } = validation;
    let Firehose {
        replay_window,
        max_size,
        log_size: _,
        durability: _,
        compression,
        max_consumers,
        max_consumers_per_address,
        trust_forwarded_for,
        initial_seq,
    } = firehose;
    let CollectionsSpec { enabled, min_accounts, image: _ } = collections;
    let fields = [
        ("spec.memory.identityCache", relay.memory.identity_cache.is_some()),
        ("spec.memory.blockCache", relay.memory.block_cache.is_some()),
        ("spec.plcURL", plc_url != "https://plc.directory"),
        ("spec.plcExport", *plc_export != PlcExport::Off),
        ("spec.upstream.bootstrapRelays", !bootstrap_relays.is_empty()),
        ("spec.upstream.discoveryInterval", *discovery_interval != default.discovery_interval),
        ("spec.upstream.hosts", !hosts.is_empty()),
        ("spec.upstream.allowInsecureHosts", *allow_insecure_hosts),
        ("spec.upstream.trustedDomains", *trusted_domains != default.trusted_domains),
        ("spec.upstream.bannedDomains", !banned_domains.is_empty()),
        ("spec.upstream.siblingRelays", !sibling_relays.is_empty()),
        ("spec.upstream.siblingTokenSecretRef", sibling_token_secret_ref.is_some()),
        ("spec.upstream.limits.accountsPerHost", accounts_per_host.is_some()),
        ("spec.upstream.limits.eventsPerSecond", events_per_second.is_some()),
        ("spec.upstream.limits.newHostsPerDay", new_hosts_per_day.is_some()),
        ("spec.upstream.limits.maxHosts", max_hosts.is_some()),
        ("spec.validation.mode", *mode != ValidationMode::Enforce),
        ("spec.validation.hosts", !validation_hosts.is_empty()),
        ("spec.firehose.replayWindow", replay_window != "72h"),
        ("spec.firehose.maxSize", max_size.is_some()),
        ("spec.firehose.compression", *compression != Compression::Zstd),
        ("spec.firehose.maxConsumers", max_consumers.is_some()),
        ("spec.firehose.maxConsumersPerAddress", max_consumers_per_address.is_some()),
        ("spec.firehose.trustForwardedFor", *trust_forwarded_for == Some(true)),
        ("spec.firehose.initialSeq", initial_seq.is_some()),
        ("spec.collections.enabled", !enabled),
        ("spec.collections.minAccounts", min_accounts.is_some()),
        ("spec.backfill", relay.has_backfill()),
        ("spec.logLevel", *log_level != LogLevel::Info),
    ];
    fields.into_iter().filter(|(_, said)| *said).map(|(path, _)| path).collect()
}
