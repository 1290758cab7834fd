//! Counts of the data path against what the allocator says. Alone in its process, since that counts for all of it.

#![allow(clippy::unwrap_used)]

#[path = "data_path/rig.rs"]
mod rig;

use std::sync::atomic::Ordering;
use std::time::Duration;

use rig::Rig;
use sim::plc::Fault;
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn allocated() -> usize {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap()
}

/// Two thousand accounts that nobody has looked up, and a directory that does not answer: their events wait, with a
/// look-up for each.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_events_are_counted_with_their_look_ups() {
    const ACCOUNTS: usize = 2000;
    let rig = Rig::new(310).await;
    rig.intake.set_ingest_bytes(64 << 20);
    rig.intake.set_parked_bytes(64 << 20);
    rig.network.plc.set_fault(Some(Fault::Delay(Duration::from_secs(600))));
    // The first ones pay for what is made once.
    let mut accounts = rig.accounts(ACCOUNTS + 100);
    let events = rig.posts(&mut accounts, 1);
    for event in &events[..100] {
        rig.put(event).await;
    }
    // Some of the look-ups may have failed by now, and wait to be tried again.
    let parked = async |count: u64| {
        let lookups = || rig.resolver.stats().lookups.load(Ordering::Relaxed);
        while rig.intake.stats().snapshot().waiting_events < count || lookups() < count * 9 / 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    parked(100).await;
    let before = (allocated(), rig.intake.parked_bytes());
    for event in &events[100..] {
        rig.put(event).await;
    }
    parked(events.len() as u64).await;
    let taken = allocated() - before.0;
    let counted = rig.intake.parked_bytes() - before.1;
    println!("{} bytes for each, {} are counted", taken / ACCOUNTS, counted / ACCOUNTS);
    assert!(taken.abs_diff(counted) < taken / 3, "{taken} bytes are taken, {counted} are counted");
}
