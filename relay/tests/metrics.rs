//! The metrics, as Prometheus reads them.

#![allow(clippy::unwrap_used)]

mod common;

use common::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_reference_and_the_reverse() {
    let reference = include_str!("../../docs/reference/metrics.md");
    let world = World::new(81, &["--plc-export"]).await;
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
