//! A page of the hosts of a relay: which, in which order, and how they look. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use clap::ValueEnum;
use k8s_openapi::jiff::Timestamp;
use relay_operator::relay_admin::Host;

use crate::cli::text::{BAD, Cell, DIM, GOOD, PLAIN, Table, WAITING, age, number, paint, seconds};

/// Longest part of an error in the table, in characters.
const MAX_ERROR: usize = 60;

/// State of a host.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(super) enum State {
    Active,
    Idle,
    Offline,
    Throttled,
    Banned,
}

/// Order of hosts.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(super) enum Order {
    Name,
    State,
    Accounts,
    Events,
    Received,
    Dropped,
    Lag,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Offline => "offline",
            Self::Throttled => "throttled",
            Self::Banned => "banned",
        }
    }
}

/// A page of the hosts that are chosen.
pub(super) struct List {
    /// All hosts.
    pub(super) total: usize,
    /// All by state.
    by_state: BTreeMap<String, usize>,
    /// Those of the wanted states.
    pub(super) chosen: usize,
    /// How many come before this page.
    skipped: usize,
    /// Those on this page.
    pub(super) page: Vec<Host>,
}

impl List {
    pub(super) fn of(mut hosts: Vec<Host>, states: &[State], order: Order, limit: usize, page: u32) -> Self {
        let total = hosts.len();
        let mut by_state = BTreeMap::new();
        for host in &hosts {
            *by_state.entry(host.status.clone()).or_insert(0) += 1;
        }
        hosts.retain(|host| states.is_empty() || states.iter().any(|state| state.name() == host.status));
        hosts.sort_by(|a, b| a.host.cmp(&b.host));
        match order {
            Order::Name => {}
            Order::State => hosts.sort_by(|a, b| a.status.cmp(&b.status)),
            Order::Accounts => hosts.sort_by_key(|host| Reverse(host.accounts)),
            Order::Events => hosts.sort_by(|a, b| {
                let rate = |host: &Host| host.events_per_second.unwrap_or(0.0);
                rate(b).total_cmp(&rate(a))
            }),
            Order::Received => hosts.sort_by_key(|host| Reverse(host.received)),
            Order::Dropped => hosts.sort_by_key(|host| Reverse(host.dropped)),
            Order::Lag => hosts.sort_by_key(|host| Reverse(host.lag_seconds)),
        }
        let chosen = hosts.len();
        let limit = if limit == 0 { usize::MAX } else { limit };
        let before = usize::try_from(page - 1).unwrap_or(usize::MAX);
        let skipped = limit.saturating_mul(before).min(chosen);
        let page = hosts.into_iter().skip(skipped).take(limit).collect();
        Self { total, by_state, chosen, skipped, page }
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        if self.total == 0 {
            return "The relay knows no host; name some in spec.upstream, or let a PDS call requestCrawl.\n".into();
        }
        let mut table = Table::new([
            "HOST",
            "STATE",
            "ACCOUNTS",
            "EVENTS/S",
            "RECEIVED",
            "DROPPED",
            "LAG",
            "NEXT TRY",
            "LAST ERROR",
        ]);
        for host in &self.page {
            table.row(row(host, now));
        }
        let mut text = if self.page.is_empty() { String::new() } else { table.text(0) };
        let by_state: Vec<_> = self.by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let mut foot = format!("{} hosts: {}.", self.total, by_state.join(", "));
        let last = self.skipped + self.page.len();
        if self.page.len() < self.chosen {
            foot += &format!(" Shown: {} to {last} of {}.", (self.skipped + 1).min(last), self.chosen);
        }
        if last < self.chosen {
            foot += " --page shows more.";
        }
        text += &paint(&foot, DIM);
        text + "\n"
    }
}

