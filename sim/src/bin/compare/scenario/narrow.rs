//! 50 hosts: full speed, replay, many consumers.

use std::sync::Arc;
use std::time::Instant;

use sim::traffic::{Plan, RECORDS};
use sim::{Fleet, Traffic};

use super::{SETTLING, scaled};
use crate::figures::{Figures, Metric};
use crate::peer::{Lab, Peer, Which};
use crate::watcher::Watcher;

const HOSTS: usize = 50;
const ACCOUNTS_PER_HOST: usize = 20;
/// Events at full speed.
const EVENTS: usize = 100_000;
/// Events of each stretch at a rate.
const STRETCH: usize = 10_000;
const RATE: f64 = 500.0;
const CONSUMERS: usize = 100;
/// The log is read from here, if it is that long: indigo serves a cursor within its first file of 10,000 events, or at
/// the border of two files, only up to that file's end.
const REPLAY_CURSOR: u64 = 10_002;

/// It is over fast, so it is done more than once.
const REPLAYS: usize = 5;

pub fn plan(scale: f64) -> Plan {
    let events = scaled(EVENTS, scale) + 2 * scaled(STRETCH, scale);
    Plan { seed: 1, hosts: HOSTS, accounts_per_host: ACCOUNTS_PER_HOST, records: RECORDS, events, bad: Vec::new() }
}

pub async fn run(lab: &Lab, which: Which, traffic: &Arc<Traffic>, figures: &mut Figures) -> anyhow::Result<()> {
    let mut fleet = Fleet::start(traffic).await;
    let mut peer = Peer::start(lab, which, &fleet).await?;
    fleet.connected().await;
    let consumer = Watcher::start(peer.public, None).await?;
    // The relay gets to know each account first: resolving identities is not what is measured.
    fleet.release(traffic.greetings());
    consumer.until_events(fleet.released()).await?;

    let stretch = (traffic.events().len() - traffic.greetings()) / 12;
    full_speed(&peer, &mut fleet, &consumer, 10 * stretch, figures, which).await?;

    replays(&peer, consumer.last_seq(), figures, which).await?;
    at_rate(&peer, &mut fleet, &[&consumer], stretch, figures, (Metric::OneConsumerCpu, which)).await?;
    let mut consumers = Vec::new();
    for _ in 1..CONSUMERS {
        consumers.push(Watcher::start(peer.public, None).await?);
    }
    let all: Vec<&Watcher> = consumers.iter().collect();
    at_rate(&peer, &mut fleet, &all, stretch, figures, (Metric::ManyConsumersCpu, which)).await?;
    peer.stop().await
}

async fn full_speed(
    peer: &Peer,
    fleet: &mut Fleet,
    consumer: &Watcher,
    events: usize,
    figures: &mut Figures,
    which: Which,
) -> anyhow::Result<()> {
    let (cpu, start) = (peer.program.cpu_seconds(), Instant::now());
    fleet.release(events);
    consumer.until_events(fleet.released()).await?;
    let took = start.elapsed();
    tokio::time::sleep(SETTLING).await;
    figures.note(Metric::FullSpeedCpu, which, (peer.program.cpu_seconds() - cpu) * 1000.0 / events as f64);
    figures.note(Metric::FullSpeedRate, which, events as f64 / took.as_secs_f64());
    Ok(())
}

async fn replays(peer: &Peer, last_seq: u64, figures: &mut Figures, which: Which) -> anyhow::Result<()> {
    let cursor = if last_seq > REPLAY_CURSOR { REPLAY_CURSOR } else { 1 };
    for _ in 0..REPLAYS {
        let start = Instant::now();
        let replay = Watcher::start(peer.public, Some(cursor)).await?;
        replay.until_seq(last_seq).await?;
        figures.note(Metric::ReplayRate, which, replay.events() as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}

async fn at_rate(
    peer: &Peer,
    fleet: &mut Fleet,
    consumers: &[&Watcher],
    events: usize,
    figures: &mut Figures,
    (metric, which): (Metric, Which),
) -> anyhow::Result<()> {
    let before: Vec<u64> = consumers.iter().map(|consumer| consumer.events()).collect();
    let cpu = peer.program.cpu_seconds();
    fleet.release_at(RATE, events).await;
    for (consumer, before) in consumers.iter().zip(before) {
        consumer.until_events(before as usize + events).await?;
    }
    figures.note(metric, which, (peer.program.cpu_seconds() - cpu) * 1000.0 / events as f64);
    Ok(())
}
