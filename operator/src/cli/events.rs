//! `events`: the Events of the cluster about a Relay and its objects, the newest last.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use futures_util::StreamExt;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use relay_operator::relay::pod_name;
use serde::Serialize;

use super::cluster::{Common, Output, object_name};
use super::text::{Cell, DIM, PLAIN, Table, WAITING, moment, paint, plain};

/// What stands behind the name of a Relay in the names of its objects.
const PARTS: [&str; 5] = ["admin", "config", "tls", "db", "collections"];

/// Flags of `events`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the Relay.
    #[arg(value_parser = object_name)]
    name: String,

    /// Go on with those that come.
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    common: Common,
}

/// Prints the Events that there are, and with --follow those that come.
pub async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let Args { name, follow, common } = args;
    let cluster = common.connect().await?;
    cluster.relay(&name).await?;
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let why = || format!("the Events of the namespace {} cannot be read", cluster.namespace);
    if follow {
        return self::follow(api, &name, common.output, out).await.with_context(why);
    }
    let told = sorted(&name, &api.list(&ListParams::default()).await.with_context(why)?.items);
    match common.output {
        Output::Text if told.is_empty() => writeln!(out, "No Event of the last hour is about {name}.")?,
        Output::Text => write!(out, "{}", table(&told))?,
        Output::Json => lines(&told, common.output, out)?,
    }
    Ok(())
}

async fn follow(api: Api<Event>, name: &str, output: Output, out: &mut impl Write) -> anyhow::Result<()> {
    let mut versions = BTreeMap::new();
    let mut found = Vec::new();
    let mut changes = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(change) = changes.next().await {
        match change {
            // A list: at the start, and when the watch has broken. Then most of it has been told.
            Ok(watcher::Event::Init) => found.clear(),
            Ok(watcher::Event::InitApply(event)) => found.push(event),
            Ok(watcher::Event::InitDone) => {
                let listed = found.iter().map(key).collect();
                found.retain(|event| is_new(&versions, event));
                lines(&sorted(name, &found), output, out)?;
                versions = listed;
            }
            Ok(watcher::Event::Apply(event)) => {
                if is_new(&versions, &event) {
                    versions.extend([key(&event)]);
                    lines(&sorted(name, &[event]), output, out)?;
                }
            }
            Ok(watcher::Event::Delete(event)) => {
                versions.remove(&key(&event).0);
            }
            // What is refused stays refused; what breaks is set up again.
            Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error))
                if is_refused(&error) =>
            {
                return Err(error.into());
            }
            Err(error) => eprintln!("the watch has broken, and is set up again: {error}"),
        }
    }
    Ok(())
}

fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

/// What tells an Event, and its state, from others.
fn key(event: &Event) -> (String, String) {
    (event.uid().unwrap_or_default(), event.resource_version().unwrap_or_default())
}

fn is_new(versions: &BTreeMap<String, String>, event: &Event) -> bool {
    let (uid, version) = key(event);
    versions.get(&uid) != Some(&version)
}

/// What an Event tells.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    at: Option<Timestamp>,
    #[serde(rename = "type")]
    type_: String,
    reason: String,
    kind: String,
    name: String,
    count: i32,
    note: String,
}

impl Told {
    fn of(event: &Event) -> Self {
        let regarding = event.regarding.clone().unwrap_or_default();
        // Who writes Events of the old form has the times and the count of that.
        let series = event.series.as_ref();
        let old = event.deprecated_last_timestamp.as_ref().or(event.deprecated_first_timestamp.as_ref()).map(|at| at.0);
        let created = event.metadata.creation_timestamp.as_ref().map(|at| at.0);
        Self {
            at: series
                .map(|series| series.last_observed_time.0)
                .or(old)
                .or(event.event_time.as_ref().map(|at| at.0))
                .or(created),
            type_: event.type_.clone().unwrap_or_default(),
            reason: event.reason.clone().unwrap_or_default(),
            kind: regarding.kind.unwrap_or_default(),
            name: regarding.name.unwrap_or_default(),
            count: series.map(|series| series.count).or(event.deprecated_count).unwrap_or(1).max(1),
            note: event.note.clone().unwrap_or_default(),
        }
    }

