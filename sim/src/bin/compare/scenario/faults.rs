//! Bad events among good ones, first without and then with crashes of the relay.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim::traffic::{Plan, RECORDS, Said};
use sim::{Fleet, Mutation, Reader, Traffic};

use super::scaled;
use crate::figures::{Figures, Metric};
use crate::peer::{Lab, Peer, Which};
use crate::watcher::seq;

const HOSTS: usize = 50;
const ACCOUNTS_PER_HOST: usize = 10;
const EVENTS: usize = 60_000;
/// Bad events of each kind.
const BAD: usize = 50;
const RATE: f64 = 1_500.0;
const CRASHES: usize = 3;
/// A relay may write down only now and then how far it has read; indigo does every 4 s.
const CURSORS: Duration = Duration::from_secs(6);
/// When no event came for so long, none will.
const SILENCE_MAX: Duration = Duration::from_secs(10);

pub fn plan(scale: f64) -> Plan {
    let bad = Mutation::ALL.into_iter().filter(|mutation| is_shared(*mutation));
    let bad = bad.map(|mutation| (mutation, scaled(BAD, scale))).collect();
    Plan {
        seed: 3,
        hosts: HOSTS,
        accounts_per_host: ACCOUNTS_PER_HOST,
        records: RECORDS,
        events: scaled(EVENTS, scale),
        bad,
    }
}

/// Whether it is about what an event says. Of the others, which are about how it is encoded, indigo mends some, and at
/// others ends the stream to meet them again.
fn is_shared(mutation: Mutation) -> bool {
    use Mutation::{Cut, Float, Garbage, Trailing, UnsortedKeys, ZeroSeq};
    ![Cut, Float, Garbage, Trailing, UnsortedKeys, ZeroSeq].contains(&mutation)
}

/// How often each event came, and how often one that was never sent.
struct Ledger {
    came: Vec<u32>,
    altered: u32,
}

pub async fn run(lab: &Lab, which: Which, traffic: &Arc<Traffic>, figures: &mut Figures) -> anyhow::Result<()> {
    let mut fleet = Fleet::start(traffic).await;
    let mut peer = Peer::start(lab, which, &fleet).await?;
    fleet.connected().await;
    let events = traffic.events().len();
    let ledger = Arc::new(Mutex::new(Ledger { came: vec![0; events], altered: 0 }));
    let heard = Arc::new(AtomicU64::new(0));
    let follower = tokio::spawn(follow(peer.public, Arc::clone(traffic), Arc::clone(&ledger), Arc::clone(&heard)));

    fleet.release_at(RATE, events / 2).await;
    let calm = fleet.released();
    until_silent(&heard).await;
    tokio::time::sleep(CURSORS).await;
    let stretch = (events - calm) / (CRASHES + 1);
    for _ in 0..CRASHES {
        fleet.release_at(RATE, stretch).await;
        peer.program.kill();
        peer.start_again().await?;
    }
    fleet.release_at(RATE, events - fleet.released()).await;
    until_silent(&heard).await;
    follower.abort();

    ledger.lock().unwrap_or_else(PoisonError::into_inner).tell(traffic, calm, figures, which);
    peer.stop().await
}

impl Ledger {
    /// Notes what is wrong with what came. Up to the event `calm` there was no crash.
    fn tell(&self, traffic: &Traffic, calm: usize, figures: &mut Figures, which: Which) {
        self.show_passed(traffic);
        figures.note(Metric::BadPassed, which, f64::from(self.bad_passed(traffic)));
        for (range, lost, repeated) in [
            (0..calm, Metric::Lost, Metric::Repeated),
            (calm..self.came.len(), Metric::LostOverKill, Metric::RepeatedOverKill),
        ] {
            let good = range.filter(|event| traffic.events()[*event].bad.is_none());
            let times: Vec<u32> = good.map(|event| self.came[event]).collect();
            figures.note(lost, which, times.iter().filter(|times| **times == 0).count() as f64);
            figures.note(repeated, which, f64::from(times.iter().map(|times| times.saturating_sub(1)).sum::<u32>()));
        }
    }

    /// Events that came and should not have.
    fn bad_passed(&self, traffic: &Traffic) -> u32 {
        let passed = |(said, times): &(&Said, &u32)| said.bad.is_some() && **times > 0;
        self.altered + traffic.events().iter().zip(&self.came).filter(passed).count() as u32
    }

    fn show_passed(&self, traffic: &Traffic) {
        let mut kinds = BTreeMap::<String, u32>::new();
        for (said, _) in traffic.events().iter().zip(&self.came).filter(|(_, times)| **times > 0) {
            if let Some(mutation) = said.bad {
                *kinds.entry(format!("{mutation:?}")).or_default() += 1;
            }
        }
        eprintln!("  passed: {kinds:?}, altered: {}", self.altered);
    }
}

/// Reads all that the relay has, over its crashes, and notes it.
async fn follow(address: SocketAddr, traffic: Arc<Traffic>, ledger: Arc<Mutex<Ledger>>, heard: Arc<AtomicU64>) {
    let mut cursor = None;
    loop {
        if let Ok(mut reader) = Reader::connect(address, cursor).await {
            let mut note = |frame: &[u8]| {
                let Some(seq) = seq(frame) else { return };
                cursor = Some(seq);
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                match traffic.find(frame) {
                    Some(event) => ledger.came[event] += 1,
                    None => ledger.altered += 1,
                }
                heard.fetch_add(1, Ordering::Relaxed);
            };
            while reader.read(&mut note).await.is_ok() {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_silent(heard: &AtomicU64) {
    let (mut seen, mut since) = (heard.load(Ordering::Relaxed), Instant::now());
    while since.elapsed() < SILENCE_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = heard.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}
