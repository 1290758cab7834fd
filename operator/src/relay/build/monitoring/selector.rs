//! Where the series of a relay are found.

use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// The labels of a relay's series. They are names of objects, so nothing in them has to be escaped.
pub(super) struct Selector {
    /// Of what is scraped through the ServiceMonitor, and of what the operator counts.
    relay: String,
    /// Of what the kubelet measures of the relay's container.
    container: String,
    /// Of what the kubelet measures of the relay's volume.
    volume: String,
}

impl Selector {
    pub(super) fn of(relay: &ValidRelay) -> Self {
        let ValidRelay { namespace, name, .. } = relay;
        let (pod, container) = (names::pod(name), super::super::CONTAINER);
        Self {
            relay: format!(r#"namespace="{namespace}",relay="{name}""#),
            container: format!(r#"namespace="{namespace}",pod="{pod}",container="{container}""#),
            volume: format!(r#"namespace="{namespace}",persistentvolumeclaim="data-{pod}""#),
        }
    }

    /// A metric of the relay's own, or of the operator's of this relay.
    pub(super) fn own(&self, metric: &str) -> String {
        format!("{metric}{{{}}}", self.relay)
    }

    /// The same, with other matchers beside.
    pub(super) fn own_with(&self, metric: &str, matchers: &str) -> String {
        format!("{metric}{{{},{matchers}}}", self.relay)
    }

    /// A metric of the kubelet about the container.
    pub(super) fn container(&self, metric: &str) -> String {
        format!("{metric}{{{}}}", self.container)
    }

    /// A metric of the kubelet about the volume.
    pub(super) fn volume(&self, metric: &str) -> String {
        format!("{metric}{{{}}}", self.volume)
    }
}
