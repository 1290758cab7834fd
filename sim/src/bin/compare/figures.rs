//! What is measured, and what it is to be.

use std::collections::BTreeMap;

use crate::peer::Which;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// 50 hosts at full speed: CPU time of an event.
    FullSpeedCpu,
    /// 50 hosts at full speed: events in a second.
    FullSpeedRate,
    /// Events in a second that one consumer is sent from the log.
    ReplayRate,
    /// CPU time of an event at 500 a second with one consumer.
    OneConsumerCpu,
    /// CPU time of an event at 500 a second with 100 consumers.
    ManyConsumersCpu,
    /// Time until all of 2,800 hosts are connected.
    ConnectTime,
    /// Resident memory with 2,800 idle hosts.
    IdleMemory,
    /// Share of a core that 2,800 idle hosts take.
    IdleCpu,
    /// 2,800 hosts, 1,500 events a second: latency of the middle event.
    LatencyMedian,
    /// The same for all but one in 100.
    LatencyHigh,
    /// CPU time of an event in that.
    SteadyCpu,
    /// Most resident memory during a burst from 2,800 hosts.
    BurstMemory,
    /// Events in a second during the burst.
    BurstRate,
    /// Bad events that passed, or good ones that were altered.
    BadPassed,
    /// Good events that never came, without a crash.
    Lost,
    /// Good events that came again, without a crash.
    Repeated,
    /// The same where the relay was killed.
    LostOverKill,
    /// The same where the relay was killed.
    RepeatedOverKill,
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// It is shown, no more.
    None,
    /// At most this.
    AtMost(f64),
    /// At most this share of indigo's.
    ShareAtMost(f64),
    /// At least so many times indigo's.
    TimesAtLeast(f64),
}

impl Metric {
    /// All of them, in the order of the table.
    pub const ALL: [Metric; 18] = {
        use Metric::*;
        [
            FullSpeedCpu,
            FullSpeedRate,
            ReplayRate,
            OneConsumerCpu,
            ManyConsumersCpu,
            ConnectTime,
            IdleMemory,
            IdleCpu,
            LatencyMedian,
            LatencyHigh,
            SteadyCpu,
            BurstMemory,
            BurstRate,
            BadPassed,
            Lost,
            Repeated,
            LostOverKill,
            RepeatedOverKill,
        ]
    };

    /// What it is, in words.
    pub fn title(self) -> &'static str {
        match self {
            Metric::FullSpeedCpu => "50 hosts, full speed, 1 consumer: CPU ms per event",
            Metric::FullSpeedRate => "… events per second",
            Metric::ReplayRate => "replay to 1 consumer: events per second",
            Metric::OneConsumerCpu => "500 events/s, 1 consumer: CPU ms per event",
            Metric::ManyConsumersCpu => "… 100 consumers: CPU ms per event",
            Metric::ConnectTime => "2,800 hosts: seconds until all are connected",
            Metric::IdleMemory => "… idle: resident MiB",
            Metric::IdleCpu => "… idle: % of a core",
            Metric::LatencyMedian => "… at 1,500 events/s: added latency, p50, ms",
            Metric::LatencyHigh => "… … p99, ms",
            Metric::SteadyCpu => "… … CPU ms per event",
            Metric::BurstMemory => "… burst of 150,000 events: most resident MiB",
            Metric::BurstRate => "… … events per second",
            Metric::BadPassed => "bad events that passed",
            Metric::Lost => "good events lost",
            Metric::Repeated => "good events repeated",
            Metric::LostOverKill => "… lost over 3 × `kill -9`",
            Metric::RepeatedOverKill => "… repeated over 3 × `kill -9`",
        }
    }

    /// What it is to be.
    pub fn target(self) -> Target {
        match self {
            Metric::FullSpeedCpu | Metric::ManyConsumersCpu => Target::ShareAtMost(0.25),
            Metric::ReplayRate => Target::TimesAtLeast(4.0),
            Metric::LatencyMedian => Target::AtMost(15.0),
            Metric::LatencyHigh => Target::AtMost(80.0),
            Metric::IdleMemory => Target::AtMost(150.0),
            Metric::BurstMemory => Target::AtMost(350.0),
            Metric::BadPassed | Metric::Lost | Metric::Repeated | Metric::LostOverKill | Metric::RepeatedOverKill => {
                Target::AtMost(0.0)
            }
            _ => Target::None,
        }
    }
}

/// All that was measured so far.
#[derive(Default)]
pub struct Figures(BTreeMap<(Metric, Which), Vec<f64>>);

impl Figures {
    /// Notes a figure of one round.
    pub fn note(&mut self, metric: Metric, which: Which, value: f64) {
        eprintln!("  {:<58}{value:>12.3}", metric.title());
        self.0.entry((metric, which)).or_default().push(value);
    }

    /// The middle one of all rounds.
    pub fn median(&self, metric: Metric, which: Which) -> Option<f64> {
        let mut values = self.0.get(&(metric, which))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
    }
}
