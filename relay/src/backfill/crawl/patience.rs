//! How often a host was waited for at the same place.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By host: the place, and how often.
#[derive(Default)]
pub(super) struct Patience(Mutex<HashMap<String, (String, u32)>>);

impl Patience {
    /// Takes note that a host has to be waited for at a place; says whether it was so more often than `waits_max`.
    pub fn is_over(&self, host: &str, place: &str, waits_max: u32) -> bool {
        let mut waits = self.lock();
        let (at, times) = waits.entry(host.to_owned()).or_default();
        if *at != place {
            (*at, *times) = (place.to_owned(), 0);
        }
        *times += 1;
        let is_over = *times > waits_max;
        if is_over {
            waits.remove(host);
        }
        is_over
    }

    /// The host goes on.
    pub fn renew(&self, host: &str) {
        self.lock().remove(host);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
