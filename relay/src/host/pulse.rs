//! How a host's stream is: open since when, how far behind, and when it is tried again.
//!
//! How many events a host has that were not read yet cannot be known: its head is in no message. What is known is when
//! the event that was read last was made, by the host's clock, and thus how far behind the host we are in time.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// A stream that is further behind than this is catching up, and not just on its way.
const BEHIND: Duration = Duration::from_secs(60);

/// What a host that could be dialled waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// As many streams are open as may be.
    Stream,
    /// As many hosts are being dialled as may be, or were a moment ago.
    Dial,
}

impl Wait {
    /// Both.
    pub const ALL: [Wait; 2] = [Wait::Stream, Wait::Dial];

    /// Its name in the admin API and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Wait::Stream => "stream",
            Wait::Dial => "dial",
        }
    }
}

/// The pulse of one host. All times are milliseconds since 1970; 0 stands for none.
#[derive(Debug, Default)]
pub struct Pulse {
    connected_at_ms: AtomicI64,
    next_try_at_ms: AtomicI64,
    last_event_at_ms: AtomicI64,
    /// When the host made the last event, by its clock.
    last_event_made_ms: AtomicI64,
    /// Events read since the connection was made.
    events: AtomicU64,
    /// The last event was read and has to wait: for its rate, its identities, room in memory.
    waits: AtomicBool,
    /// The index of what it waits for, from 1; 0 while it does not.
    waits_for: AtomicU8,
}

/// A host that waits, until dropped.
pub(super) struct Waiting<'a>(&'a Pulse);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits_for.store(0, Ordering::Relaxed);
    }
}

impl Pulse {
    /// A stream has opened.
    pub(super) fn connected(&self) {
        self.last_event_made_ms.store(0, Ordering::Relaxed);
        self.events.store(0, Ordering::Relaxed);
        self.next_try_at_ms.store(0, Ordering::Relaxed);
        self.connected_at_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// The stream has ended.
    pub(super) fn disconnected(&self) {
        self.connected_at_ms.store(0, Ordering::Relaxed);
        self.waits.store(false, Ordering::Relaxed);
    }

    /// The host will be tried after a time; `None` when something must happen first.
    pub(super) fn next_try(&self, wait: Option<Duration>) {
        let at_ms = wait.map_or(0, |wait| now_ms().saturating_add(milliseconds(wait)));
        self.next_try_at_ms.store(at_ms, Ordering::Relaxed);
    }

    /// The host waits, until what this gives is dropped.
    pub(super) fn waiting(&self, wait: Wait) -> Waiting<'_> {
        self.next_try_at_ms.store(0, Ordering::Relaxed);
        self.waits_for.store(1 + wait as u8, Ordering::Relaxed);
        Waiting(self)
    }

    /// An event was read. `made` says when the host made it, if this is known.
    pub(super) fn event_read(&self, made: Option<Timestamp>) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.last_event_at_ms.store(now_ms(), Ordering::Relaxed);
        if let Some(made) = made {
            self.last_event_made_ms.store(made.as_millisecond(), Ordering::Relaxed);
        }
        self.waits.store(true, Ordering::Relaxed);
    }

    /// The event that was read last has gone on its way.
    pub(super) fn event_taken(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }

    /// Whether a stream is open.
    pub fn is_connected(&self) -> bool {
        self.connected_at().is_some()
    }

    /// When the stream opened, if it is open.
    pub fn connected_at(&self) -> Option<Timestamp> {
        timestamp(&self.connected_at_ms)
    }

    /// When the host will be tried again, if it is waited for.
    pub fn next_try_at(&self) -> Option<Timestamp> {
        timestamp(&self.next_try_at_ms)
    }

    /// What the host waits for, if nothing but this keeps it from being dialled.
    pub fn waits_for(&self) -> Option<Wait> {
        let index = usize::from(self.waits_for.load(Ordering::Relaxed)).checked_sub(1)?;
        Wait::ALL.get(index).copied()
    }

    /// When the last event came, since the start of the process.
    pub fn last_event_at(&self) -> Option<Timestamp> {
        timestamp(&self.last_event_at_ms)
    }

    /// Events read since the stream opened.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Events per second since the stream opened.
    pub fn events_per_second(&self) -> Option<f64> {
        let milliseconds = now_ms().saturating_sub(self.connected_at()?.as_millisecond()).max(1000);
        Some(self.events() as f64 / (milliseconds as f64 / 1000.0))
    }

    /// How long before we read it the host made the last event: next to nothing on a stream that is live, and the length
    /// of what is still missing while it catches up. `None` when no stream is open or nothing has come on it.
    pub fn lag(&self) -> Option<Duration> {
        let made = timestamp(&self.last_event_made_ms).filter(|_| self.is_connected())?;
        let read = if self.waits.load(Ordering::Relaxed) { Some(Timestamp::now()) } else { self.last_event_at() };
        // A host's clock may be ahead of ours.
        Some(Duration::try_from(read?.duration_since(made)).unwrap_or_default())
    }

    /// Whether the stream is behind by more than events are that are just on their way.
    pub fn is_catching_up(&self) -> bool {
        self.lag().is_some_and(|lag| lag > BEHIND)
    }
}

fn timestamp(ms: &AtomicI64) -> Option<Timestamp> {
    let ms = ms.load(Ordering::Relaxed);
    if ms == 0 { None } else { Timestamp::from_millisecond(ms).ok() }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn ago(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp::now() - SignedDuration::from_secs(seconds))
    }

    #[test]
    fn lag_is_the_age_of_the_last_event_when_it_was_read() {
        let pulse = Pulse::default();
        assert_eq!(pulse.lag(), None, "no stream");
        pulse.connected();
        assert_eq!(pulse.lag(), None, "no event");
        let cases = [(3600, 3600, true), (120, 120, true), (1, 1, false), (-1000, 0, false)];
        for (age, lag, is_catching_up) in cases {
            pulse.event_read(ago(age));
            pulse.event_taken();
            let shown = pulse.lag().map_or(u64::MAX, |lag| lag.as_secs());
            assert!(shown == lag || shown == lag + 1, "event of {age} s ago: {shown}");
            assert_eq!(pulse.is_catching_up(), is_catching_up, "event of {age} s ago");
        }
        pulse.event_read(None);
        assert!(pulse.lag().is_some(), "an event without a time leaves what is known");
        pulse.disconnected();
        assert_eq!((pulse.lag(), pulse.is_connected()), (None, false));
    }

    #[test]
    fn the_lag_of_an_event_that_waits_grows() {
        let pulse = Pulse::default();
        pulse.connected();
        pulse.event_read(ago(59));
        pulse.last_event_at_ms.store(now_ms() - 10_000, Ordering::Relaxed);
        pulse.event_taken();
        assert!(!pulse.is_catching_up(), "it was 49 s old when it came");
        pulse.waits.store(true, Ordering::Relaxed);
        assert!(pulse.lag() >= Some(Duration::from_secs(59)), "it is older now: {:?}", pulse.lag());
    }

    #[test]
    fn events_are_counted_from_the_opening_of_the_stream() {
        let pulse = Pulse::default();
        pulse.connected();
        (0..10).for_each(|_| pulse.event_read(None));
        assert_eq!((pulse.events(), pulse.events_per_second()), (10, Some(10.0)), "within the first second");
        pulse.disconnected();
        assert_eq!(pulse.events_per_second(), None);
        pulse.connected();
        assert_eq!(pulse.events(), 0);
        assert!(pulse.last_event_at().is_some(), "when the last event came is still known");
    }
}
