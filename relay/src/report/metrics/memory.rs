//! Memory: what is planned, what is used, by whom, and where it is going.

use std::fmt::Error;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Out, Scrape};

impl Scrape {
    pub(super) fn memory(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let memory = self.0.memory();
        out.gauge("memory_limit_bytes", "Memory that the relay plans for", memory.limit_bytes)?;
        out.gauge("memory_soft_bytes", "Working set from which on caches shrink", memory.soft_bytes)?;
        out.gauge("memory_hard_bytes", "Working set from which on the relay restarts", memory.hard_bytes)?;
        out.gauge("memory_working_set_bytes", "Memory as the kubelet counts it", memory.working_set_bytes)?;
        let parts = memory.parts.iter().map(|part| (part.part.as_str(), part.bytes));
        out.signed("memory_part_bytes", "What the working set is made of", "part", parts)?;
        let shares = memory.owners.iter().map(|owner| (owner.owner.as_str(), owner.share_bytes));
        out.gauges("memory_share_bytes", "What an owner may hold", "owner", shares)?;
        let used = memory.owners.iter().filter_map(|owner| Some((owner.owner.as_str(), owner.used_bytes?)));
        out.gauges("memory_owner_bytes", "What an owner holds", "owner", used)?;
        let slope = memory.slope_bytes_per_hour;
        out.known("memory_slope_bytes_per_hour", "Slope of the working set over the last half hour", slope)?;
        let left = memory.seconds_to_limit.map(|seconds| seconds as i64);
        out.known("memory_seconds_to_limit", "Time until the working set is at the limit", left)?;
        let figures = self.0.parts.watch.view().usage.allocator.map(|allocator| allocator.figures());
        out.gauges("allocator_bytes", "What the allocator holds", "kind", figures.into_iter().flatten())
    }
}

impl Out<'_> {
    fn signed<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'l str, i64)>,
    ) -> Result<(), Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            ConstGauge::new(value).encode(encoder.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    /// A gauge whose value may be unknown: then it has no series.
    fn known(&mut self, name: &str, help: &str, value: Option<i64>) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| ConstGauge::new(value).encode(encoder))
    }
}
