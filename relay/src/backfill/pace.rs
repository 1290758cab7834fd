//! When whose turn it is: requests to one provider come one after the other, at a rate, and not while it wants none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep_until};

use super::told::Told;

/// Requests may come so much earlier than the rate says, after a quiet time: a few at once where many are allowed.
const EARLY_MAX: Duration = Duration::from_millis(250);
/// Longest wait for a turn; whoever would wait longer is told to come back.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// First and longest pause of a provider that is busy and does not say for how long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(5 * 60);
/// Providers that are remembered, at about 200 bytes each; beyond, the others share a turn.
const PROVIDERS_MAX: usize = 10_000;

/// The providers that have lately been asked.
#[derive(Default)]
pub(super) struct Pace {
    providers: Mutex<HashMap<Box<str>, Arc<tokio::sync::Mutex<Provider>>>>,
}

struct Provider {
    /// When the next request would be due if all came exactly at the rate.
    due: Instant,
    /// Until when it wants none.
    closed_until: Instant,
    /// How far apart it wants them.
    interval: Duration,
    /// How often in a row it was busy without saying for how long.
    busy: u32,
}

/// The right to make one request; others wait until it is dropped.
pub(super) struct Turn(OwnedMutexGuard<Provider>);

impl Pace {
    /// Waits for the next turn at a provider, of those that are `interval` apart. Fails with the time to wait when that
    /// is long.
    pub async fn turn(&self, provider: &str, interval: Duration) -> Result<Turn, Duration> {
        let mut provider = self.provider(provider, Instant::now()).lock_owned().await;
        let now = Instant::now();
        let start = provider.next(now);
        if start - now > TURN_WAIT_MAX {
            return Err(start - now);
        }
        sleep_until(start).await;
        provider.begin(start, interval);
        Ok(Turn(provider))
    }

    fn provider(&self, name: &str, now: Instant) -> Arc<tokio::sync::Mutex<Provider>> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = name;
        if providers.len() >= PROVIDERS_MAX && !providers.contains_key(name) {
            providers.retain(|_, provider| {
                Arc::strong_count(provider) > 1 || provider.try_lock().is_ok_and(|provider| !provider.is_idle(now))
            });
            if providers.len() >= PROVIDERS_MAX {
                name = "";
            }
        }
        let provider = providers.entry(name.into());
        Arc::clone(provider.or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Provider::new(now)))))
    }
}

impl Provider {
    fn new(now: Instant) -> Provider {
        Provider { due: now, closed_until: now, interval: Duration::ZERO, busy: 0 }
    }

    /// When the next request may begin.
    fn next(&self, now: Instant) -> Instant {
        self.due.checked_sub(EARLY_MAX).unwrap_or(now).max(self.closed_until).max(now)
    }

    /// One begins.
    fn begin(&mut self, start: Instant, interval: Duration) {
        self.due = self.due.max(start) + interval.max(self.interval);
    }

    /// Whether it makes no difference to forget it.
    fn is_idle(&self, now: Instant) -> bool {
        self.due <= now && self.closed_until <= now
    }

    /// Takes to heart what the provider says, and gives the time for which it wants no more requests.
    fn learn(&mut self, told: Told, now: Instant) -> Option<Duration> {
        self.interval = told.interval.unwrap_or_default();
        let doubled = PAUSE_FIRST.saturating_mul(1u32.checked_shl(self.busy).unwrap_or(u32::MAX));
        self.busy = if told.is_busy { self.busy.saturating_add(1) } else { 0 };
        let pause = match told.pause {
            Some(pause) if told.is_busy => pause.max(PAUSE_FIRST),
            None if told.is_busy => doubled.min(PAUSE_LONGEST),
            Some(pause) => pause,
            None => return None,
        };
        self.closed_until = self.closed_until.max(now + pause);
        Some(pause)
    }
}

