//! What the relay says of itself, line by line, and the slope of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use sim::cgroup::Group;
use sim::process::Relay;

use crate::consumers::Consumers;

/// Beginning of the names of metrics that are recorded.
const METRICS: &str = "relay_memory_";

/// One line.
pub struct Sample {
    /// Since the start.
    seconds: f64,
    /// By column.
    values: BTreeMap<String, f64>,
}

/// Writes the lines, and keeps what the slope needs.
pub struct Recorder {
    file: File,
    columns: Vec<String>,
    /// Seconds and bytes of working set.
    points: Vec<(f64, f64)>,
}

/// A straight line through the working set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// Bytes per hour.
    pub per_hour: f64,
    /// Standard error of that.
    pub error: f64,
    /// Bytes on average.
    pub mean: f64,
    /// Points that it goes through.
    pub samples: usize,
}

impl Sample {
    pub async fn take(
        elapsed: Duration,
        relay: &Relay,
        group: Option<&Group>,
        consumers: &Consumers,
    ) -> anyhow::Result<Sample> {
        let status = relay.status().await;
        let number = |path: &str| status.pointer(path).and_then(Value::as_f64);
        let fields = [
            ("working_set", "/memory/workingSetBytes"),
            ("limit", "/memory/limitBytes"),
            ("soft", "/memory/softBytes"),
            ("hard", "/memory/hardBytes"),
            ("events_per_second", "/events/perSecond"),
            ("received", "/events/received"),
            ("passed", "/events/passed"),
            ("dropped", "/events/dropped"),
            ("hosts", "/hosts/connected"),
            ("hosts_known", "/hosts/total"),
            ("accounts", "/accounts"),
            ("consumers", "/consumers/connected"),
            ("log_bytes", "/log/bytes"),
        ];
        let mut values = BTreeMap::new();
        for (column, path) in fields {
            values.insert(column.to_owned(), number(path).with_context(|| format!("no {path} in {status}"))?);
        }
        // There is no slope before there are some minutes to see it by.
        values.insert("slope_per_hour".to_owned(), number("/memory/slopeBytesPerHour").unwrap_or(0.0));
        for (kind, list, bytes) in [("owner", "owners", "usedBytes"), ("part", "parts", "bytes")] {
            for held in status["memory"][list].as_array().into_iter().flatten() {
                if let (Some(name), Some(bytes)) = (held[kind].as_str(), held[bytes].as_f64()) {
                    values.insert(format!("{kind}.{name}"), bytes);
                }
            }
        }
        values.extend(metrics(&relay.get_admin("/metrics").await.text));
        // From the outside, to compare with.
        values.insert("kernel_working_set".to_owned(), group.and_then(Group::working_set_bytes).map_or(0.0, as_f64));
        values.insert("rss".to_owned(), as_f64(relay.memory_bytes("VmRSS")));
        values.insert("cpu_seconds".to_owned(), relay.cpu_seconds());
        values.insert("delivered".to_owned(), as_f64(consumers.events()));
        Ok(Sample { seconds: elapsed.as_secs_f64(), values })
    }

    /// The same for people.
    pub fn line(&self, sent: u64, accounts: u64) -> String {
        let value = |column: &str| self.values.get(column).copied().unwrap_or(0.0);
        let mib = |column: &str| value(column) / f64::from(1 << 20);
        format!(
            "{:>5.0} min  working set {:6.1} MiB of {:.0}  rss {:6.1}  slope {:+8.1} MiB/h  {:5.0} events/s  hosts {}  \
             consumers {}  sent {sent}  dropped {}  accounts {accounts}  cpu {:.0} s",
            self.seconds / 60.0,
            mib("working_set"),
            mib("limit"),
            mib("rss"),
            mib("slope_per_hour"),
            value("events_per_second"),
            value("hosts"),
            value("consumers"),
            value("dropped"),
            value("cpu_seconds"),
        )
    }
}

impl Recorder {
    pub fn create(path: &Path) -> anyhow::Result<Recorder> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Recorder { file, columns: Vec::new(), points: Vec::new() })
    }

    /// Adds a line. The first one decides which columns there are.
    pub fn add(&mut self, sample: &Sample) -> anyhow::Result<()> {
        if self.columns.is_empty() {
            self.columns = sample.values.keys().cloned().collect();
            writeln!(self.file, "seconds,{}", self.columns.join(","))?;
        }
        let value = |column| sample.values.get(column).map_or_else(String::new, f64::to_string);
        let values: Vec<String> = self.columns.iter().map(value).collect();
        writeln!(self.file, "{:.1},{}", sample.seconds, values.join(","))?;
        self.points.push((sample.seconds, sample.values.get("working_set").copied().unwrap_or(0.0)));
        Ok(())
    }

    /// The slope of what came after `warm_up` seconds.
    pub fn slope(&self, warm_up: f64) -> Option<Slope> {
        let start = self.points.partition_point(|(seconds, _)| *seconds < warm_up);
        slope(&self.points[start..])
    }
}

/// The straight line through seconds and bytes that is nearest to all, by least squares.
fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let samples = points.len();
    if samples < 3 {
        return None;
    }
    let count = samples as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let xx: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let xy: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let per_second = xy / xx;
    let rest: f64 = points.iter().map(|(x, y)| (y - mean_y - per_second * (x - mean_x)).powi(2)).sum();
    let error = (rest / (count - 2.0) / xx).sqrt();
    Some(Slope { per_hour: per_second * 3600.0, error: error * 3600.0, mean: mean_y, samples })
}

/// The metrics of memory by column: `relay_memory_x{owner="ring"} 1` is `x.ring`.
fn metrics(text: &str) -> BTreeMap<String, f64> {
    let read = |line: &str| {
        let (series, value) = line.strip_prefix(METRICS)?.rsplit_once(' ')?;
        let column = match series.split_once('{') {
            Some((name, labels)) => {
                let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split('"').nth(1));
                labels.fold(name.to_owned(), |column, label| format!("{column}.{label}"))
            }
            None => series.to_owned(),
        };
        Some((column, value.parse().ok()?))
    };
    text.lines().filter_map(read).collect()
}

fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_nearest_straight_line() {
        let straight: Vec<(f64, f64)> = (0..10).map(|n| (f64::from(n) * 10.0, 1000.0 + f64::from(n) * 5.0)).collect();
        let found = slope(&straight).expect("a slope");
        assert!((found.per_hour - 1800.0).abs() < 1e-6 && found.error < 1e-6, "{found:?}");
        assert!((found.mean - 1022.5).abs() < 1e-6 && found.samples == 10, "{found:?}");

        // Up and down around a level.
        let level: Vec<(f64, f64)> = (0..100).map(|n| (f64::from(n), if n % 2 == 0 { 90.0 } else { 110.0 })).collect();
        let found = slope(&level).expect("a slope");
        assert!(found.per_hour.abs() < 2.0 * found.error, "{found:?}");
        assert_eq!(slope(&level[..2]), None);
    }

    #[test]
    fn metrics_become_columns() {
        let text = "# HELP relay_memory_limit_bytes The limit\nrelay_memory_limit_bytes 5\n\
                    relay_memory_owner_bytes{owner=\"ring\"} 7\nrelay_memory_x{a=\"b\",c=\"d\"} 1.5\nrelay_events 3\n";
        let expected = [("limit_bytes", 5.0), ("owner_bytes.ring", 7.0), ("x.b.d", 1.5)];
        assert_eq!(metrics(text), expected.map(|(name, value)| (name.to_owned(), value)).into());
    }
}
