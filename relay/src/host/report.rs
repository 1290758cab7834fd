//! What the admin API tells of a host.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::Serialize;

use super::{Host, Hosts, Wait};
use crate::decisions::HostStatus;

/// Failures that the status document shows.
const TROUBLES_SHOWN: usize = 5;

/// One host, as the list of the admin API has it. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostReport {
    /// Its id in the log and the decisions.
    pub id: u32,
    /// Its name.
    pub host: String,
    /// Its status in `listHosts`.
    pub status: &'static str,
    /// Whether a stream is open.
    pub connected: bool,
    /// Since when.
    pub connected_at: Option<String>,
    /// The seq up to which everything was processed.
    pub cursor: Option<u64>,
    /// Accounts.
    pub accounts: u64,
    /// Accounts that the limit holds back.
    pub accounts_held: u64,
    /// What happens to its events that fail verification.
    pub validation: &'static str,
    /// Limit of accounts in force.
    pub account_limit: Option<u64>,
    /// Limit of events per second in force.
    pub events_per_second_limit: Option<u32>,
    /// Messages since the start of the process.
    pub received: u64,
    /// Events passed on since then.
    pub passed: u64,
    /// Events dropped since then.
    pub dropped: u64,
    /// Connections made since then.
    pub connects: u64,
    /// When the last event came.
    pub last_event_at: Option<String>,
    /// How old that was when it was read: how far behind the host's live stream we are.
    pub lag_seconds: Option<u64>,
    /// Whether that is more than a minute.
    pub catching_up: bool,
    /// Events read since the connection was made.
    pub events_since_connect: u64,
    /// The same per second.
    pub events_per_second: Option<f64>,
    /// Events read and not yet processed.
    pub in_flight: usize,
    /// What it waits for, if it is only that it is not dialled yet: `stream` when as many are open as may be, `dial` when
    /// other hosts come first.
    pub waits_for: Option<&'static str>,
    /// The last failure, which may be over.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
    /// When the host will be tried again; absent while it is connected, and when nothing but a person's call or a
    /// requestCrawl makes it be tried.
    pub next_try_at: Option<String>,
}

/// How far the hosts are behind, all in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lags {
    /// Hosts whose stream is behind by more than a minute.
    pub catching_up: u64,
    /// The largest lag of all open streams, in seconds.
    pub largest_seconds: u64,
    /// Hosts that are further behind than each of [`Lags::STEPS`].
    pub over: [u64; Lags::STEPS.len()],
}

impl Lags {
    /// Lags by which hosts are counted: label and seconds.
    pub const STEPS: [(&'static str, u64); 5] = [("10s", 10), ("1m", 60), ("10m", 600), ("1h", 3600), ("1d", 86_400)];
}

impl Host {
    /// All that is known of it.
    pub fn report(&self) -> HostReport {
        let (limits, trouble) = (self.limits(), self.trouble());
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        HostReport {
            id: self.id,
            host: self.name.to_string(),
            status: self.status().as_str(),
            connected: self.is_connected(),
            connected_at: text(self.pulse.connected_at()),
            cursor: self.cursor(),
            accounts: self.accounts(),
            accounts_held: self.held(),
            validation: self.validation().as_str(),
            account_limit: limits.accounts,
            events_per_second_limit: limits.events_per_second,
            received: count(&self.counts.received),
            passed: count(&self.counts.passed),
            dropped: count(&self.counts.dropped),
            connects: count(&self.counts.connects),
            last_event_at: text(self.pulse.last_event_at()),
            lag_seconds: self.pulse.lag().map(|lag| lag.as_secs()),
            catching_up: self.pulse.is_catching_up(),
            events_since_connect: self.pulse.events(),
            events_per_second: self.pulse.events_per_second().map(|rate| (rate * 10.0).round() / 10.0),
            in_flight: self.in_flight(),
            waits_for: self.pulse.waits_for().map(Wait::name),
            last_error_at: text(trouble.as_ref().and_then(|trouble| Timestamp::from_millisecond(trouble.at_ms).ok())),
            last_error: trouble.map(|trouble| trouble.error),
            next_try_at: text(self.pulse.next_try_at()),
        }
    }
}

fn text(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

impl Hosts {
    /// How far they are behind.
    pub fn lags(&self) -> Lags {
        let mut lags = Lags::default();
        for host in self.all() {
            let Some(lag) = host.pulse.lag() else { continue };
            lags.catching_up += u64::from(host.pulse.is_catching_up());
            lags.largest_seconds = lags.largest_seconds.max(lag.as_secs());
            for ((_, step), over) in Lags::STEPS.iter().zip(&mut lags.over) {
                *over += u64::from(lag.as_secs() > *step);
            }
        }
        lags
    }

    /// The hosts that failed last and are not well again, the newest failure first.
    pub fn troubled(&self) -> Vec<HostReport> {
        let is_well = |host: &Host| host.is_connected() || host.status() == HostStatus::Banned;
        let hosts = self.all().into_iter().filter(|host| !is_well(host));
        let mut troubled: Vec<_> = hosts.filter_map(|host| Some((host.trouble()?.at_ms, host))).collect();
        troubled.sort_unstable_by_key(|(at_ms, host)| (std::cmp::Reverse(*at_ms), host.id));
        troubled.iter().take(TROUBLES_SHOWN).map(|(_, host)| host.report()).collect()
    }
}
