//! The metrics, as Prometheus reads them.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::World;
use sim::{Account, Relay};

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_reference_and_the_reverse() {
    let reference = include_str!("../../docs/reference/metrics.md");
    let mut world = World::new(81, &["--plc-export"]).await;
    // How far behind the export is, is known from its first page on.
    let is_followed =
        async |relay: &Relay| relay.get_admin("/metrics").await.text.contains("relay_identity_export_lag");
    world.relay.until("the export is followed", is_followed).await;
    let text = world.relay.get_admin("/metrics").await.text;
    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.len() > 20, "{text}");
    for family in families {
        let (name, kind) = family.split_once(' ').unwrap();
        let shown = if kind == "counter" { format!("`{name}_total`") } else { format!("`{name}`") };
        assert!(reference.contains(&shown), "docs/reference/metrics.md lacks {shown}");
    }
    let named = reference.split('`').filter(|word| word.starts_with("relay_"));
    for name in named {
        let family = format!("# TYPE {} ", name.trim_end_matches("_total"));
        assert!(text.contains(&family), "docs/reference/metrics.md has {name}, which is no metric");
    }
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
}

/// Series of a family by the value of their only label; the one without a label under the empty one.
fn series(text: &str, family: &str) -> BTreeMap<String, i64> {
    let of_family = text.lines().filter_map(|line| line.strip_prefix(family));
    let one = |rest: &str| {
        let (labels, value) = rest.rsplit_once(' ')?;
        let label = match labels.split('"').collect::<Vec<_>>()[..] {
            [""] => "",
            [_, label, "}"] => label,
            _ => return None,
        };
        Some((label.to_owned(), value.parse().ok()?))
    };
    of_family.filter_map(one).collect()
}

/// After this long the relay has looked again at its memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(1500);
/// A working set that a test's relay leaves unexplained: a few MiB of what is given out and not touched yet.
const UNEXPLAINED_BYTES_MAX: i64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_the_working_set_sum_to_it_and_little_is_unexplained() {
    const HOSTS: usize = 20;
    const EVENTS: usize = 4_000;
    let world = World::new(82, &["--durability=os"]).await;
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        hosts.push(world.host().await);
    }
    let mut accounts: Vec<Account> = (0..2 * HOSTS).map(|number| world.account(&hosts[number % HOSTS])).collect();
    let mut consumer = world.relay.consumer(None).await;
    for round in 0..4 {
        for number in 0..EVENTS / 4 {
            hosts[number % HOSTS].emit(accounts[number % (2 * HOSTS)].act());
        }
        consumer.events(EVENTS / 4).await;
        tokio::time::sleep(LOOK_INTERVAL).await;
        let text = world.relay.get_admin("/metrics").await.text;
        let parts = series(&text, "relay_memory_part_bytes");
        let working_set = series(&text, "relay_memory_working_set_bytes")[""];
        assert!(working_set > 0, "{text}");
        assert_eq!(parts.values().sum::<i64>(), working_set, "round {round}: {parts:?}");
        assert!(parts["unexplained"].abs() < UNEXPLAINED_BYTES_MAX, "round {round}: {working_set} is {parts:?}");
        for part in ["owned", "heap", "fragmentation", "allocator", "stacks", "program", "mapped"] {
            assert!(parts[part] > 0, "round {round}: {part} of {parts:?}");
        }
        let allocator = series(&text, "relay_allocator_bytes");
        assert!(allocator["allocated"] <= allocator["active"], "{allocator:?}");
        assert!(allocator["active"] <= allocator["resident"], "{allocator:?}");
        let (shares, held) = (series(&text, "relay_memory_share_bytes"), series(&text, "relay_memory_owner_bytes"));
        assert!(shares["ring"] > 0 && held["ring"] > 0, "{shares:?}, {held:?}");
        assert!(held.keys().all(|owner| shares.contains_key(owner)), "{held:?}");
    }
}
