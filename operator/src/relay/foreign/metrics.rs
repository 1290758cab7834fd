//! The metrics of a relay of another project, as far as they say how it is.

use crate::relay::build::MetricNames;
use crate::relay_admin::{AskError, Client};

/// What the metrics say; `None` where they have nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Resident memory, in bytes.
    pub(in crate::relay) resident: Option<u64>,
    /// The last seq.
    pub(in crate::relay) seq: Option<u64>,
    /// Events so far.
    pub(in crate::relay) events: Option<f64>,
}

/// Asks the relay at `ip`.
pub(super) async fn ask(client: &Client, ip: &str, names: MetricNames) -> Result<Figures, AskError> {
    let mut figures = Figures::default();
    client.metrics(ip, names.port, |line| figures.take(line, names)).await?;
    Ok(figures)
}

impl Figures {
    /// Takes a line of the Prometheus text format: `NAME{LABELS} VALUE`, with a time after it or not.
    fn take(&mut self, line: &str, names: MetricNames) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        // Values of labels may have spaces and braces in them, what is behind the labels has not.
        let rest = line.rsplit_once('}').map_or_else(|| &line[name.len()..], |(_, rest)| rest);
        let Some(value) = rest.split_whitespace().next().and_then(|value| value.parse::<f64>().ok()) else { return };
        if !value.is_finite() || value < 0.0 {
            return;
        }
        if name == names.resident.0 {
            self.resident = Some((value as u64).saturating_mul(names.resident.1));
        } else if Some(name) == names.seq {
            self.seq = Some(value as u64);
        } else if Some(name) == names.events {
            self.events = Some(self.events.unwrap_or_default() + value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::api::Implementation;
    use crate::relay::build::metric_names;

    fn figures(implementation: Implementation, text: &str) -> Figures {
        let mut figures = Figures::default();
        let names = metric_names(implementation).unwrap();
        text.lines().for_each(|line| figures.take(line, names));
        figures
    }

    #[test]
    fn the_wanted_lines_are_read_whatever_is_between_them() {
        let indigo = r#"
# HELP disk_persister_current_seq The current sequence number
# TYPE disk_persister_current_seq gauge
disk_persister_current_seq 1.234567e+06
events_received_counter{pds="https://a.example"} 10
events_received_counter{pds="b } 99 {"} 2.5e+01 1764300000000
events_received_counter_created{pds="a"} 7
events_received_counter{pds="c"} NaN
process_resident_memory_bytes 7.340032e+07
process_resident_memory_bytes_max 1
no_value
"#;
        let want = Figures { resident: Some(73_400_320), seq: Some(1_234_567), events: Some(35.0) };
        assert_eq!(figures(Implementation::Indigo, indigo), want);
        let zlay = "relay_smaps_rss_kb 71680\nrelay_smaps_anon_kb 1\n";
        let want = Figures { resident: Some(73_400_320), ..Figures::default() };
        assert_eq!(figures(Implementation::Zlay, zlay), want);
    }

    #[test]
    fn hostile_lines_are_nothing() {
        let hostile =
            "process_resident_memory_bytes -1\nprocess_resident_memory_bytes inf\n}{\n{ }\n} 1\n\u{fffd}{é} x\n";
        assert_eq!(figures(Implementation::Indigo, hostile), Figures::default());
    }
}
