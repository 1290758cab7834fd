//! The metrics, read from the parts at each scrape: nothing is counted twice, and the names stand in one place.

mod directory;
mod memory;
mod pressure;

use std::fmt::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Reporter;
use crate::firehose::Disconnect;
use crate::host::Lags;

impl Reporter {
    /// All metrics in the OpenMetrics text format.
    pub fn metrics(self: &std::sync::Arc<Self>) -> Result<String, Error> {
        let mut registry = Registry::with_prefix("relay");
        registry.register_collector(Box::new(Scrape(std::sync::Arc::clone(self))));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

struct Scrape(std::sync::Arc<Reporter>);

impl std::fmt::Debug for Scrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut out = Out(encoder);
        self.events(&mut out)?;
        self.hosts(&mut out)?;
        self.siblings(&mut out)?;
        self.identities(&mut out)?;
        self.consumers(&mut out)?;
        self.directory(&mut out)?;
        self.backfill(&mut out)?;
        self.storage(&mut out)?;
        self.memory(&mut out)?;
        self.pressure(&mut out)
    }
}

impl Scrape {
    fn events(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let parts = &self.0.parts;
        let counted = parts.intake.stats().snapshot();
        let sequencer = &parts.sequencer;
        out.counter("events_received", "Messages received from hosts", counted.received)?;
        out.counter("events_passed", "Events passed on", sequencer.passed.load(Ordering::Relaxed))?;
        out.counter("events_passed_bytes", "Bytes of events passed on", sequencer.bytes.load(Ordering::Relaxed))?;
        out.counters("events_dropped", "Events not passed on", "reason", counted.dropped)?;
        out.counters("events_observed", "Invalid events passed on by policy", "reason", counted.observed)?;
        out.counter(
            "events_discontinuous",
            "Commits passed that do not continue the known state",
            counted.discontinuous,
        )?;
        out.counter("events_parked", "Events that had to wait for an identity", counted.parked)?;
        out.gauge("parked_events", "Events that wait for an identity now", counted.waiting_events)?;
        out.gauge("parked_bytes", "Their bytes", counted.waiting_bytes)?;
        out.counter("upstream_info", "Notices of hosts that events were missed", counted.upstream_info)
    }

    fn hosts(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let hosts = super::count_hosts(&self.0.parts.hosts);
        let by_status = [
            ("active", hosts.active),
            ("idle", hosts.idle),
            ("offline", hosts.offline),
            ("throttled", hosts.throttled),
            ("banned", hosts.banned),
        ];
        out.gauges("hosts", "Hosts by status", "status", by_status)?;
        out.gauge("hosts_connected", "Hosts with an open stream", hosts.connected)?;
        let waiting = self.0.parts.hosts.waiting().map(|(wait, hosts)| (wait.name(), hosts as u64));
        out.gauges("hosts_waiting", "Hosts that are not dialled yet", "for", waiting)?;
        let cut = self.0.parts.hosts.messages_cut();
        out.counter("host_messages_cut", "Long messages of hosts not waited for, for want of memory", cut)?;
        let lags = self.0.parts.hosts.lags();
        let behind = Lags::STEPS.iter().zip(lags.over).map(|((step, _), hosts)| (*step, hosts));
        out.gauges("hosts_behind", "Hosts whose stream is behind by more than this", "over", behind)?;
        out.gauge("hosts_lag_seconds_max", "How far the stream is behind that is furthest", lags.largest_seconds)
    }

    fn siblings(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let siblings = &self.0.parts.siblings;
        out.counters("sibling_requests", "Requests sent on to siblings", "outcome", siblings.stats().outcomes())?;
        out.gauge("sibling_requests_waiting", "Requests that wait for a sibling", siblings.waiting() as u64)
    }

