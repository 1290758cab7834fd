//! Random lives of a relay: templates of every quality, an operator that dies anywhere, drains, budgets that refuse.

use std::collections::BTreeSet;

use super::*;

/// A small generator of random numbers (SplitMix64): a failing life is repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % count
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What pods of a template are like: it is in its number.
#[derive(PartialEq)]
enum Quality {
    Good,
    NeverReady,
    Silent,
}

fn quality(template: u64) -> Quality {
    match template % 4 {
        0 | 1 => Quality::Good,
        2 => Quality::NeverReady,
        _ => Quality::Silent,
    }
}

struct LivePod {
    uid: u64,
    template: u64,
    age: u64,
}

/// A cluster with one relay.
struct Life {
    random: Random,
    second: i64,
    wanted: u64,
    /// Template and mark of the StatefulSet, and whether its controller has seen it.
    set: Option<(u64, String, bool)>,
    pod: Option<LivePod>,
    pods: u64,
    restart: Option<u64>,
    /// What the API server has of the status.
    stored: Option<UpdateStatus>,
    refuses: bool,
    /// Pods that the operator has let go.
    evicted: BTreeSet<u64>,
    /// Restarts that were made.
    restarts: BTreeSet<Option<String>>,
    log: Vec<String>,
}

impl Life {
    fn of(seed: u64) -> Self {
        Self {
            random: Random(seed),
            second: 0,
            wanted: 0,
            set: None,
            pod: None,
            pods: 0,
            restart: None,
            stored: None,
            refuses: false,
            evicted: BTreeSet::new(),
            restarts: BTreeSet::new(),
            log: vec![format!("seed {seed}")],
        }
    }

    fn is_ready(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.age >= 20 && quality(pod.template) != Quality::NeverReady)
    }

    fn seen(&self) -> Seen {
        let events = match &self.pod {
            Some(pod) if quality(pod.template) == Quality::Good && pod.age >= 60 => 100.0,
            _ => 0.0,
        };
        let wanted = format!("digest-{}", self.wanted);
        Seen {
            set: self.set.as_ref().map(|(template, mark, is_seen)| Set {
                mark: Some(mark.clone()),
                covers_wanted: *template == self.wanted,
                revision: is_seen.then(|| format!("demo-{template}")),
                config: None,
            }),
            pod: self.pod.as_ref().map(|pod| PodSeen {
                uid: pod.uid.to_string(),
                revision: Some(format!("demo-{}", pod.template)),
                config: None,
                is_ready: self.is_ready(),
                is_leaving: false,
            }),
            delivery: self.is_ready().then(|| delivers(events, 0.0)),
            since_told: Some(Duration::from_secs(15)),
            waits: None,
            restart: self.restart.map(|restart| restart.to_string()),
            gate: Some(gate()),
            last_good_is_gone: false,
            wanted,
        }
    }

    /// What happens without the operator.
    fn happens(&mut self, is_wild: bool) {
        let passed = 5 + self.random.below(if is_wild { 120 } else { 15 });
        self.second += i64::try_from(passed).unwrap();
        if let Some((template, _, is_seen)) = &mut self.set
            && (*is_seen || self.random.one_in(2))
        {
            *is_seen = true;
            let template = *template;
            match &mut self.pod {
                Some(pod) => pod.age += passed,
                None => {
                    self.pods += 1;
                    self.pod = Some(LivePod { uid: self.pods, template, age: 0 });
                }
            }
        }
        if !is_wild {
            self.refuses = false;
            return;
        }
        match self.random.below(40) {
            0 | 1 => self.wanted = self.random.below(8),
            2 => self.pod = None,
            3 => self.restart = Some(self.restart.unwrap_or(0) + 1),
            4 => self.refuses = !self.refuses,
            _ => {}
        }
    }

    /// A reconcile, which dies somewhere if it is to.
    fn reconcile(&mut self, may_die: bool) {
        let told = self.stored.clone();
        let decision = decide(told.as_ref(), &self.seen(), at(self.second));
        let status = &decision.status;
        self.log.push(format!(
            "{:>6} wanted {} set {:?} pod {:?} restart {:?}: {:?} {}{}",
            self.second,
            self.wanted,
            self.set,
            self.pod.as_ref().map(|pod| (pod.uid, pod.template, pod.age)),
            self.restart,
            decision.template,
            status.phase.name(),
            if decision.replaces { "!" } else { "" },
        ));
        let step = if may_die { self.random.below(8) } else { 7 };
        if step == 0 {
            return;
        }
        let new = match decision.template {
            Template::Wanted => Some((self.wanted, format!("digest-{}", self.wanted))),
            Template::LastGood => {
                let revision = status.last_good.clone().unwrap();
                Some((revision.trim_start_matches("demo-").parse().unwrap(), revision))
            }
            Template::AsFound => None,
        };
        if let Some((template, mark)) = new {
            let is_seen = self.set.as_ref().is_some_and(|(before, _, is_seen)| *before == template && *is_seen);
            self.set = Some((template, mark, is_seen));
        }
        if step == 1 {
            return;
        }
        let mut status = decision.status;
        if decision.replaces {
            self.let_go(told.as_ref().unwrap(), &mut status);
        }
        if step == 2 {
            return;
        }
        self.stored = Some(status);
    }

    fn let_go(&mut self, told: &UpdateStatus, status: &mut UpdateStatus) {
        let pod = self.pod.take().unwrap();
        assert_eq!(told.pod_uid, Some(pod.uid.to_string()), "it was told before");
        if self.refuses {
            status.refused = Some(RefusalStatus { at: Time(at(self.second)), message: "budget".into() });
            self.pod = Some(pod);
            return;
        }
        assert!(self.evicted.insert(pod.uid), "no pod goes twice");
        let (template, ..) = self.set.as_ref().unwrap();
        if *template == pod.template {
            assert!(status.restart.is_some() && self.restarts.insert(status.restart.clone()), "once for each value");
        } else {
            let failed = told.failed.as_deref().unwrap_or("none");
            assert_ne!(failed, format!("digest-{template}"), "no pod goes for a template that has failed");
        }
    }
}

#[test]
fn every_life_ends_well_and_no_pod_goes_without_need() {
    let (mut rolled_back, mut up_to_date) = (0, 0);
    for seed in 0..3_000 {
        let mut life = Life::of(seed);
        // The first template works: without one there is nothing to go back to.
        for _ in 0..40 {
            life.happens(false);
            life.reconcile(false);
        }
        assert_eq!(life.stored.as_ref().unwrap().phase, UpdatePhase::UpToDate, "{:#?}", life.log);
        for _ in 0..120 {
            life.happens(true);
            life.reconcile(true);
        }
        for _ in 0..600 {
            life.happens(false);
            life.reconcile(false);
        }
        let status = life.stored.as_ref().unwrap();
        let pod = life.pod.as_ref().unwrap();
        let is_good = quality(pod.template) == Quality::Good;
        match status.phase {
            UpdatePhase::UpToDate => {
                up_to_date += 1;
                assert_eq!(pod.template, life.wanted, "{:#?}", life.log);
            }
            UpdatePhase::RolledBack => {
                rolled_back += 1;
                assert!(pod.template != life.wanted && is_good, "{:#?}", life.log);
                assert_eq!(status.last_good, Some(format!("demo-{}", pod.template)), "{:#?}", life.log);
            }
            other => panic!("it does not end: {other:?} {:#?}", life.log),
        }
        assert!(is_good || quality(life.wanted) == Quality::Silent, "a bad template stays: {:#?}", life.log);
    }
    assert!(rolled_back > 300 && up_to_date > 300, "{rolled_back} {up_to_date}");
}
