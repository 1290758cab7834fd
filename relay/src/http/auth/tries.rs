//! How often an address may offer a wrong token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::network;

/// Wrong tokens that an address may offer one after the other …
const TRIES: u32 = 10;
/// … and one more after each of these.
const TRY_EVERY: Duration = Duration::from_secs(6);
/// Addresses that are remembered at once. Those beyond are not held back: whoever has so many must not be able to lock
/// everybody out, and a token is too long to be guessed anyway.
const ADDRESSES_MAX: usize = 10_000;

/// For each address that offered a wrong token, when it has all its tries again.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<HashMap<IpAddr, Instant>>);

impl Tries {
    /// How long the address has to wait before its next try; `None` when it may try now.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let all_back_at = *self.lock().get(&network(address))?;
        let one_back_at = all_back_at.checked_sub(TRY_EVERY * (TRIES - 1))?;
        Some(one_back_at.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Notes a wrong token.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let mut known = self.lock();
        if known.len() >= ADDRESSES_MAX {
            known.retain(|_, all_back_at| *all_back_at > now);
        }
        if known.len() < ADDRESSES_MAX {
            let all_back_at = known.entry(network(address)).or_insert(now);
            *all_back_at = (*all_back_at).max(now) + TRY_EVERY;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_too_many_wrong_tokens_and_the_others_do_not() {
        let (tries, start) = (Tries::default(), Instant::now());
        let guesser = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..TRIES {
            assert_eq!(tries.wait(guesser, start), None);
            tries.failed(guesser, start);
        }
        assert_eq!(tries.wait(guesser, start), Some(TRY_EVERY));
        assert_eq!(tries.wait(IpAddr::from([192, 0, 2, 2]), start), None, "another address");
        let later = start + TRY_EVERY;
        assert_eq!(tries.wait(guesser, later), None, "one try is back");
        tries.failed(guesser, later);
        assert_eq!(tries.wait(guesser, later), Some(TRY_EVERY), "and used up");
    }

    #[test]
    fn addresses_are_forgotten_when_they_are_too_many() {
        let (tries, start) = (Tries::default(), Instant::now());
        let address = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        (0..ADDRESSES_MAX).for_each(|number| tries.failed(address(number), start));
        tries.failed(address(ADDRESSES_MAX), start);
        assert_eq!(tries.lock().len(), ADDRESSES_MAX);
        tries.failed(address(ADDRESSES_MAX), start + TRY_EVERY);
        assert_eq!(tries.lock().len(), 1, "those that have all tries again went");
    }
}
