//! A whole network: a directory, hosts and accounts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::Account;
use crate::host::Host;
use crate::plc::Plc;

/// A network of which everything that is random follows from one seed.
pub struct Network {
    /// Its directory.
    pub plc: Plc,
    seed: u64,
    accounts: AtomicU64,
}

impl Network {
    /// Starts a network without hosts.
    pub async fn start(seed: u64) -> Network {
        Network { plc: Plc::start().await, seed, accounts: AtomicU64::new(0) }
    }

    /// Makes the next account, on a host.
    pub fn account(&self, host: &Host) -> Account {
        let account = self.unregistered_account();
        self.plc.register(&account, host.name());
        account
    }

    /// Makes the next account, of which the directory does not know.
    pub fn unregistered_account(&self) -> Account {
        Account::new(self.seed, self.accounts.fetch_add(1, Ordering::Relaxed))
    }
}
