//! The event rate of one host, held by waiting: the socket fills and the host slows down (protocol 15).

use std::time::Duration;

use tokio::time::Instant;

/// A host that was quiet may send this many seconds' worth of events at once.
const BURST_SECONDS: u32 = 10;

/// A bucket of permissions to take an event, filled at the host's rate.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When the bucket was, or will be, empty.
    empty_at: Option<Instant>,
}

impl Rate {
    /// Waits until one more event may be taken.
    pub(super) async fn wait(&mut self, per_second: u32) {
        let pause = self.take(per_second, Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes one permission and says how long to wait before using it.
    fn take(&mut self, per_second: u32, now: Instant) -> Duration {
        let each = Duration::from_secs(1) / per_second.max(1);
        let fullest = each * per_second * BURST_SECONDS;
        let start = now.checked_sub(fullest).unwrap_or(now);
        let empty_at = self.empty_at.map_or(start, |empty_at| empty_at.max(start)) + each;
        self.empty_at = Some(empty_at);
        empty_at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol 15.
    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut rate = Rate::default();
        let now = Instant::now() + Duration::from_secs(3600);
        let waits: Vec<Duration> = (0..600).map(|_| rate.take(50, now)).collect();
        assert!(waits[..500].iter().all(Duration::is_zero), "ten seconds' worth pass at once");
        assert_eq!(waits[599], Duration::from_secs(2), "a hundred more take two seconds");
        let later = now + Duration::from_secs(3600);
        assert!(rate.take(50, later).is_zero(), "a quiet hour fills the bucket");
    }
}