fn row(host: &Host, now: Timestamp) -> [Cell; 9] {
    let style = match host.status.as_str() {
        "active" => GOOD,
        "banned" | "offline" => BAD,
        _ => WAITING,
    };
    let count = |count: Option<u64>| count.map(|count| number(i64::try_from(count).unwrap_or(i64::MAX)));
    let state = match &host.waits_for {
        Some(what) => format!("{} (waits: {what})", host.status),
        None => host.status.clone(),
    };
    let accounts = match host.account_limit {
        Some(limit) => format!("{}/{}", host.accounts, limit),
        None => host.accounts.to_string(),
    };
    let next = host.next_try_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    let error = host.last_error.as_deref().map(|error| {
        let at = host.last_error_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        let short: String = error.chars().take(MAX_ERROR).collect();
        match at {
            Some(at) => format!("{short} ({} ago)", age(at, now)),
            None => short,
        }
    });
    [
        host.host.as_str().into(),
        Cell::of(state, style),
        accounts.into(),
        host.events_per_second.map(|rate| format!("{rate:.1}")).into(),
        count(host.received).into(),
        count(host.dropped).into(),
        host.lag_seconds.map(|lag| seconds(i64::try_from(lag).unwrap_or(i64::MAX))).into(),
        next.map(|at| format!("in {}", seconds(at.duration_since(now).as_secs()))).into(),
        error.map(|error| Cell::of(error, PLAIN)).into(),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn hosts() -> Vec<Host> {
        let host = |name: &str, status: &str, accounts, rate: f64, lag| Host {
            host: name.into(),
            status: status.into(),
            accounts,
            events_per_second: (rate > 0.0).then_some(rate),
            lag_seconds: lag,
            ..Host::default()
        };
        let mut offline = host("c.test", "offline", 7, 0.0, None);
        offline.last_error = Some("connection refused".into());
        offline.last_error_at = Some("2026-11-28T09:00:00Z".into());
        offline.next_try_at = Some("2026-11-28T10:30:00Z".into());
        let mut waiting = host("d.test", "idle", 0, 0.0, None);
        waiting.waits_for = Some("dial".into());
        vec![
            host("b.test", "active", 90_000, 4.5, Some(0)),
            host("a.test", "active", 12, 30.25, Some(75)),
            offline,
            waiting,
        ]
    }

    fn names(states: &[State], order: Order, limit: usize, page: u32) -> Vec<String> {
        List::of(hosts(), states, order, limit, page).page.into_iter().map(|host| host.host).collect()
    }

    #[test]
    fn hosts_are_chosen_sorted_and_paged() {
        type Case<'a> = (&'a [State], Order, usize, u32, &'a [&'a str]);
        #[rustfmt::skip]
        let table: &[Case] = &[
            (&[], Order::Name, 0, 1, &["a.test", "b.test", "c.test", "d.test"]),
            (&[], Order::Name, 0, 2, &[]),
            (&[], Order::Name, 3, 2, &["d.test"]),
            (&[], Order::Name, 3, u32::MAX, &[]),
            (&[State::Active], Order::Name, 0, 1, &["a.test", "b.test"]),
            (&[State::Idle, State::Offline], Order::Name, 0, 1, &["c.test", "d.test"]),
            (&[State::Banned], Order::Name, 0, 1, &[]),
            (&[], Order::State, 0, 1, &["a.test", "b.test", "d.test", "c.test"]),
            (&[], Order::Accounts, 2, 1, &["b.test", "a.test"]),
            (&[], Order::Events, 2, 1, &["a.test", "b.test"]),
            (&[], Order::Lag, 2, 1, &["a.test", "b.test"]),
        ];
        for (states, order, limit, page, want) in table {
            assert_eq!(names(states, *order, *limit, *page), *want, "{states:?} {order:?} {limit} {page}");
        }
    }

    #[test]
    fn a_page_for_people() {
        let now = "2026-11-28T10:00:00Z".parse().unwrap();
        let show = |list: List| anstream::adapter::strip_str(&list.text(now)).to_string();
        let pages = [
            show(List::of(hosts(), &[], Order::Name, 0, 1)),
            show(List::of(hosts(), &[], Order::Name, 2, 2)),
            show(List::of(hosts(), &[State::Banned], Order::Name, 0, 1)),
            show(List::of(Vec::new(), &[], Order::Name, 0, 1)),
        ];
        let page = include_str!("../../../../docs/how-to/use-kubectl.md");
        assert!(page.contains(&pages[0]), "put this into the how-to:\n{}", pages[0]);
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!("hosts", pages.join("\n"));
        });
    }
}
