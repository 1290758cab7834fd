//! The event rate of one host, held by waiting: the socket fills and the host slows down (protocol 15). A host that is
//! held for a while is throttled.

use std::time::Duration;

use tokio::time::Instant;

/// A host that was quiet may send this many seconds' worth of events at once.
const BURST_SECONDS: u32 = 10;
/// A host is throttled once it has been held for this long, and …
const THROTTLED_AFTER: Duration = Duration::from_secs(3);
/// … until it has not been held for this long. A host that sends just at its rate would otherwise change its status with
/// every event.
const FREE_AFTER: Duration = Duration::from_secs(30);

/// A bucket of permissions to take an event, filled at the host's rate.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When the bucket was, or will be, empty.
    empty_at: Option<Instant>,
    /// How long the host has been held, all in all, since it was last free.
    held: Duration,
    /// Until when it was held last.
    held_until: Option<Instant>,
}

impl Rate {
    /// How long to wait until one more event may be taken; the wait counts as had.
    pub(super) fn pause(&mut self, per_second: u32) -> Duration {
        let now = Instant::now();
        let pause = self.take(per_second, now);
        self.hold(pause, now);
        pause
    }

    /// The host has no limit (any more).
    pub(super) fn lift(&mut self) {
        *self = Rate::default();
    }

    /// Whether the limit holds the host back, so that it counts as throttled.
    pub(super) fn is_throttled(&self) -> bool {
        self.was_throttled(Instant::now())
    }

    fn was_throttled(&self, now: Instant) -> bool {
        self.held >= THROTTLED_AFTER && !self.is_free(now)
    }

    fn is_free(&self, now: Instant) -> bool {
        self.held_until.is_none_or(|until| now.saturating_duration_since(until) >= FREE_AFTER)
    }

    fn hold(&mut self, pause: Duration, now: Instant) {
        if self.is_free(now) {
            self.held = Duration::ZERO;
        }
        if !pause.is_zero() {
            self.held += pause;
            self.held_until = Some(now + pause);
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

    #[test]
    fn a_host_is_throttled_when_held_for_a_while_and_until_free_for_a_while() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut rate = Rate::default();
        assert!(!rate.was_throttled(start));
        // Seconds from the start, how long it is held then, and whether it is throttled after that.
        let steps = [
            (0, 1, false),
            (20, 1, false),
            (40, 0, false),
            (45, 1, true),
            (46, 0, true),
            (60, 0, true),
            (75, 0, true),
            (76, 0, false),
            (80, 1, false),
            (200, 2, false),
            (202, 1, true),
            (220, 1, true),
            (250, 1, true),
            (281, 0, false),
        ];
        for (at, held, throttled) in steps {
            let now = start + second * at;
            rate.hold(second * held, now);
            assert_eq!(rate.was_throttled(now), throttled, "at {at} s");
        }
        rate.hold(second * 5, start + second * 300);
        assert!(rate.was_throttled(start + second * 301));
        rate.lift();
        assert!(!rate.was_throttled(start + second * 301), "without a limit it is free at once");
    }
}