impl Turn {
    /// Takes to heart what the provider says, and gives the time for which it wants no more requests.
    pub fn learn(&mut self, told: Told) -> Option<Duration> {
        self.0.learn(told, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;

    use super::*;

    const PROVIDER: &str = "host.example.com";
    const INTERVAL: Duration = Duration::from_millis(125);
    const BUSY: Told = Told { pause: None, interval: None, is_busy: true };

    fn pause(seconds: u64) -> Told {
        Told { pause: Some(Duration::from_secs(seconds)), ..Told::default() }
    }

    /// When each of so many requests begins after `now`, in milliseconds, if each takes so long and is answered so; and
    /// when the last one ends.
    fn requests(
        provider: &mut Provider,
        now: Instant,
        told: Told,
        count: u32,
        duration: Duration,
    ) -> (Vec<u128>, Instant) {
        let (start, mut now) = (now, now);
        let mut times = Vec::new();
        for _ in 0..count {
            now = provider.next(now);
            provider.begin(now, INTERVAL);
            times.push((now - start).as_millis());
            now += duration;
            provider.learn(told, now);
        }
        (times, now)
    }

    #[test]
    fn requests_come_at_the_rate_after_a_few_at_once() {
        let start = Instant::now();
        let mut provider = Provider::new(start);
        let (times, now) = requests(&mut provider, start, Told::default(), 7, Duration::ZERO);
        assert_eq!(times, [0, 0, 0, 125, 250, 375, 500]);
        let later = now + Duration::from_secs(3600);
        let (times, now) = requests(&mut provider, later, Told::default(), 5, Duration::ZERO);
        assert_eq!(times, [0, 0, 0, 125, 250], "an hour saves nothing up");
        let later = now + Duration::from_secs(3600);
        let (times, _) = requests(&mut provider, later, Told::default(), 4, Duration::from_secs(1));
        assert_eq!(times, [0, 1000, 2000, 3000], "slow answers");
    }

    #[test]
    fn a_provider_that_wants_fewer_requests_gets_fewer() {
        let start = Instant::now();
        let mut provider = Provider::new(start);
        let slow = Told { interval: Some(Duration::from_secs(2)), ..Told::default() };
        let (times, now) = requests(&mut provider, start, slow, 4, Duration::ZERO);
        assert_eq!(times, [0, 0, 1875, 3875], "known from the first answer on");
        let fast = Told { interval: Some(Duration::ZERO), ..Told::default() };
        let (_, now) = requests(&mut provider, now, fast, 1, Duration::ZERO);
        let (times, _) = requests(&mut provider, now + Duration::from_secs(60), fast, 5, Duration::ZERO);
        assert_eq!(times, [0, 0, 0, 125, 250], "never faster than ours");
    }

    #[test]
    fn a_busy_provider_that_does_not_say_for_how_long_is_left_alone_for_longer_and_longer() {
        let mut now = Instant::now();
        let mut provider = Provider::new(now);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            provider.learn(BUSY, now);
            let next = provider.next(now);
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pauses[39], 300);
        assert_eq!(provider.learn(Told::default(), now), None);
        assert_eq!(provider.learn(BUSY, now), Some(PAUSE_FIRST), "an answer forgives");
    }

    #[test]
    fn a_busy_provider_that_asks_for_no_time_gets_some() {
        let now = Instant::now();
        let told = Told { pause: Some(Duration::ZERO), ..BUSY };
        assert_eq!(Provider::new(now).learn(told, now), Some(PAUSE_FIRST));
    }

    #[test]
    fn a_shorter_pause_does_not_end_a_longer_one() {
        let now = Instant::now();
        let mut provider = Provider::new(now);
        provider.learn(pause(60), now);
        provider.learn(pause(1), now);
        provider.learn(Told::default(), now);
        assert_eq!(provider.next(now), now + Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_provider_has_one_request_at_a_time_and_others_do_not_wait() {
        let pace = Pace::default();
        let turn = pace.turn(PROVIDER, INTERVAL).await.ok().unwrap();
        assert!(pace.turn(PROVIDER, INTERVAL).now_or_never().is_none());
        assert!(pace.turn("other.example.com", INTERVAL).await.is_ok());
        drop(turn);
        assert!(pace.turn(PROVIDER, INTERVAL).await.is_ok());
    }

    #[tokio::test]
    async fn a_long_wait_is_said() {
        let pace = Pace::default();
        pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(pause(3600));
        let refused = pace.turn(PROVIDER, INTERVAL).await.err().unwrap();
        assert!(refused > Duration::from_secs(3000) && refused <= Duration::from_secs(3600), "{refused:?}");
    }

    #[test]
    fn idle_providers_are_forgotten_and_others_are_not() {
        let pace = Pace::default();
        let mut now = Instant::now();
        pace.provider("closed.example.com", now).try_lock().unwrap().learn(pause(3600), now);
        let asked = pace.provider("asked.example.com", now);
        for number in 0..3 * PROVIDERS_MAX {
            now += Duration::from_millis(1);
            pace.provider(&format!("host{number}.example.com"), now).try_lock().unwrap().begin(now, INTERVAL);
            assert!(pace.providers.lock().unwrap().len() <= PROVIDERS_MAX);
        }
        assert!(!pace.provider("closed.example.com", now).try_lock().unwrap().is_idle(now));
        assert!(Arc::ptr_eq(&asked, &pace.provider("asked.example.com", now)));
    }

    #[test]
    fn too_many_providers_that_want_a_pause_share_a_turn() {
        let pace = Pace::default();
        let now = Instant::now();
        for number in 0..PROVIDERS_MAX {
            pace.provider(&format!("host{number}.example.com"), now).try_lock().unwrap().learn(pause(60), now);
        }
        let [one, other] = ["one.example.com", "other.example.com"].map(|name| pace.provider(name, now));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &pace.provider("host1.example.com", now)));
    }
}
