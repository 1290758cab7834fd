#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::memory::{Held, LimitSource, Marks, Owner, Refusal, Restarts};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 1000 * MIB;

/// What a test makes up, and what was asked for.
#[derive(Default)]
struct Made {
    limit: AtomicU64,
    working_set: AtomicU64,
    purges: AtomicU64,
}

struct Fake(Arc<Made>);

impl Probe for Fake {
    fn look(&self, _held: &[Held]) -> Seen {
        let limit = Limit { bytes: self.0.limit.load(Ordering::Relaxed), source: LimitSource::Cgroup2 };
        let usage = Usage { working_set: self.0.working_set.load(Ordering::Relaxed), ..Usage::default() };
        Seen { limit, usage, pressure: None }
    }

    fn purge(&self) {
        self.0.purges.fetch_add(1, Ordering::Relaxed);
    }
}

/// A relay's memory in which time passes as the test says.
struct World {
    made: Arc<Made>,
    follower: Follower,
    /// Shares of the ring that were given, in order.
    shares: Arc<Mutex<Vec<u64>>>,
    /// Consumers at most, as they were told, in order.
    consumers: Arc<Mutex<Vec<u64>>>,
    /// What was switched, in order.
    switched: Arc<Mutex<Vec<(Step, bool)>>>,
    begin: Instant,
    second: u64,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(per_hour_max: u32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let made = Arc::new(Made { limit: LIMIT.into(), ..Made::default() });
        let (shares, consumers) = <(Arc<Mutex<Vec<u64>>>, Arc<Mutex<Vec<u64>>>)>::default();
        let switched = Arc::<Mutex<Vec<(Step, bool)>>>::default();
        let mut ledger = Ledger::default();
        let given = Arc::clone(&shares);
        ledger.bound(Owner::Ring, || 1, move |share| given.lock().unwrap().push(share));
        let told = Arc::clone(&consumers);
        ledger.follow(move |plan| told.lock().unwrap().push(plan.consumers_max));
        let mut relief = Relief::default();
        for step in [Step::Backfill, Step::CatchUp, Step::Consumers] {
            let switched = Arc::clone(&switched);
            relief.at(step, move |on| switched.lock().unwrap().push((step, on)));
        }
        let limit = Limit { bytes: LIMIT, source: LimitSource::Cgroup2 };
        let options = WatchOptions {
            plan: Plan::new(limit, Marks::default(), &Needs::default()).unwrap(),
            needs: Needs::default(),
            limit_setting: None,
            cgroup: None,
            ledger: Arc::new(ledger),
            relief,
            restarts: Restarts {
                file: folder.path().join("restarts.json"),
                cooldown: Duration::from_secs(600),
                per_hour_max,
            },
            drain_time: Duration::from_secs(30),
        };
        let follower = Follower::new(options, Box::new(Fake(Arc::clone(&made))), now(0));
        World { made, follower, shares, consumers, switched, begin: Instant::now(), second: 0, _folder: folder }
    }

    /// So many seconds with a working set of so many MiB: the second of the first restart, and why.
    fn stay(&mut self, mib: u64, seconds: u64) -> Option<(u64, RestartReason)> {
        self.made.working_set.store(mib * MIB, Ordering::Relaxed);
        (0..seconds).find_map(|_| {
            let restart = self.follower.look(self.begin + Duration::from_secs(self.second), now(self.second));
            self.second += 1;
            restart.map(|reason| (self.second - 1, reason))
        })
    }

    fn view(&self) -> &WatchView {
        self.follower.view()
    }
}

fn now(second: u64) -> Timestamp {
    Timestamp::from_second(1_795_514_400 + second as i64).unwrap()
}

#[test]
fn caches_are_small_for_as_long_as_memory_is_short() {
    let mut world = World::new(2);
    let plan = world.view().plan;
    let (whole, small) = (plan.share(Owner::Ring), plan.relieved().share(Owner::Ring));
    assert!(small < whole);
    assert_eq!(world.stay(700, 60), None);
    assert!(world.shares.lock().unwrap().is_empty(), "the start has given the shares");
    world.stay(810, 60);
    assert_eq!(*world.shares.lock().unwrap(), [small], "once");
    world.stay(700, 300);
    assert_eq!(*world.shares.lock().unwrap(), [small, whole]);
    assert_eq!(world.view().step, Step::None);
    assert_eq!(world.view().climbed, [0, 1, 1, 1, 1, 0, 0]);
}

#[test]
fn each_step_is_switched_on_in_order_and_off_in_the_other() {
    let mut world = World::new(2);
    world.stay(860, 60);
    world.stay(700, 300);
    let on = [Step::Backfill, Step::CatchUp, Step::Consumers].map(|step| (step, true));
    let off = [Step::Consumers, Step::CatchUp, Step::Backfill].map(|step| (step, false));
    assert_eq!(*world.switched.lock().unwrap(), [on, off].concat());
}

