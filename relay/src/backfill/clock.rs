//! The time that jobs go by: that of the calendar, for schedules and waits go over restarts.

use std::time::Duration;

#[cfg(test)]
use tokio::sync::watch;

/// A clock; clones show the same time.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    /// The machine's.
    Machine,
    /// One that a test sets, in milliseconds.
    #[cfg(test)]
    Set(watch::Receiver<i64>),
}

/// Longest sleep without a look at the clock, which may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(30);

impl Clock {
    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        match self {
            Clock::Machine => jiff::Timestamp::now().as_millisecond(),
            #[cfg(test)]
            Clock::Set(now_ms) => *now_ms.borrow(),
        }
    }

    /// Waits until then.
    pub(super) async fn sleep_until(&self, at_ms: i64) {
        match self {
            Clock::Machine => loop {
                let left_ms = at_ms.saturating_sub(self.now_ms());
                let Some(left_ms) = u64::try_from(left_ms).ok().filter(|left_ms| *left_ms > 0) else { return };
                tokio::time::sleep(Duration::from_millis(left_ms).min(SLEEP_MAX)).await;
            },
            #[cfg(test)]
            Clock::Set(now_ms) => {
                if now_ms.clone().wait_for(|now_ms| *now_ms >= at_ms).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// A length of time as the clock counts.
pub(super) fn ms(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339.
pub(super) fn written(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| at.to_string()).unwrap_or_default()
}
