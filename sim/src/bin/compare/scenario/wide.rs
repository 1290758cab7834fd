//! 2,800 hosts: idle, a steady rate, a burst.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sim::traffic::{Plan, RECORDS};
use sim::{Fleet, Traffic};

use super::scaled;
use crate::figures::{Figures, Metric};
use crate::peer::{Lab, Peer, Which};
use crate::watcher::{Timer, Watcher};

const HOSTS: usize = 2_800;
const ACCOUNTS_PER_HOST: usize = 2;
/// The steady rate, and the number of events at it.
const RATE: f64 = 1_500.0;
const STEADY: usize = 90_000;
const BURST: usize = 150_000;
/// Connections settle for so long before they are called idle; the idle CPU is measured for as long.
const IDLE: Duration = Duration::from_secs(10);
/// Accounts that are new come at this rate.
const GREETINGS_PER_SECOND: f64 = 400.0;

pub fn plan(scale: f64) -> Plan {
    let events = scaled(STEADY, scale) + scaled(BURST, scale);
    Plan {
        seed: 2,
        hosts: scaled(HOSTS, scale),
        accounts_per_host: ACCOUNTS_PER_HOST,
        records: RECORDS,
        events,
        bad: Vec::new(),
    }
}

pub async fn run(lab: &Lab, which: Which, traffic: &Arc<Traffic>, figures: &mut Figures) -> anyhow::Result<()> {
    let events = traffic.events().len() - traffic.greetings();
    let steady = events * STEADY / (STEADY + BURST);
    let mut fleet = Fleet::start(traffic).await;
    let start = Instant::now();
    let mut peer = Peer::start(lab, which, &fleet).await?;
    fleet.connected().await;
    figures.note(Metric::ConnectTime, which, start.elapsed().as_secs_f64());
    idle(&peer, figures, which).await;

    let consumer = Watcher::start(peer.public, None).await?;
    fleet.release_at(GREETINGS_PER_SECOND, traffic.greetings()).await;
    consumer.until_events(fleet.released()).await?;
    drop(consumer);

    steadily(&peer, &mut fleet, traffic, steady, figures, which).await?;

    let consumer = Watcher::start(peer.public, None).await?;
    peer.program.forget_peak()?;
    let start = Instant::now();
    fleet.release(events - steady);
    consumer.until_events(events - steady).await?;
    figures.note(Metric::BurstRate, which, (events - steady) as f64 / start.elapsed().as_secs_f64());
    figures.note(Metric::BurstMemory, which, mebibytes(peer.program.memory_bytes("VmHWM")));
    peer.stop().await
}

async fn idle(peer: &Peer, figures: &mut Figures, which: Which) {
    tokio::time::sleep(IDLE).await;
    let cpu = peer.program.cpu_seconds();
    tokio::time::sleep(IDLE).await;
    figures.note(Metric::IdleMemory, which, mebibytes(peer.program.memory_bytes("VmRSS")));
    figures.note(Metric::IdleCpu, which, (peer.program.cpu_seconds() - cpu) * 100.0 / IDLE.as_secs_f64());
}

/// From the host's sending to the consumer's receiving, by one clock.
async fn steadily(
    peer: &Peer,
    fleet: &mut Fleet,
    traffic: &Arc<Traffic>,
    events: usize,
    figures: &mut Figures,
    which: Which,
) -> anyhow::Result<()> {
    let timer = Timer::start(peer.public, traffic, events).await?;
    let cpu = peer.program.cpu_seconds();
    fleet.release_at(RATE, events).await;
    let came = timer.end().await?;
    figures.note(Metric::SteadyCpu, which, (peer.program.cpu_seconds() - cpu) * 1000.0 / events as f64);
    let mut latencies: Vec<Duration> = came.iter().map(|(event, at)| *at - fleet.sent_at(*event)).collect();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    figures.note(Metric::LatencyMedian, which, at(0.5));
    figures.note(Metric::LatencyHigh, which, at(0.99));
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
