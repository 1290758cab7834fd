//! The plan: a limit, divided by owner.
//!
//! What lies below the soft mark is poured over the owners like water over a floor of steps: each has its minimum, then
//! all rise by their weights until they reach their maximum. So one number, the level, makes the plan, and a larger limit
//! makes no share smaller.

mod needs;
mod parts;
mod refusal;

use std::fmt;

pub use needs::{Needs, Setting};
pub use refusal::{Misfit, PlanError};

use self::parts::{CONSUMERS, Firmness, HOSTS, Part, parts};
use super::{Limit, Marks, Owner};

/// Smallest limit that the relay plans for.
pub const LIMIT_BYTES_MIN: u64 = 128 << 20;

/// Level at which every owner has all that it can use.
const LEVEL_MAX: u64 = 1 << 32;

/// Under pressure a cache keeps this part of its share, but not less than its minimum.
const RELIEVED_DIVISOR: u64 = 4;

/// How a memory limit is divided, in bytes. The shares together stay below the soft mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What is divided.
    pub limit: Limit,
    /// Where it becomes tight.
    pub marks: Marks,
    /// Streams of hosts at once.
    pub hosts_max: u64,
    /// Consumers at once.
    pub consumers_max: u64,
    shares: [u64; Owner::ALL.len()],
}

impl Plan {
    /// Divides `limit`, for the start.
    ///
    /// # Errors
    ///
    /// What is configured does not fit: the message says what does, and which limit would be enough.
    pub fn new(limit: Limit, marks: Marks, needs: &Needs) -> Result<Plan, PlanError> {
        if limit.bytes < LIMIT_BYTES_MIN {
            return Err(PlanError::TooSmall(limit.bytes));
        }
        let parts = parts(needs, Firmness::Exactly);
        let budget = marks.soft_bytes(limit.bytes);
        if cost(&parts, 0) > budget {
            return Err(PlanError::DoesNotFit(Box::new(Misfit::new(limit, marks, needs))));
        }
        Ok(Plan::at_level(limit, marks, &parts, level(&parts, budget)))
    }

    /// Divides `limit` while the relay runs: of needs that do not fit any more, as much as does. Says what did not. Below
    /// the smallest limit each owner has its minimum, and the marks are passed sooner.
    pub fn best(limit: Limit, marks: Marks, needs: &Needs) -> (Plan, Option<PlanError>) {
        match Plan::new(limit, marks, needs) {
            Ok(plan) => (plan, None),
            Err(error) => {
                let parts = parts(needs, Firmness::AtMost);
                let level = level(&parts, marks.soft_bytes(limit.bytes));
                (Plan::at_level(limit, marks, &parts, level), Some(error))
            }
        }
    }

    fn at_level(limit: Limit, marks: Marks, parts: &[Part], level: u64) -> Plan {
        let mut shares = [0; Owner::ALL.len()];
        for part in parts {
            shares[part.owner as usize] = part.share(level);
        }
        let (hosts, consumers) = (shares[Owner::Hosts as usize], shares[Owner::Consumers as usize]);
        let plan =
            Plan { limit, marks, hosts_max: HOSTS.count(hosts), consumers_max: CONSUMERS.count(consumers), shares };
        plan.with_slack()
    }

    /// What `owner` may hold, in bytes.
    pub fn share(&self, owner: Owner) -> u64 {
        self.shares[owner as usize]
    }

    /// All shares together, in bytes.
    pub fn sum(&self) -> u64 {
        self.shares.iter().fold(0, |sum, share| sum.saturating_add(*share))
    }

    /// The soft mark, in bytes: what is divided.
    pub fn soft_bytes(&self) -> u64 {
        self.marks.soft_bytes(self.limit.bytes)
    }

    /// The same with caches as small as they may become: what holds under pressure. Work goes on, slower.
    pub fn relieved(&self) -> Plan {
        let mut relieved = *self;
        for part in parts(&Needs::default(), Firmness::Exactly) {
            let share = &mut relieved.shares[part.owner as usize];
            if is_cache(part.owner) {
                *share = (*share / RELIEVED_DIVISOR).max(part.min).min(*share);
            }
        }
        relieved.with_slack()
    }

    fn with_slack(mut self) -> Plan {
        let parts = parts(&Needs::default(), Firmness::Exactly);
        let overhead = |part: &Part| part.overhead(self.share(part.owner));
        let slack = parts.iter().map(overhead).fold(0, u64::saturating_add);
        self.shares[Owner::Slack as usize] = slack;
        self
    }
}

/// Whether what it holds can be had again from the disk.
fn is_cache(owner: Owner) -> bool {
    use Owner::*;
    matches!(owner, Ring | Accounts | Identities | BlockCache | Memtables | Directory)
}

/// All shares at a level, with their overhead.
fn cost(parts: &[Part], level: u64) -> u64 {
    let cost = |part: &Part| {
        let share = part.share(level);
        share.saturating_add(part.overhead(share))
    };
    parts.iter().map(cost).fold(0, u64::saturating_add)
}

/// The highest level whose cost stays within the budget; 0 where there is none.
fn level(parts: &[Part], budget: u64) -> u64 {
    let (mut fits, mut above) = (0, LEVEL_MAX + 1);
    while above - fits > 1 {
        let middle = fits + (above - fits) / 2;
        if cost(parts, middle) <= budget {
            fits = middle;
        } else {
            above = middle;
        }
    }
    fits
}

impl fmt::Display for Plan {
    /// A table for people, one owner on a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Plan { limit, marks, hosts_max, consumers_max, .. } = self;
        writeln!(
            f,
            "memory limit {} MiB ({}), of which {} MiB below the soft mark of {} % are divided: {hosts_max} hosts, \
             {consumers_max} consumers",
            limit.bytes >> 20,
            limit.source,
            self.soft_bytes() >> 20,
            marks.soft_percent,
        )?;
        for owner in Owner::ALL {
            writeln!(f, "{:<14}{:>8.1} MiB  {}", owner.name(), mib(self.share(owner)), owner.purpose())?;
        }
        write!(f, "{:<14}{:>8.1} MiB", "sum", mib(self.sum()))
    }
}

#[cfg(test)]
mod tests;
