//! What a relay delivers, and whether a new pod delivers what it has to. Pure.

use std::fmt;
use std::time::Duration;

use crate::api::DeliveryStatus;
use crate::relay::read::World;
use crate::relay::validate::Gate;

/// Over how long what a relay delivers is averaged.
const MEAN: Duration = Duration::from_secs(5 * 60);
/// Fewer events per second than this come and go by chance: of such a relay only hosts are compared.
const EVENTS_MIN: f64 = 1.0;
/// Figures have two decimals: fewer would keep a mean from moving at all.
const DECIMALS: f64 = 100.0;

/// What the relay delivers now, where it can be asked.
pub(super) fn delivery(world: &World) -> Option<DeliveryStatus> {
    if let Some(Ok(document)) = &world.document {
        return Some(DeliveryStatus {
            events_per_second: Some(rounded(document.events.per_second)),
            hosts_connected: Some(document.hosts.connected as f64),
        });
    }
    let rate = world.foreign.as_ref()?.history.rate()?;
    Some(DeliveryStatus { events_per_second: Some(rounded(rate)), hosts_connected: None })
}

/// The mean `before`, moved towards `now` by what has passed since. Each step is as large as its time, so it does not matter
/// how many there are.
pub(super) fn mean(before: Option<DeliveryStatus>, now: DeliveryStatus, passed: Duration) -> DeliveryStatus {
    let weight = 1.0 - (-passed.as_secs_f64() / MEAN.as_secs_f64()).exp();
    let one = |before: Option<f64>, now: Option<f64>| match (before, now) {
        (Some(before), Some(now)) => Some(rounded(before + weight * (now - before))),
        (before, now) => now.or(before),
    };
    DeliveryStatus {
        events_per_second: one(before.and_then(|before| before.events_per_second), now.events_per_second),
        hosts_connected: one(before.and_then(|before| before.hosts_connected), now.hosts_connected),
    }
}

/// What a new pod lacks of what it has to deliver.
#[derive(Debug, PartialEq)]
pub(super) struct Lack(Vec<String>);

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" and "))
    }
}

/// Compares what is delivered `now` with what was `before`: `None` when it is enough.
pub(super) fn lack(gate: &Gate, before: Option<DeliveryStatus>, now: Option<DeliveryStatus>) -> Option<Lack> {
    let before = before?;
    let share = f64::from(gate.min_percent) / 100.0;
    let is_enough = |before: f64, now: Option<f64>| now.is_some_and(|now| now >= before * share);
    let told = |now: Option<f64>| now.map_or_else(|| "an unknown number".to_owned(), |now| format!("{now}"));
    let mut lacks = Vec::new();
    let events = now.and_then(|now| now.events_per_second);
    if let Some(before) = before.events_per_second.filter(|before| *before >= EVENTS_MIN)
        && !is_enough(before, events)
    {
        lacks.push(format!("{} of {before} events per second", told(events)));
    }
    let hosts = now.and_then(|now| now.hosts_connected);
    if let Some(before) = before.hosts_connected.filter(|before| *before > 0.0)
        && !is_enough(before, hosts)
    {
        lacks.push(format!("{} of {before} hosts", told(hosts)));
    }
    (!lacks.is_empty()).then_some(Lack(lacks))
}

fn rounded(figure: f64) -> f64 {
    (figure * DECIMALS).round() / DECIMALS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivers(events: Option<f64>, hosts: Option<f64>) -> Option<DeliveryStatus> {
        Some(DeliveryStatus { events_per_second: events, hosts_connected: hosts })
    }

    #[test]
    fn a_pod_lacks_what_is_below_its_share_of_before() {
        let gate = Gate { min_percent: 80, within: "20m".into() };
        #[rustfmt::skip]
        let table = [
            ("nobody has looked before", None, None, ""),
            ("nothing was delivered", delivers(Some(0.0), Some(0.0)), None, ""),
            ("next to nothing was", delivers(Some(0.9), None), delivers(Some(0.0), None), ""),
            ("as before", delivers(Some(100.0), Some(10.0)), delivers(Some(100.0), Some(10.0)), ""),
            ("the share", delivers(Some(100.0), Some(10.0)), delivers(Some(80.0), Some(8.0)), ""),
            ("fewer events", delivers(Some(100.0), Some(10.0)), delivers(Some(79.9), Some(8.0)), "79.9 of 100 events per second"),
            ("fewer hosts", delivers(Some(100.0), Some(10.0)), delivers(Some(90.0), Some(7.0)), "7 of 10 hosts"),
            ("both", delivers(Some(100.0), Some(10.0)), delivers(Some(0.0), Some(0.0)), "0 of 100 events per second and 0 of 10 hosts"),
            ("it cannot be asked", delivers(Some(100.0), Some(1.0)), None, "an unknown number of 100 events per second and an unknown number of 1 hosts"),
            ("hosts are not known", delivers(Some(100.0), None), delivers(Some(90.0), None), ""),
            ("a quiet relay with hosts", delivers(Some(0.5), Some(4.0)), delivers(Some(0.0), Some(3.0)), "3 of 4 hosts"),
        ];
        for (case, before, now, want) in table {
            let got = lack(&gate, before, now).map(|lack| lack.to_string()).unwrap_or_default();
            assert_eq!(got, want, "{case}");
        }
    }

    #[test]
    fn a_mean_moves_with_time_and_not_with_looks() {
        let at = |events: f64| DeliveryStatus { events_per_second: Some(events), hosts_connected: None };
        let events = |delivery: DeliveryStatus| delivery.events_per_second.unwrap_or_default();
        assert_eq!(mean(None, at(7.0), Duration::ZERO), at(7.0), "the first look");
        assert_eq!(mean(Some(at(100.0)), at(0.0), Duration::ZERO), at(100.0), "no time has passed");
        let once = mean(Some(at(100.0)), at(0.0), Duration::from_secs(60));
        assert!((events(once) - 81.87).abs() < 0.01, "a minute of five: {once:?}");
        let twice = (0..2).fold(at(100.0), |before, _| mean(Some(before), at(0.0), Duration::from_secs(30)));
        assert!((events(twice) - events(once)).abs() < 0.05, "{twice:?} {once:?}");
        let long = mean(Some(at(100.0)), at(10.0), Duration::from_secs(3600));
        assert!((events(long) - 10.0).abs() < 0.01, "an hour forgets: {long:?}");
    }
}
