//! How long to wait after something went wrong: twice as long each time, with jitter, so that what failed together does
//! not come back together.

use std::time::Duration;

use rand::Rng;

use super::clock::ms;

/// Between these two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

/// A source that is busy, broken or away; a disk that is full.
pub(super) const TROUBLE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(600) };
/// An account that could not be looked at.
pub(super) const ACCOUNT: Backoff = Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(6 * 3600) };

impl Backoff {
    /// How long to wait after so many failures in a row, the one just now included.
    pub(super) fn wait_ms(self, failures: u32) -> i64 {
        let doublings = failures.saturating_sub(1).min(31);
        let doubled = self.first.saturating_mul(1 << doublings).min(self.longest);
        ms(doubled.mul_f64(rand::rng().random_range(0.5..=1.0))).max(ms(self.first) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        for (backoff, longest) in [(TROUBLE, 600_000), (ACCOUNT, 21_600_000)] {
            let mut expected = ms(backoff.first);
            for failures in 1..1000 {
                let wait = backoff.wait_ms(failures);
                assert!(wait >= expected / 2 && wait <= expected, "{failures} failures: {wait} ms");
                expected = (expected * 2).min(longest);
            }
        }
    }
}
