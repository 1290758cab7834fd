//! What is said of a configuration that does not fit.

use std::fmt;

use super::needs::{Needs, Setting};
use super::parts::{Firmness, Part, parts};
use super::{LIMIT_BYTES_MIN, cost};
use crate::memory::{Limit, Marks, Owner};

/// A limit that cannot hold what is configured.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Below the minimum.
    #[error("a memory limit of {} MiB is too small; give the relay at least {} MiB", .0 >> 20, LIMIT_BYTES_MIN >> 20)]
    TooSmall(u64),
    /// What is configured takes more than lies below the soft mark.
    #[error("{0}")]
    DoesNotFit(Box<Misfit>),
}

/// What is configured, its sum, and what would fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The smallest limit that is enough, in bytes.
    pub enough: u64,
    /// What each setting alone could be lowered to, for all to fit: those for which that is enough.
    pub lower: Vec<Setting>,
    limit: Limit,
    marks: Marks,
    needs: Needs,
    /// What each owner takes at least, in bytes.
    rows: Vec<(Owner, u64)>,
    sum: u64,
}

impl Misfit {
    pub(super) fn new(limit: Limit, marks: Marks, needs: &Needs) -> Misfit {
        let parts = parts(needs, Firmness::Exactly);
        let sum = cost(&parts, 0);
        let slack = parts.iter().map(|part| part.overhead(part.min)).fold(0, u64::saturating_add);
        let rows = parts.iter().map(|part| (part.owner, part.min)).chain([(Owner::Slack, slack)]);
        let lower = needs.settings().filter_map(|setting| lowered(setting, &parts, marks.soft_bytes(limit.bytes)));
        Misfit {
            enough: enough(sum, marks),
            lower: lower.collect(),
            limit,
            marks,
            needs: *needs,
            rows: rows.collect(),
            sum,
        }
    }
}

/// The smallest limit, in whole MiB, of which `sum` lies below the soft mark.
fn enough(sum: u64, marks: Marks) -> u64 {
    const MIB_MAX: u64 = u64::MAX >> 20;
    let mib = (u128::from(sum) * 100 / u128::from(marks.soft_percent)) >> 20;
    let mut mib = u64::try_from(mib).unwrap_or(MIB_MAX).clamp(LIMIT_BYTES_MIN >> 20, MIB_MAX);
    // Of what was rounded down, at most two.
    while mib < MIB_MAX && marks.soft_bytes(mib << 20) < sum {
        mib += 1;
    }
    mib << 20
}

/// What one setting has to be lowered to, if that is enough and leaves its owner the minimum.
fn lowered(setting: Setting, with_needs: &[Part], budget: u64) -> Option<Setting> {
    let without_needs = parts(&Needs::default(), Firmness::Exactly);
    let part = without_needs.iter().find(|part| part.owner == setting.owner())?;
    let others: Vec<Part> = with_needs.iter().filter(|other| other.owner != part.owner).copied().collect();
    let lowered = setting.within(part.share_within(budget.checked_sub(cost(&others, 0))?));
    (lowered.share() >= part.min).then_some(lowered)
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misfit { enough, lower, limit, marks, needs, rows, sum } = self;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        writeln!(
            f,
            "of a memory limit of {} MiB ({}), {} MiB lie below the soft mark of {} %, and what is configured takes {} MiB \
             at least:",
            limit.bytes >> 20,
            limit.source,
            marks.soft_bytes(limit.bytes) >> 20,
            marks.soft_percent,
            mib(*sum),
        )?;
        for (owner, bytes) in rows {
            write!(f, "  {:<14}{:>6} MiB", owner.name(), mib(*bytes))?;
            match needs.setting_of(*owner) {
                Some(setting) => writeln!(f, "  {setting}")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "  {:<14}{:>6} MiB", "sum", mib(*sum))?;
        if !lower.is_empty() {
            let lower: Vec<_> = lower.iter().map(Setting::to_string).collect();
            write!(f, "set {}, or ", lower.join(", or "))?;
        } else if needs.settings().next().is_some() {
            let keys: Vec<_> = needs.settings().map(Setting::key).collect();
            write!(f, "lower {}, or leave them out for as much as fits, or ", keys.join(" and "))?;
        } else {
            write!(f, "raise memory-soft-percent, or ")?;
        }
        write!(f, "give the relay a memory limit of {} MiB", enough >> 20)
    }
}