    fn object(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    fn note(&self) -> String {
        if self.count > 1 { format!("{} ({} times)", self.note, self.count) } else { self.note.clone() }
    }

    fn style(&self) -> anstyle::Style {
        if self.type_ == "Warning" { WAITING } else { PLAIN }
    }
}

/// Those about the Relay `name` and its objects, the newest last.
fn sorted(name: &str, events: &[Event]) -> Vec<Told> {
    let mut told: Vec<_> = events.iter().map(Told::of).filter(|told| is_about(name, &told.kind, &told.name)).collect();
    told.sort_by_key(|told| told.at);
    told
}

/// Whether an object is the Relay `relay` or one that the operator makes for it, or its pod or volume: by their names.
fn is_about(relay: &str, kind: &str, name: &str) -> bool {
    let pod = pod_name(relay);
    match kind {
        "Relay" | "StatefulSet" => name == relay,
        "Pod" => name == pod,
        "PersistentVolumeClaim" => name.strip_prefix("data-") == Some(&pod),
        _ => match name.strip_prefix(relay) {
            Some("") => true,
            Some(rest) => rest.strip_prefix('-').is_some_and(|part| PARTS.contains(&part)),
            None => false,
        },
    }
}

fn table(told: &[Told]) -> String {
    let mut table = Table::new(["TIME", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    for event in told {
        table.row([
            event.at.map(moment).into(),
            Cell::of(&event.type_, event.style()),
            Cell::of(&event.reason, event.style()),
            event.object().into(),
            event.note().into(),
        ]);
    }
    table.text(0)
}

/// A line for each: of what has no end, the width of the columns is not known.
fn lines(told: &[Told], output: Output, out: &mut impl Write) -> anyhow::Result<()> {
    for event in told {
        if output == Output::Json {
            writeln!(out, "{}", serde_json::to_string(event)?)?;
            continue;
        }
        let at = event.at.map(moment).unwrap_or_default();
        let (reason, object) = (paint(&plain(&event.reason), event.style()), plain(&event.object()));
        writeln!(out, "{}  {reason}  {object}  {}", paint(&at, DIM), plain(&event.note()))?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn event(value: Value) -> Event {
        let mut event = json!({"metadata": {"name": "e", "namespace": "relays"}, "eventTime": null});
        for (name, field) in value.as_object().unwrap() {
            event[name] = field.clone();
        }
        serde_json::from_value(event).unwrap()
    }

    fn events() -> Vec<Event> {
        vec![
            event(json!({
                "regarding": {"kind": "Relay", "name": "demo"}, "type": "Warning", "reason": "OOMKilled",
                "eventTime": "2026-11-28T10:00:00.000000Z", "note": "The kernel has killed the relay\nat its memory limit.",
            })),
            event(json!({
                "regarding": {"kind": "Pod", "name": "demo-0"}, "type": "Normal", "reason": "Pulled",
                "deprecatedFirstTimestamp": "2026-11-28T08:00:00Z", "deprecatedLastTimestamp": "2026-11-28T09:00:00Z",
                "deprecatedCount": 3, "note": "Container image already present on machine",
            })),
            event(json!({"regarding": {"kind": "Pod", "name": "other-0"}, "reason": "Pulled"})),
            event(json!({
                "regarding": {"kind": "Relay", "name": "demo"}, "type": "Normal", "reason": "Delivering",
                "eventTime": "2026-11-28T07:00:00.000000Z", "note": "The relay delivers.",
                "series": {"count": 2, "lastObservedTime": "2026-11-28T11:00:00.000000Z"},
            })),
        ]
    }

    #[test]
    fn the_newest_is_the_last() {
        let shown = anstream::adapter::strip_str(&table(&sorted("demo", &events()))).to_string();
        let page = include_str!("../../../docs/how-to/use-kubectl.md");
        assert!(page.contains(&shown), "put this into the how-to:\n{shown}");
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!("events", shown);
        });
    }

    #[test]
    fn programs_get_a_document_on_each_line() {
        let mut out = Vec::new();
        lines(&sorted("demo", &events()), Output::Json, &mut out).unwrap();
        let told: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(told.len(), 3);
        assert_eq!(
            (&told[1]["reason"], &told[1]["note"]),
            (&json!("OOMKilled"), &json!("The kernel has killed the relay\nat its memory limit."))
        );
        assert_eq!((&told[2]["at"], &told[2]["count"]), (&json!("2026-11-28T11:00:00Z"), &json!(2)));
    }

    #[test]
    fn objects_are_known_by_their_names() {
        #[rustfmt::skip]
        let table = [
            ("Relay", "demo", true),
            ("Relay", "demo-admin", false),
            ("StatefulSet", "demo", true),
            ("StatefulSet", "demo-admin", false),
            ("Pod", "demo-0", true),
            ("Pod", "demo-admin-0", false),
            ("Pod", "demo", false),
            ("PersistentVolumeClaim", "data-demo-0", true),
            ("PersistentVolumeClaim", "data-demo2-0", false),
            ("Service", "demo", true),
            ("Service", "demo-admin", true),
            ("Service", "demo-other", false),
            ("Service", "demo2", false),
            ("Certificate", "demo-tls", true),
            ("Ingress", "demo-", false),
            ("Ingress", "demotls", false),
        ];
        for (kind, name, want) in table {
            assert_eq!(is_about("demo", kind, name), want, "{kind}/{name}");
        }
    }

    #[test]
    fn an_event_is_told_once_for_each_state() {
        let event = event(json!({"metadata": {"name": "e", "uid": "u", "resourceVersion": "1"}}));
        let mut versions = BTreeMap::new();
        assert!(is_new(&versions, &event));
        versions.extend([key(&event)]);
        assert!(!is_new(&versions, &event));
        versions.insert("u".into(), "2".into());
        assert!(is_new(&versions, &event));
    }
}
