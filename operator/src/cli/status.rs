//! `status`: how a Relay is, as its status says; without a name, a line for each.

mod details;
mod parts;

use std::io::Write;

use anyhow::Context;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::cluster::{Common, Output, Seen, object_name};
use super::text::{BAD, Cell, GOOD, Table, WAITING, age, number};

/// Flags of `status`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the Relay; without it all are listed.
    #[arg(value_parser = object_name)]
    name: Option<String>,

    /// The Relays of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace"])]
    all_namespaces: bool,

    #[command(flatten)]
    common: Common,
}

/// Prints what is asked for.
pub async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let cluster = args.common.connect().await?;
    let is_for_people = args.common.output == Output::Text;
    if let Some(name) = &args.name {
        let relay = cluster.relay(name).await?;
        if is_for_people {
            write!(out, "{}", details::text(&relay, Timestamp::now()))?;
        } else {
            writeln!(out, "{:#}", document(&relay))?;
        }
        return Ok(());
    }
    let api = if args.all_namespaces { cluster.all_relays() } else { cluster.relays() };
    let listed = api.list(&ListParams::default()).await.context("the Relays cannot be listed")?;
    let relays: Vec<Seen> = listed.items.into_iter().map(Seen::of).collect();
    if !is_for_people {
        writeln!(out, "{:#}", Value::from_iter(relays.iter().map(document)))?;
    } else if relays.is_empty() {
        let place =
            if args.all_namespaces { "in any namespace" } else { &format!("in namespace {}", cluster.namespace) };
        writeln!(out, "There is no Relay {place}.")?;
    } else {
        write!(out, "{}", list(&relays, args.all_namespaces, Timestamp::now()))?;
    }
    Ok(())
}

/// A Relay for programs: the status as it is in the cluster.
fn document(relay: &Seen) -> Value {
    json!({
        "namespace": relay.namespace,
        "name": relay.name,
        "generation": relay.generation,
        "implementation": relay.spec("/implementation"),
        "hostname": relay.spec("/hostname"),
        "paused": relay.is_paused(),
        "status": relay.object.data["status"],
    })
}

/// A line for each Relay.
fn list(relays: &[Seen], has_namespaces: bool, now: Timestamp) -> String {
    let mut table = Table::new([
        if has_namespaces { "RELAY" } else { "NAME" },
        "READY",
        "REASON",
        "HOSTS",
        "EVENTS/S",
        "MEMORY",
        "RESTARTS",
        "BACKFILL",
        "AGE",
    ]);
    for relay in relays {
        let status = &relay.status;
        let (ready, reason) = readiness(relay);
        let restarts = status.restarts.as_ref().map(|ends| {
            number(ends.planned + ends.oom_killed + ends.crashed + ends.evicted + ends.node_lost + ends.unseen)
        });
        table.row([
            if has_namespaces { format!("{}/{}", relay.namespace, relay.name) } else { relay.name.clone() }.into(),
            ready,
            reason,
            status.hosts.as_ref().map(|hosts| format!("{}/{}", hosts.connected, hosts.total)).into(),
            status.events_per_second.map(|rate| format!("{rate:.1}")).into(),
            status.memory.as_ref().map(|memory| memory.summary.clone()).into(),
            restarts.into(),
            status.backfill.as_ref().map(|backfill| backfill.summary.clone()).into(),
            relay.created.map(|created| age(created, now)).into(),
        ]);
    }
    table.text(0)
}

/// The condition Ready: its status and reason.
fn readiness(relay: &Seen) -> (Cell, Cell) {
    if relay.trouble.is_some() {
        return (Cell::of("?", BAD), Cell::of("UnknownVersion", BAD));
    }
    match relay.condition("Ready") {
        Some((status, reason, _)) => {
            let style = if status == "True" { GOOD } else { WAITING };
            let shown = if relay.is_paused() { format!("{reason} (paused)") } else { reason.to_owned() };
            (Cell::of(status, style), shown.into())
        }
        None => (Cell::of("Unknown", WAITING), "not seen by an operator yet".into()),
    }
}

#[cfg(test)]
mod tests;
