//! Shares of memory on the way from a host to the log change while events pass, and nothing is lost by it.

#![allow(clippy::unwrap_used)]

mod rig;

use std::time::Duration;

use rig::{Rig, assert_passed};
use sim::plc::Fault;
use tokio::time::{sleep, timeout};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks.
const TICK: Duration = Duration::from_millis(10);

async fn until(rig: &Rig, count: usize) {
    let all = async || {
        while rig.count() < count {
            sleep(TICK).await;
        }
    };
    let in_time = timeout(PATIENCE, all()).await;
    assert!(in_time.is_ok(), "{} of {count} events came out", rig.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_while_every_share_changes() {
    const SIZES: [usize; 4] = [0, 64 << 20, 1 << 20, 100 << 10];
    let rig = Rig::new(300).await;
    let mut accounts = rig.accounts(300);
    let events = rig.posts(&mut accounts, 10);
    let put = async {
        for event in &events {
            rig.put(event).await;
        }
        until(&rig, events.len()).await;
    };
    let resize = async {
        for round in 0.. {
            let size = |shift: usize| SIZES[(round / (shift + 1)) % SIZES.len()];
            rig.intake.set_ingest_bytes(size(0));
            rig.intake.set_parked_bytes(size(1));
            rig.intake.set_accounts_bytes(size(2));
            rig.resolver.set_memory_bytes(size(0));
            rig.store.set_memtable_bytes(size(1));
            rig.store.set_block_cache_bytes(size(2));
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = put => {}
        () = resize => {}
    }
    rig.intake.set_accounts_bytes(0);
    assert_eq!(rig.intake.accounts_bytes(), 0, "all changes are applied, and nothing is needed");
    let (intake, passed) = rig.end().await;
    assert_passed(&passed, &events);
    assert_eq!((intake.ingest_bytes(), intake.parked_bytes()), (0, 0), "every byte has come back");
}

/// A relay that meets the network for the first time, with a directory that is slow: it takes no more than it can hold,
/// and goes on when the directory does.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_identity_is_bounded_in_the_smallest_shares_and_passes_in_the_end() {
    /// The smallest share, and the look-ups of events that stood in the queues before it was known that they have to wait.
    const HELD_BYTES_MAX: usize = 14 << 20;
    let rig = Rig::new(301).await;
    rig.network.plc.set_fault(Some(Fault::Delay(Duration::from_secs(3))));
    let mut accounts = rig.accounts(4000);
    let events = rig.posts(&mut accounts, 1);
    let mut put = Box::pin(async {
        for event in &events {
            rig.put(event).await;
        }
    });
    let most = async {
        while rig.held() < 5_000_000 {
            sleep(TICK).await;
        }
        let mut most = 0;
        for _ in 0..50 {
            sleep(TICK).await;
            most = most.max(rig.held());
        }
        most
    };
    let most = tokio::select! {
        most = timeout(PATIENCE, most) => most.unwrap(),
        () = &mut put => panic!("there is no room for all of them"),
    };
    assert!(most <= HELD_BYTES_MAX, "{most} bytes are held");
    rig.network.plc.set_fault(None);
    assert!(timeout(PATIENCE, put).await.is_ok(), "it goes on");
    until(&rig, events.len()).await;
    let (intake, passed) = rig.end().await;
    assert_passed(&passed, &events);
    assert_eq!((intake.ingest_bytes(), intake.parked_bytes()), (0, 0), "every byte has come back");
}
