//! When to try a host again: soon at first, hours later at last, never not at all.

use std::time::Duration;

use rand::Rng;

/// First wait.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait; a host that comes back after days is found again within this.
const LONGEST: Duration = Duration::from_secs(4 * 3600);
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

    /// The host has sent something.
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
}