#[test]
fn the_allocator_is_asked_again_for_as_long_as_the_soft_mark_is_reached() {
    let mut world = World::new(2);
    world.stay(810, 5);
    assert_eq!(world.made.purges.load(Ordering::Relaxed), 0, "caches are first");
    world.stay(810, 60);
    assert_eq!(world.made.purges.load(Ordering::Relaxed), 12);
    world.stay(780, 20);
    assert_eq!(world.made.purges.load(Ordering::Relaxed), 12, "below the soft mark there is no need");
    assert_eq!((world.view().step, world.view().purges), (Step::CatchUp, 12));
}

#[test]
fn a_restart_says_why_and_comes_once() {
    let mut world = World::new(2);
    let (second, reason) = world.stay(910, 600).unwrap();
    assert_eq!(second, 30);
    assert_eq!((reason.reason, reason.working_set, reason.limit), ("MemoryHardMark", 910 * MIB, LIMIT));
    for words in ["910 MiB of 1000 MiB", "hard mark of 90 % for 30 s", "2 times an hour", "600 s apart", "raise it"] {
        assert!(reason.message.contains(words), "{words:?} is missing in: {}", reason.message);
    }
    assert_eq!(world.view().step, Step::Restart);
    assert_eq!(world.view().climbed, [0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(world.stay(999, 3600), None, "it is on its way");
}

#[test]
fn a_trend_is_told_from_the_hard_mark() {
    let mut world = World::new(2);
    let restart = (60..100).find_map(|percent| world.stay(percent * 10, 1));
    let (_, reason) = restart.unwrap();
    assert_eq!(reason.reason, "MemoryTrend");
    assert!(reason.message.contains("a restart may take 30 s"), "{}", reason.message);
}

#[test]
fn a_relay_that_never_fits_restarts_as_often_as_it_may_and_otherwise_runs_on() {
    let mut world = World::new(2);
    let mut restarts = Vec::new();
    while world.second < 2 * 3600 {
        let Some((second, _)) = world.stay(950, 3600) else { continue };
        restarts.push(second);
        let World { made, follower, .. } = world;
        // The next start reads what was remembered.
        let file = follower.past.rule().clone();
        let again = World::new(2);
        let past = Past::load(file, now(second + 10));
        let follower = Follower { past, probe: Box::new(Fake(Arc::clone(&made))), ..again.follower };
        world = World { made, follower, begin: world.begin, second: second + 10, _folder: world._folder, ..again };
    }
    assert_eq!(restarts, [30, 630, 3630, 4230, 7230]);
}

#[test]
fn a_refused_restart_is_counted_once_and_forgotten_when_it_is_no_longer_due() {
    let mut world = World::new(0);
    assert_eq!(world.stay(950, 3600), None);
    assert_eq!((world.view().step, world.view().restarts_refused), (Step::Consumers, 1));
    assert_eq!(world.view().restart_refusal, Some(Refusal::Never));
    assert_eq!(world.view().climbed[Step::Restart as usize], 0);
    world.stay(600, 300);
    assert_eq!((world.view().step, &world.view().restart_refusal), (Step::None, &None));
    world.stay(950, 60);
    assert_eq!(world.view().restarts_refused, 2);
}

#[test]
fn another_limit_is_another_plan_when_it_is_seen_three_times() {
    let mut world = World::new(2);
    world.stay(910, 20);
    world.made.limit.store(2 * LIMIT, Ordering::Relaxed);
    world.stay(910, 2);
    world.made.limit.store(LIMIT, Ordering::Relaxed);
    world.stay(910, 1);
    assert_eq!((world.view().replans, world.view().plan.limit.bytes), (0, LIMIT), "a file that could not be read");

    world.made.limit.store(2 * LIMIT, Ordering::Relaxed);
    assert_eq!(world.stay(910, 60), None, "no restart: it is at 46 % now");
    let plan = world.view().plan;
    assert_eq!((world.view().replans, plan.limit.bytes), (1, 2 * LIMIT));
    assert_eq!(world.shares.lock().unwrap().last(), Some(&plan.relieved().share(Owner::Ring)), "it is still short");
    world.stay(910, 300);
    assert_eq!(world.view().step, Step::None);
    assert_eq!(world.shares.lock().unwrap().last(), Some(&plan.share(Owner::Ring)));
    assert_eq!(world.consumers.lock().unwrap().last(), Some(&plan.consumers_max));
}

#[test]
fn a_limit_that_nobody_can_plan_for_is_lived_with() {
    let mut world = World::new(0);
    world.made.limit.store(64 * MIB, Ordering::Relaxed);
    world.stay(60, 10);
    let view = world.view();
    assert_eq!((view.plan.limit.bytes, view.replans), (64 * MIB, 1));
    assert!(view.step > Step::None, "the marks are those of the limit as it is: {:?}", view.step);
}
