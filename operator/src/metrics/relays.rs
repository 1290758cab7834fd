//! Figures of single Relays: of those that there are. With a Relay its figures go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::api::Relay;

/// What is known of every Relay. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Relays(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// As the watch has them.
    store: OnceLock<Store<DeserializeGuard<Relay>>>,
    /// Ends, by namespace, name and cause.
    ends: Mutex<BTreeMap<(String, String, &'static str), u64>>,
}

impl Relays {
    /// These are the Relays.
    pub(super) fn are(&self, store: Store<DeserializeGuard<Relay>>) {
        // They are watched once.
        let _ = self.0.store.set(store);
    }

    /// Counts `count` ends.
    pub(super) fn ended(&self, namespace: &str, relay: &str, cause: &'static str, count: u64) {
        let mut ends = self.0.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends.entry((namespace.to_owned(), relay.to_owned(), cause)).or_default() += count;
    }

    /// Forgets the Relays that there are not, by namespace and name.
    pub(super) fn keep_only(&self, is_there: impl Fn(&str, &str) -> bool) {
        let mut ends = self.0.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|(namespace, relay, _), _| is_there(namespace, relay));
    }
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relays")
    }
}

impl Collector for Relays {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let relays = self.0.store.get().map(Store::state).unwrap_or_default();
        {
            let count = ConstGauge::new(i64::try_from(relays.len()).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor("relays", "Relays that are served", None, MetricType::Gauge)?;
            count.encode(metric)?;
        }
        {
            let help = "1 for the status that a condition of a Relay has";
            let mut metric = encoder.encode_descriptor("relay_condition", help, None, MetricType::Gauge)?;
            for relay in &relays {
                let (namespace, name) = (relay.namespace().unwrap_or_default(), relay.name_any());
                let status = relay.0.as_ref().ok().and_then(|relay| relay.status.as_ref());
                for condition in status.iter().flat_map(|status| &status.conditions) {
                    let labels = [
                        ("namespace", namespace.as_str()),
                        ("relay", name.as_str()),
                        ("type", condition.type_.as_str()),
                        ("status", condition.status.as_str()),
                    ];
                    ConstGauge::new(1_i64).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Ends of relays, by relay and cause";
        let mut metric = encoder.encode_descriptor("relay_restarts", help, None, MetricType::Counter)?;
        for ((namespace, relay, cause), count) in &*self.0.ends.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = [("namespace", namespace.as_str()), ("relay", relay.as_str()), ("cause", cause)];
            ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
