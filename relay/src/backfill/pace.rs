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
        let mut provider = self.provider(provider).lock_owned().await;
        let now = Instant::now();
        let interval = interval.max(provider.interval);
        let early = provider.due.checked_sub(EARLY_MAX).unwrap_or(now);
        let start = early.max(provider.closed_until).max(now);
        if start - now > TURN_WAIT_MAX {
            return Err(start - now);
        }
        sleep_until(start).await;
        provider.due = provider.due.max(start) + interval;
        Ok(Turn(provider))
    }

    fn provider(&self, name: &str) -> Arc<tokio::sync::Mutex<Provider>> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = name;
        if providers.len() >= PROVIDERS_MAX && !providers.contains_key(name) {
            let now = Instant::now();
            providers.retain(|_, provider| {
                Arc::strong_count(provider) > 1 || provider.try_lock().is_ok_and(|provider| !provider.is_idle(now))
            });
            if providers.len() >= PROVIDERS_MAX {
                name = "";
            }
        }
        let new = || {
            let now = Instant::now();
            let provider = Provider { due: now, closed_until: now, interval: Duration::ZERO, busy: 0 };
            Arc::new(tokio::sync::Mutex::new(provider))
        };
        Arc::clone(providers.entry(name.into()).or_insert_with(new))
    }
}

impl Provider {
    /// Whether it makes no difference to forget it.
    fn is_idle(&self, now: Instant) -> bool {
        self.due <= now && self.closed_until <= now
    }
}

impl Turn {
    /// Takes to heart what the provider says, and gives the time for which it wants no more requests.
    pub fn learn(&mut self, told: Told) -> Option<Duration> {
        let Turn(provider) = self;
        provider.interval = told.interval.unwrap_or_default();
        let doubled = PAUSE_FIRST.saturating_mul(1u32.checked_shl(provider.busy).unwrap_or(u32::MAX));
        provider.busy = if told.is_busy { provider.busy.saturating_add(1) } else { 0 };
        let pause = match told.pause {
            Some(pause) if told.is_busy => pause.max(PAUSE_FIRST),
            None if told.is_busy => doubled.min(PAUSE_LONGEST),
            Some(pause) => pause,
            None => return None,
        };
        provider.closed_until = provider.closed_until.max(Instant::now() + pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PROVIDER: &str = "host.example.com";
    const INTERVAL: Duration = Duration::from_millis(125);

    fn pause(seconds: u64) -> Told {
        Told { pause: Some(Duration::from_secs(seconds)), ..Told::default() }
    }

    const BUSY: Told = Told { pause: None, interval: None, is_busy: true };

    /// When each of so many requests was made, in milliseconds, if each takes so long.
    async fn times(pace: &Pace, requests: u32, duration: Duration) -> Vec<u128> {
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..requests {
            let turn = pace.turn(PROVIDER, INTERVAL).await.ok().unwrap();
            times.push(start.elapsed().as_millis());
            tokio::time::sleep(duration).await;
            drop(turn);
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn requests_come_at_the_rate_after_a_few_at_once() {
        let pace = Pace::default();
        assert_eq!(times(&pace, 7, Duration::ZERO).await, [0, 0, 0, 125, 250, 375, 500]);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(times(&pace, 5, Duration::ZERO).await, [0, 0, 0, 125, 250], "an hour saves nothing up");
        assert_eq!(times(&Pace::default(), 4, Duration::from_secs(1)).await, [0, 1000, 2000, 3000], "slow answers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_has_one_request_at_a_time_and_others_do_not_wait() {
        let pace = Arc::new(Pace::default());
        let turn = pace.turn(PROVIDER, INTERVAL).await.ok().unwrap();
        let waiting = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move { pace.turn(PROVIDER, INTERVAL).await.is_ok() }
        });
        drop(pace.turn("other.example.com", INTERVAL).await.ok().unwrap());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!waiting.is_finished());
        drop(turn);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_kept_and_a_long_one_is_said() {
        let pace = Pace::default();
        let start = Instant::now();
        assert_eq!(pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(pause(4)), Some(Duration::from_secs(4)));
        pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(pause(3600));
        assert_eq!(start.elapsed(), Duration::from_secs(4));
        let refused = pace.turn(PROVIDER, INTERVAL).await.err();
        assert_eq!(refused, Some(Duration::from_secs(3600)));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(pace.turn(PROVIDER, INTERVAL).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_wants_fewer_requests_gets_fewer() {
        let pace = Pace::default();
        let slow = Told { interval: Some(Duration::from_secs(2)), ..Told::default() };
        let mut times = Vec::new();
        let start = Instant::now();
        for _ in 0..4 {
            pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(slow);
            times.push(start.elapsed().as_millis());
        }
        assert_eq!(times, [0, 0, 1875, 3875], "known from the first answer on");
        pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(Told { interval: Some(Duration::ZERO), ..slow });
        let before = Instant::now();
        for _ in 0..9 {
            pace.turn(PROVIDER, INTERVAL).await.ok().unwrap();
        }
        assert!(before.elapsed() >= INTERVAL * 6, "never faster than ours: {:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_provider_that_does_not_say_for_how_long_is_left_alone_for_longer_and_longer() {
        let pace = Pace::default();
        let mut pauses = Vec::new();
        for _ in 0..11 {
            let mut turn = loop {
                match pace.turn(PROVIDER, INTERVAL).await {
                    Ok(turn) => break turn,
                    Err(wait) => tokio::time::sleep(wait).await,
                }
            };
            pauses.push(turn.learn(BUSY).unwrap().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(Told::default()), None);
        let again = pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(BUSY);
        assert_eq!(again, Some(PAUSE_FIRST), "an answer forgives");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_provider_that_asks_for_no_time_gets_some() {
        let pace = Pace::default();
        let told = Told { pause: Some(Duration::ZERO), ..BUSY };
        assert_eq!(pace.turn(PROVIDER, INTERVAL).await.ok().unwrap().learn(told), Some(PAUSE_FIRST));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_providers_are_forgotten_and_others_are_not() {
        let pace = Pace::default();
        pace.turn("closed.example.com", INTERVAL).await.ok().unwrap().learn(pause(3600));
        for number in 0..3 * PROVIDERS_MAX {
            drop(pace.turn(&format!("host{number}.example.com"), INTERVAL).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(pace.providers.lock().unwrap().len() <= PROVIDERS_MAX + 1);
        }
        assert!(pace.turn("closed.example.com", INTERVAL).await.is_err());
    }
}
