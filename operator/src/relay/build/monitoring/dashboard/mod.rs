//! The dashboard of a relay: the same panels at the same places for every program, so that two can be laid side by side. What
//! a program has no metric for is left out, and its place stays free.

mod bundled;
mod indigo;
mod kubelet;
mod slot;
mod zlay;

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::Selector;
use crate::api::Implementation;
use crate::relay::names;
use crate::relay::validate::{Dashboards, ValidRelay};
use slot::{ROWS, Slot};

/// Grafana 10 writes this; later ones bring it up to date when they load it.
const SCHEMA_VERSION: u32 = 38;
/// Tag by which the dashboards of relays refer to each other.
const TAG: &str = "atproto-relay";
/// Annotation with the folder, for Grafana's sidecar.
const FOLDER: &str = "grafana_folder";
/// A dashboard's uid has at most 40 characters.
const UID_BYTES: usize = 16;

/// A query: an expression in PromQL, and what its series are called.
struct Query {
    expr: String,
    legend: &'static str,
}

impl Query {
    fn new(legend: &'static str, expr: impl Into<String>) -> Self {
        Self { expr: expr.into(), legend }
    }
}

/// The ConfigMap with the dashboard, as Grafana's sidecar takes it.
pub(super) fn build(relay: &ValidRelay, spec: &Dashboards, selector: &Selector) -> ConfigMap {
    let mut metadata = names::meta(relay, names::dashboard(&relay.name));
    metadata.labels.get_or_insert_default().extend(spec.labels.clone());
    metadata.annotations = Some(BTreeMap::from([(FOLDER.into(), spec.folder.clone())]));
    let file = format!("{}-{}.json", relay.namespace, relay.name);
    let text = dashboard(relay, selector).to_string();
    ConfigMap { metadata, data: Some(BTreeMap::from([(file, text)])), ..ConfigMap::default() }
}

fn queries(relay: &ValidRelay, at: &Selector, slot: Slot) -> Vec<Query> {
    match relay.implementation {
        Implementation::Bundled => bundled::queries(at, slot),
        Implementation::Indigo => indigo::queries(relay, at, slot),
        Implementation::Zlay => zlay::queries(relay, at, slot),
    }
}

fn dashboard(relay: &ValidRelay, at: &Selector) -> Value {
    let (name, program) = (format!("{}/{}", relay.namespace, relay.name), relay.implementation.name());
    json!({
        "uid": uid(&name),
        "title": format!("Relay {name}"),
        "description": format!("A relay of the kind {program}; the operator makes this dashboard, and takes changes back."),
        "tags": [TAG, program.to_lowercase()],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": [{
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "hide": 0,
        }]},
        "links": [{
            "type": "dashboards",
            "title": "Relays",
            "tags": [TAG],
            "asDropdown": true,
            "keepTime": true,
            "includeVars": true,
            "icon": "external link",
            "targetBlank": false,
            "url": "",
            "tooltip": "",
        }],
        "panels": panels(relay, at),
    })
}

/// A dashboard keeps its address when it is made anew.
fn uid(name: &str) -> String {
    HEXLOWER.encode(&digest::digest(&digest::SHA256, name.as_bytes()).as_ref()[..UID_BYTES])
}

fn panels(relay: &ValidRelay, at: &Selector) -> Vec<Value> {
    let mut panels = Vec::new();
    for (id, (title, slots)) in (slot::SLOTS + 1..).zip(ROWS) {
        let y = slots[0].place().y - 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": slot::WIDTH, "h": 1},
        }));
        for slot in slots {
            let queries = queries(relay, at, slot);
            if !queries.is_empty() {
                panels.push(panel(slot, &queries));
            }
        }
    }
    panels
}

fn panel(slot: Slot, queries: &[Query]) -> Value {
    let datasource = json!({"type": "prometheus", "uid": "${datasource}"});
    let targets: Vec<Value> = ('A'..='Z')
        .zip(queries)
        .map(|(id, query)| {
            json!({
                "refId": id.to_string(), "datasource": datasource, "editorMode": "code", "range": true,
                "expr": query.expr, "legendFormat": query.legend,
            })
        })
        .collect();
    let place = slot.place();
    json!({
        "id": slot as u32 + 1,
        "type": "timeseries",
        "title": slot.title(),
        "description": slot.description(),
        "datasource": datasource,
        "gridPos": {"x": place.x, "y": place.y, "w": slot::PANEL.0, "h": slot::PANEL.1},
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": slot.unit(),
                "color": {"mode": "palette-classic"},
                "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": null}]},
                "custom": {
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": if slot.is_stacked() { 40 } else { 10 },
                    "showPoints": "never",
                    "spanNulls": false,
                    "stacking": {"mode": if slot.is_stacked() { "normal" } else { "none" }, "group": "A"},
                },
            },
            "overrides": marks(slot),
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    })
}

/// How the marks that a series should stay below are drawn: dashed, the worse the redder.
fn marks(slot: Slot) -> Vec<Value> {
    let mark = |name: &str, color: &str| {
        json!({
            "matcher": {"id": "byName", "options": name},
            "properties": [
                {"id": "color", "value": {"mode": "fixed", "fixedColor": color}},
                {"id": "custom.fillOpacity", "value": 0},
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
            ],
        })
    };
    slot.marks().iter().map(|(name, color)| mark(name, color)).collect()
}

#[cfg(test)]
mod tests;
