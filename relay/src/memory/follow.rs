//! What the watch does, a look at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::restarts::Past;
use super::watch::{RestartReason, WatchOptions, WatchView};
use super::{
    Cause, Ladder, Ledger, Limit, Needs, Part, Plan, Pressure, Probe, Relief, Sample, Seen, Step, Trend, Usage,
};

/// While memory stays short, the allocator is asked again and again: what has shrunk gives its memory back to it bit by bit.
const PURGE_INTERVAL: Duration = Duration::from_secs(5);
/// Looks at which another limit has to be seen before it is believed: a file of the kernel that cannot be read for a
/// moment looks like no limit.
const LOOKS_AT_LIMIT: u32 = 3;

/// Follows the memory, and acts on it.
pub(super) struct Follower {
    probe: Box<dyn Probe>,
    needs: Needs,
    ledger: Arc<Ledger>,
    relief: Relief,
    drain_time: Duration,
    past: Past,
    ladder: Ladder,
    trend: Trend,
    /// Another limit than that of the plan, and how often it has been seen.
    new_limit: Option<(Limit, u32)>,
    purged_at: Option<Instant>,
    view: WatchView,
}

impl Follower {
    /// Has its first look, and does nothing yet.
    pub(super) fn new(options: WatchOptions, probe: Box<dyn Probe>, now: Timestamp) -> Follower {
        let WatchOptions { plan, needs, ledger, relief, restarts, drain_time, .. } = options;
        let usage = probe.look(&ledger.held()).usage;
        Follower {
            probe,
            needs,
            ledger,
            relief,
            drain_time,
            past: Past::load(restarts, now),
            ladder: Ladder::new(drain_time),
            trend: Trend::default(),
            new_limit: None,
            purged_at: None,
            view: WatchView::new(plan, usage),
        }
    }

    /// What it has last seen and done.
    pub(super) fn view(&self) -> &WatchView {
        &self.view
    }

    /// Looks, and does what is to be done; says so if the relay has to restart.
    pub(super) fn look(&mut self, at: Instant, now: Timestamp) -> Option<RestartReason> {
        let Seen { limit, usage, pressure } = self.probe.look(&self.ledger.held());
        self.follow_limit(limit);
        self.trend.push(at, usage.working_set);
        self.view.usage = usage;
        self.view.bytes_per_hour = self.trend.bytes_per_hour();
        self.view.seconds_to_limit = self.trend.seconds_to(self.view.plan.limit.bytes, usage.working_set);

        let cause = self.ladder.look(&self.sample(at, &usage, pressure));
        self.follow_ladder();
        self.purge(at);
        self.restart(cause?, at, now)
    }

    fn sample(&self, at: Instant, usage: &Usage, pressure: Option<Pressure>) -> Sample {
        let plan = &self.view.plan;
        Sample {
            at,
            working_set: usage.working_set,
            droppable: u64::try_from(usage.part(Part::PageCache)).unwrap_or(0),
            limit: plan.limit.bytes,
            marks: plan.marks,
            pressure,
            seconds_to_limit: self.view.seconds_to_limit,
        }
    }

    /// Plans anew when the limit has changed.
    fn follow_limit(&mut self, limit: Limit) {
        let plan = self.view.plan;
        if limit == plan.limit {
            self.new_limit = None;
            return;
        }
        let looks = self.new_limit.filter(|(seen, _)| *seen == limit).map_or(0, |(_, looks)| looks) + 1;
        self.new_limit = Some((limit, looks));
        if looks < LOOKS_AT_LIMIT {
            return;
        }
        self.new_limit = None;
        let (replanned, misfit) = Plan::best(limit, plan.marks, &self.needs);
        self.view.plan = replanned;
        self.view.replans += 1;
        self.trend.reset();
        let (from_mib, to_mib) = (plan.limit.bytes >> 20, limit.bytes >> 20);
        tracing::info!(from_mib, to_mib, by = %limit.source, "the memory limit has changed");
        for line in replanned.to_string().lines() {
            tracing::info!("{line}");
        }
        if let Some(misfit) = misfit {
            tracing::warn!("a start would be refused now, the relay goes on as well as it can: {misfit}");
        }
        self.give_shares();
    }

