#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::relay::fixtures::{full_world, valid};

const IMPLEMENTATIONS: [&str; 3] = ["Bundled", "Indigo", "Zlay"];

fn of(implementation: &str) -> Value {
    let spec = json!({
        "hostname": "relay.test", "implementation": implementation,
        "image": {"repository": "r.test/relay", "tag": "1"},
        "memory": {"limit": "4Gi"},
        "database": {"externalSecretRef": {"name": "relay-db", "key": "uri"}},
    });
    let relay = valid(&spec, &full_world());
    dashboard(&relay, &Selector::of(&relay))
}

fn graphs(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == "timeseries")
}

#[test]
fn dashboards_are_the_recorded_ones() {
    for implementation in IMPLEMENTATIONS {
        insta::assert_snapshot!(implementation.to_lowercase(), format!("{:#}", of(implementation)));
    }
}

#[test]
fn a_panel_is_at_one_place_in_every_dashboard() {
    let mut places = BTreeMap::<String, (Value, Value)>::new();
    for dashboard in IMPLEMENTATIONS.map(of) {
        for panel in graphs(&dashboard) {
            let this = (panel["gridPos"].clone(), panel["fieldConfig"]["defaults"]["unit"].clone());
            let title = panel["title"].as_str().unwrap().to_owned();
            assert_eq!(*places.entry(title.clone()).or_insert(this.clone()), this, "{title}");
        }
    }
    assert_eq!(places.len(), slot::SLOTS as usize, "the bundled relay has all of them");
}

#[test]
fn no_panel_covers_another_and_none_can_move_up() {
    for dashboard in IMPLEMENTATIONS.map(of) {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= u64::from(slot::WIDTH), "{panel}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{cell:?} is taken twice: {panel}");
            }
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "one id twice: {panel}");
        }
        let rows = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == "row");
        let tops: Vec<u64> = rows.map(|row| row["gridPos"]["y"].as_u64().unwrap()).collect();
        assert_eq!(tops, [0, 9, 18], "a row as wide as the grid is above each line of panels");
    }
}

#[test]
fn every_query_asks_for_this_relay_alone() {
    for dashboard in IMPLEMENTATIONS.map(of) {
        for target in graphs(&dashboard).flat_map(|panel| panel["targets"].as_array().unwrap()) {
            let expr = target["expr"].as_str().unwrap();
            let selectors = expr.matches('{').count();
            let ours = expr.matches(r#"{namespace="relays","#).count();
            assert!(selectors == ours && (ours > 0 || expr.starts_with("vector(")), "{expr}");
        }
    }
}

#[test]
fn a_mark_is_drawn_for_a_series_that_there_is() {
    for dashboard in IMPLEMENTATIONS.map(of) {
        for panel in graphs(&dashboard) {
            let legends: Vec<&Value> =
                panel["targets"].as_array().unwrap().iter().map(|t| &t["legendFormat"]).collect();
            for mark in panel["fieldConfig"]["overrides"].as_array().unwrap() {
                let name = &mark["matcher"]["options"];
                assert!(legends.contains(&name), "{name} of {}", panel["title"]);
            }
        }
    }
}
