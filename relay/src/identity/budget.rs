//! How many look-ups a host may cause for accounts that are not its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One look-up per interval: a hundredth of what the directory is asked for at most.
const INTERVAL: Duration = Duration::from_millis(200);
/// So many at once, since accounts move in groups.
const BURST: u32 = 50;
/// Hosts that are remembered; those that have been quiet go first.
const HOSTS_MAX: usize = 4096;

/// What each host, by its id, has used of late.
#[derive(Default)]
pub(super) struct Budget {
    /// Look-ups are paid for with time: until then, a host's are paid.
    paid_until: Mutex<HashMap<u32, Instant>>,
}

impl Budget {
    /// Takes one look-up from the budget of a host, if there is one left.
    pub(super) fn take(&self, host: u32, now: Instant) -> bool {
        let mut hosts = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS_MAX && !hosts.contains_key(&host) {
            hosts.retain(|_, until| *until > now);
        }
        let paid_until = hosts.entry(host).or_insert(now);
        let next = (*paid_until).max(now) + INTERVAL;
        let is_left = next <= now + INTERVAL * BURST;
        if is_left {
            *paid_until = next;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_burst_and_then_a_rate_and_others_have_their_own() {
        let budget = Budget::default();
        let now = Instant::now();
        let granted = |host, now| (0..1000).filter(|_| budget.take(host, now)).count();
        assert_eq!(granted(1, now), BURST as usize);
        assert_eq!(granted(1, now + INTERVAL), 1);
        assert_eq!(granted(2, now), BURST as usize, "another host");
        assert_eq!(granted(1, now + INTERVAL * 1000), BURST as usize, "after a while it is as before");
    }

    #[test]
    fn quiet_hosts_are_forgotten() {
        let budget = Budget::default();
        let mut now = Instant::now();
        for host in 0..3 * HOSTS_MAX as u32 {
            assert!(budget.take(host, now));
            now += INTERVAL;
        }
        let remembered = budget.paid_until.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert!(remembered <= HOSTS_MAX, "{remembered}");
    }
}
