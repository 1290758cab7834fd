//! Marks, and the steps between them.

/// Where memory becomes tight, in percent of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// From here on caches shrink and the optional rests.
    pub soft_percent: u8,
    /// From here on, if it lasts, the relay restarts in good order.
    pub hard_percent: u8,
}

/// Marks that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// The soft mark is not far enough below the hard one.
    #[error("the soft mark of {soft} % is not 5 % below the hard mark of {hard} %; lower the one or raise the other")]
    Order {
        /// The one.
        soft: u8,
        /// The other.
        hard: u8,
    },
    /// Too low, or too high.
    #[error("a soft mark of {soft} % and a hard mark of {hard} % do not lie between 50 % and 97 %")]
    Range {
        /// The one.
        soft: u8,
        /// The other.
        hard: u8,
    },
}

impl Marks {
    /// Fewest percent between the two: less is passed in a moment.
    const DISTANCE_MIN: u8 = 5;

    /// Marks that make sense.
    pub fn new(soft_percent: u8, hard_percent: u8) -> Result<Marks, MarksError> {
        if !(Marks::SOFT_MIN..=Marks::HARD_MAX).contains(&soft_percent) || hard_percent > Marks::HARD_MAX {
            return Err(MarksError::Range { soft: soft_percent, hard: hard_percent });
        }
        if soft_percent + Marks::DISTANCE_MIN > hard_percent {
            return Err(MarksError::Order { soft: soft_percent, hard: hard_percent });
        }
        Ok(Marks { soft_percent, hard_percent })
    }

    /// The soft mark of a limit, in bytes.
    pub fn soft_bytes(self, limit: u64) -> u64 {
        limit / 100 * u64::from(self.soft_percent)
    }

    /// The hard mark of a limit, in bytes.
    pub fn hard_bytes(self, limit: u64) -> u64 {
        limit / 100 * u64::from(self.hard_percent)
    }

    /// The plan has to fit below the soft mark.
    const SOFT_MIN: u8 = 50;
    /// Above it a restart comes too late.
    const HARD_MAX: u8 = 97;
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { soft_percent: 80, hard_percent: 90 }
    }
}

/// What has been done about pressure: each step includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Nothing: there is none.
    #[default]
    None,
    /// Caches have shrunk.
    Caches,
    /// The allocator has given back what it could.
    Purge,
    /// Backfill rests.
    Backfill,
    /// Consumers that catch up are read for one by one.
    CatchUp,
    /// New consumers are refused.
    Consumers,
    /// The relay restarts.
    Restart,
}

impl Step {
    /// All of them, from the foot up.
    pub const ALL: [Step; 7] =
        [Step::None, Step::Caches, Step::Purge, Step::Backfill, Step::CatchUp, Step::Consumers, Step::Restart];

    /// The one above.
    pub fn next(self) -> Option<Step> {
        Step::ALL.get(self as usize + 1).copied()
    }

    /// The one below; the lowest is below itself.
    pub fn previous(self) -> Step {
        Step::ALL[(self as usize).saturating_sub(1)]
    }

    /// What it does, for the log.
    pub fn deed(self) -> &'static str {
        match self {
            Step::None => "nothing rests",
            Step::Caches => "caches are small",
            Step::Purge => "the allocator gives back what it can",
            Step::Backfill => "backfill waits",
            Step::CatchUp => "consumers that catch up are slowed down",
            Step::Consumers => "new consumers are refused",
            Step::Restart => "the relay restarts",
        }
    }

    /// Its name in the status document and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Step::None => "none",
            Step::Caches => "caches",
            Step::Purge => "purge",
            Step::Backfill => "backfill",
            Step::CatchUp => "catch-up",
            Step::Consumers => "consumers",
            Step::Restart => "restart",
        }
    }
}
