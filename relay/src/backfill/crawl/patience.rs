//! How often a host was waited for at the same account.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backfill::pds::Listed;

/// So often it may be the host's fault; then it may be the account's.
const WAITS_MAX: u32 = 3;

/// By host: the account, and how often.
#[derive(Default)]
pub(super) struct Patience(Mutex<HashMap<String, (String, u32)>>);

impl Patience {
    /// Takes note that a host has to be waited for; says whether it was so often enough.
    pub fn is_over(&self, host: &str, account: &Listed) -> bool {
        let mut waits = self.lock();
        let (at, times) = waits.entry(host.to_owned()).or_default();
        if *at != account.text {
            (*at, *times) = (account.text.clone(), 0);
        }
        *times += 1;
        let is_over = *times > WAITS_MAX;
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
