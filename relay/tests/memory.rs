//! Memory that runs short: the watch in its thread, with what a test makes up, and the real allocator.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use relay::memory::{
    Allocator, Held, Ledger, Limit, LimitSource, Machine, Marks, Needs, Owner, Plan, Probe, Refusal, Relief, Restarts,
    Seen, Step, Usage, Watch, WatchOptions,
};

/// That of the relay.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LIMIT: Limit = Limit { bytes: 512 << 20, source: LimitSource::Cgroup2 };
const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter than that of the relay: what has to last for seconds still does.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A working set that the test sets.
struct Fake(Arc<AtomicU64>);

impl Probe for Fake {
    fn look(&self, _held: &[Held]) -> Seen {
        let mut usage = Usage::default();
        usage.working_set = self.0.load(Ordering::Relaxed);
        Seen { limit: LIMIT, usage, pressure: None }
    }

    fn purge(&self) {}
}

/// What a relay does about its memory, as told to those who hold it.
struct Story {
    watch: Arc<Watch>,
    working_set: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Story {
    fn begin(data_dir: &Path) -> Story {
        let told = Arc::<Mutex<Vec<String>>>::default();
        let tell = |what: String| told.lock().unwrap().push(what);
        let mut ledger = Ledger::default();
        let teller = Arc::clone(&told);
        ledger.bound(Owner::Ring, || 0, move |share| teller.lock().unwrap().push(format!("ring {share}")));
        let mut relief = Relief::default();
        for step in [Step::Backfill, Step::CatchUp, Step::Consumers] {
            let teller = Arc::clone(&told);
            relief.at(step, move |on| teller.lock().unwrap().push(format!("{} {on}", step.name())));
        }
        tell("begin".to_owned());
        let options = WatchOptions {
            plan: plan(),
            needs: Needs::default(),
            limit_setting: None,
            cgroup: None,
            ledger: Arc::new(ledger),
            relief,
            restarts: Restarts {
                file: data_dir.join("restarts.json"),
                cooldown: Duration::from_secs(600),
                per_hour_max: 2,
            },
            drain_time: Duration::from_secs(30),
        };
        let working_set = Arc::new(AtomicU64::new(LIMIT.bytes / 2));
        let watch = Watch::with(options, Box::new(Fake(Arc::clone(&working_set))), LOOK_INTERVAL).unwrap();
        Story { watch, working_set, told }
    }

    fn set_percent(&self, percent: u64) {
        self.working_set.store(LIMIT.bytes / 100 * percent, Ordering::Relaxed);
    }
}

fn plan() -> Plan {
    Plan::new(LIMIT, Marks::default(), &Needs::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_at_the_brim_leads_to_a_planned_restart_that_the_next_start_remembers() {
    let data_dir = tempfile::tempdir().unwrap();
    let first = Story::begin(data_dir.path());
    assert_eq!(first.watch.view().step, Step::None);
    first.set_percent(99);
    let reason = tokio::time::timeout(PATIENCE, first.watch.restart()).await.expect("a restart");
    assert_eq!((reason.reason, reason.limit), ("MemoryHardMark", LIMIT.bytes));
    assert_eq!(reason.working_set, LIMIT.bytes / 100 * 99);
    assert_eq!(first.watch.restart().await, reason, "whoever asks later is told the same");
    let small = format!("ring {}", plan().relieved().share(Owner::Ring));
    let expected = ["begin", &small, "backfill true", "catch-up true", "consumers true"];
    assert_eq!(*first.told.lock().unwrap(), expected, "caches first, consumers last");
    drop(first);

    let second = Story::begin(data_dir.path());
    second.set_percent(99);
    let refused = async {
        loop {
            let view = second.watch.view();
            match view.restart_refusal {
                Some(refusal) => return (refusal, view.step),
                None => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
    };
    let (refusal, step) = tokio::time::timeout(PATIENCE, refused).await.expect("a refusal");
    assert!(matches!(refusal, Refusal::Cooldown { .. }), "{refusal}");
    assert_eq!(step, Step::Consumers, "it goes on as well as it can");
}

#[test]
fn a_watch_that_is_gone_holds_nothing_of_anybody() {
    let data_dir = tempfile::tempdir().unwrap();
    let Story { watch, working_set, told } = Story::begin(data_dir.path());
    drop(watch);
    assert_eq!((Arc::strong_count(&working_set), Arc::strong_count(&told)), (1, 1));
}

/// Another allocator, or this one when it is asked differently, leaves what was freed where it is for seconds.
#[test]
fn a_purge_gives_back_what_was_freed() {
    const MIB: u64 = 1 << 20;
    let mut held: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; 64 << 10]).collect();
    held.truncate(16);
    let before = Allocator::now().expect("jemalloc").resident;
    let machine = Machine { limit_setting: None, cgroup: None };
    machine.purge();
    let after = Allocator::now().expect("jemalloc").resident;
    assert!(before > 200 * MIB, "{} MiB were there", before / MIB);
    assert!(after < 64 * MIB, "{} MiB of {} MiB are left", after / MIB, before / MIB);
}
