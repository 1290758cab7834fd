//! When to try a host again: soon at first, hours later at last, never not at all.

use std::time::Duration;

use rand::Rng;

/// First wait.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait; a host that comes back after days is found again within this.
const LONGEST: Duration = Duration::from_secs(4 * 3600);
/// Failures in a row after which the wait has grown to the longest: 2^14 s are more than four hours.
const FAILURES_TO_LONGEST: u32 = 14;
/// Failures in a row after which a host counts as offline: about four minutes of trying.
pub const OFFLINE_AFTER: u32 = 8;

/// Failures in a row of one host.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and says how long to wait: doubling, with full jitter above half of it, so that hosts that
    /// failed together do not come back together.
    pub fn failed(&mut self) -> Duration {
        let doubled = FIRST.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Counts a failure that will not mend itself, as of a host that is a relay: offline at once, the longest wait.
    pub fn failed_for_long(&mut self) -> Duration {
        self.failures = self.failures.max(FAILURES_TO_LONGEST);
        self.failed()
    }

    /// The host's stream is open and stays so.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether the host counts as offline.
    pub fn is_offline(&self) -> bool {
        self.failures >= OFFLINE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol 10.
    #[test]
    fn waits_double_up_to_hours_and_never_end() {
        let mut backoff = Backoff::default();
        for round in 0..10_000u32 {
            let wait = backoff.failed();
            let expected = FIRST.saturating_mul(1u32.checked_shl(round).unwrap_or(u32::MAX)).min(LONGEST);
            assert!(wait >= expected / 2 && wait <= expected, "failure {round}: {wait:?}");
        }
        assert!(backoff.is_offline());
        backoff.succeeded();
        assert!(!backoff.is_offline() && backoff.failed() <= FIRST);
    }

    #[test]
    fn a_host_counts_as_offline_after_minutes_of_trying() {
        let mut backoff = Backoff::default();
        let mut tried_for = Duration::ZERO;
        while !backoff.is_offline() {
            tried_for += backoff.failed();
        }
        assert!((60..300).contains(&tried_for.as_secs()), "{tried_for:?}");
    }

    #[test]
    fn what_will_not_mend_itself_is_tried_rarely_and_not_never() {
        let mut backoff = Backoff::default();
        for _ in 0..3 {
            let wait = backoff.failed_for_long();
            assert!(backoff.is_offline() && wait >= LONGEST / 2 && wait <= LONGEST, "{wait:?}");
        }
        backoff.succeeded();
        assert!(backoff.failed() <= FIRST, "it has mended after all");
    }
}