    fn identities(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let stats = self.0.parts.resolver.stats();
        out.counter("identity_hits", "Identities found in the cache", stats.hits.load(Ordering::Relaxed))?;
        out.counter("identity_misses", "Identities not found in the cache", stats.misses.load(Ordering::Relaxed))?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        out.counter("identity_negative_hits", "DIDs found in the cache as having none", count(&stats.negative_hits))?;
        out.counter("identity_coalesced", "Look-ups that joined one under way", count(&stats.coalesced))?;
        out.counter("identity_stale", "Identities used beyond their time", count(&stats.stale_used))?;
        let limited = [("account", count(&stats.refresh_limited)), ("host", count(&stats.foreign_refused))];
        out.counters("identity_refreshes_refused", "Look-ups not granted, by whose limit", "limit", limited)?;
        out.gauge("identity_lookups", "Look-ups under way or waiting for their turn", count(&stats.lookups))?;
        out.counter("identity_waits", "Requests to resolvers that waited for their turn", count(&stats.waits))?;
        out.counter("identity_paused", "Requests not sent to resolvers that are left alone", count(&stats.paused))?;
        let seconds = count(&stats.request_time_us) as f64 / 1e6;
        out.seconds("identity_request_seconds", "Time that requests to resolvers took", seconds)?;
        let requests =
            stats.requests().map(|(resolver, outcome, n)| ([("resolver", resolver), ("outcome", outcome)], n));
        out.families("identity_requests", "Requests to resolvers", requests)?;
        let Some(lag) = stats.export_lag() else { return Ok(()) };
        out.counters("identity_export_operations", "Operations followed", "effect", stats.exported_operations())?;
        out.counter("identity_export_failures", "Pages of the export not read", count(&stats.export_failures))?;
        out.gauge("identity_export_lag_seconds", "How far behind the export is followed", lag.as_secs())
    }

    fn consumers(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let firehose = &self.0.parts.firehose;
        let stats = firehose.stats();
        out.gauge("consumers", "Firehose connections", firehose.consumers() as u64)?;
        out.counter("consumer_events", "Events sent to consumers", stats.events_sent.load(Ordering::Relaxed))?;
        out.counter("consumer_bytes", "Bytes sent to consumers", stats.bytes_sent.load(Ordering::Relaxed))?;
        let replayed = stats.events_replayed.load(Ordering::Relaxed);
        out.counter("consumer_events_replayed", "Events sent to consumers from the log", replayed)?;
        out.counter("consumers_refused", "Firehose connections refused", stats.refused.load(Ordering::Relaxed))?;
        let refused = stats.refused_for_memory.load(Ordering::Relaxed);
        out.counter("consumers_refused_for_memory", "Firehose connections refused for want of memory", refused)?;
        let disconnects = Disconnect::ALL.map(|reason| (reason.label(), stats.disconnects(reason)));
        out.counters("consumer_disconnects", "Firehose connections ended", "reason", disconnects)
    }

    fn storage(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let parts = &self.0.parts;
        out.gauge("log_first_seq", "Oldest seq that can be replayed", parts.log.first_seq())?;
        out.gauge("log_last_seq", "Newest seq", parts.log.last_seq())?;
        out.gauge("log_bytes", "Size of the event log", parts.log.bytes())?;
        out.gauge("log_segments", "Files of the event log", parts.log.segments() as u64)?;
        out.counter("log_commits", "Group commits", parts.sequencer.commits.load(Ordering::Relaxed))?;
        out.counter(
            "write_failures",
            "Writes that failed and were tried again",
            parts.sequencer.failures.load(Ordering::Relaxed),
        )?;
        out.gauges("store_memory_bytes", "Memory of the derived store", "kind", parts.store.memory())
    }
}

/// Writes metrics whose values are known already.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        encode_gauge(value, encoder)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &'l str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> Result<(), Error> {
        self.families(name, help, values.into_iter().map(|(of, value)| ([(label, of)], value)))
    }

    fn families<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> Result<(), Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> Result<(), Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            encode_gauge(value, encoder.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    fn gauge_families<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> Result<(), Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn encode_gauge(value: u64, encoder: MetricEncoder<'_>) -> Result<(), Error> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
}