    /// Gives everybody the share that the plan and the step leave them.
    fn give_shares(&self) {
        let plan = &self.view.plan;
        if self.view.step >= Step::Caches { self.ledger.apply(&plan.relieved()) } else { self.ledger.apply(plan) }
    }

    fn follow_ladder(&mut self) {
        let (from, to) = (self.view.step, self.ladder.step());
        if from == to {
            return;
        }
        self.view.step = to;
        for step in Step::ALL.into_iter().filter(|step| from < *step && *step <= to) {
            self.view.climbed[step as usize] += 1;
        }
        self.say(from, to);
        if (from == Step::None) != (to == Step::None) {
            self.give_shares();
        }
        if to == Step::None {
            // What grows now is what was made small.
            self.trend.reset();
        }
        self.relief.go(from, to);
        if to < Step::Consumers {
            self.view.restart_refusal = None;
        }
    }

    fn say(&self, from: Step, to: Step) {
        let WatchView { plan, usage, .. } = &self.view;
        let mib = |bytes: u64| bytes >> 20;
        let (working_set_mib, limit_mib) = (mib(usage.working_set), mib(plan.limit.bytes));
        let soft_mib = mib(plan.marks.soft_bytes(plan.limit.bytes));
        let hard_mib = mib(plan.marks.hard_bytes(plan.limit.bytes));
        let (step, deed) = (to.name(), to.deed());
        if to > from {
            tracing::warn!(step, working_set_mib, soft_mib, hard_mib, limit_mib, "memory is short: {deed}");
        } else {
            tracing::info!(step, working_set_mib, soft_mib, hard_mib, limit_mib, "memory is less short: {deed}");
        }
    }

    fn purge(&mut self, at: Instant) {
        let WatchView { plan, step, usage, .. } = &self.view;
        if *step < Step::Purge || usage.working_set < plan.marks.soft_bytes(plan.limit.bytes) {
            return;
        }
        if self.purged_at.is_none_or(|purged_at| at.saturating_duration_since(purged_at) >= PURGE_INTERVAL) {
            self.probe.purge();
            self.purged_at = Some(at);
            self.view.purges += 1;
        }
    }

    /// A restart that has a cause happens if there were not too many of late.
    fn restart(&mut self, cause: Cause, at: Instant, now: Timestamp) -> Option<RestartReason> {
        let reason = self.reason(cause);
        if let Err(refusal) = self.past.begin(now) {
            if self.view.restart_refusal.as_ref() != Some(&refusal) {
                let (why, cause) = (&refusal, &reason.message);
                tracing::warn!(%why, %cause, "the relay would restart for memory, but may not now");
                self.view.restarts_refused += 1;
                self.view.restart_refusal = Some(refusal);
            }
            return None;
        }
        self.view.restart_refusal = None;
        self.ladder.restart(at);
        self.follow_ladder();
        Some(reason)
    }

    fn reason(&self, cause: Cause) -> RestartReason {
        let WatchView { plan, usage, .. } = &self.view;
        let (working_set, limit) = (usage.working_set, plan.limit.bytes);
        let (set_mib, limit_mib) = (working_set >> 20, limit >> 20);
        let (reason, what) = match cause {
            Cause::HardMark { seconds } => {
                let hard = plan.marks.hard_percent;
                let what = format!("has been above the hard mark of {hard} % for {seconds} s");
                ("MemoryHardMark", what)
            }
            Cause::Trend { seconds_to_limit } => {
                let drain = self.drain_time.as_secs();
                let what = format!("reaches the limit in {seconds_to_limit} s, and a restart may take {drain} s");
                ("MemoryTrend", what)
            }
        };
        let rule = self.past.rule();
        let message = format!(
            "the working set is {set_mib} MiB of {limit_mib} MiB and {what}; all that can be given up has been. \
             If this comes back soon after the start, the limit is too small: raise it. Until then the relay restarts \
             itself at most {} times an hour, {} s apart",
            rule.per_hour_max,
            rule.cooldown.as_secs(),
        );
        RestartReason { reason, message, working_set, limit }
    }
}

#[cfg(test)]
mod tests;
