//! What the configuration asks for.

use std::fmt;

use super::parts::{CONSUMERS, HOSTS};
use crate::memory::Owner;

/// What the configuration asks for; `None` is as much as fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Streams of hosts at once.
    pub hosts: Option<u64>,
    /// Consumers at once.
    pub consumers: Option<u64>,
    /// Bytes of the identity cache.
    pub identities: Option<u64>,
    /// Bytes of RocksDB's block cache.
    pub block_cache: Option<u64>,
}

/// A setting that asks for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Streams of hosts at once.
    MaxHosts(u64),
    /// Consumers at once.
    MaxConsumers(u64),
    /// Bytes of the identity cache.
    IdentityCache(u64),
    /// Bytes of RocksDB's block cache.
    BlockCache(u64),
}

impl Needs {
    /// The settings that ask for something.
    pub(super) fn settings(&self) -> impl Iterator<Item = Setting> + use<> {
        let Needs { hosts, consumers, identities, block_cache } = *self;
        let settings = [
            hosts.map(Setting::MaxHosts),
            consumers.map(Setting::MaxConsumers),
            identities.map(Setting::IdentityCache),
            block_cache.map(Setting::BlockCache),
        ];
        settings.into_iter().flatten()
    }

    /// The setting that asks for a share of `owner`.
    pub(super) fn setting_of(&self, owner: Owner) -> Option<Setting> {
        self.settings().find(|setting| setting.owner() == owner)
    }
}

impl Setting {
    /// Whose share it sets.
    pub(super) fn owner(self) -> Owner {
        match self {
            Setting::MaxHosts(_) => Owner::Hosts,
            Setting::MaxConsumers(_) => Owner::Consumers,
            Setting::IdentityCache(_) => Owner::Identities,
            Setting::BlockCache(_) => Owner::BlockCache,
        }
    }

    /// The share that it asks for, in bytes.
    pub(super) fn share(self) -> u64 {
        match self {
            Setting::MaxHosts(count) => HOSTS.share(count),
            Setting::MaxConsumers(count) => CONSUMERS.share(count),
            Setting::IdentityCache(bytes) | Setting::BlockCache(bytes) => bytes,
        }
    }

    /// The same setting, with the largest value for which a share is enough; bytes in whole MiB.
    pub(super) fn within(self, share: u64) -> Setting {
        let whole_mib = share >> 20 << 20;
        match self {
            Setting::MaxHosts(_) => Setting::MaxHosts(HOSTS.count(share)),
            Setting::MaxConsumers(_) => Setting::MaxConsumers(CONSUMERS.count(share)),
            Setting::IdentityCache(_) => Setting::IdentityCache(whole_mib),
            Setting::BlockCache(_) => Setting::BlockCache(whole_mib),
        }
    }

    /// Its key in the configuration.
    pub(super) fn key(self) -> &'static str {
        match self {
            Setting::MaxHosts(_) => "max-hosts",
            Setting::MaxConsumers(_) => "max-consumers",
            Setting::IdentityCache(_) => "identity-cache",
            Setting::BlockCache(_) => "block-cache",
        }
    }
}

impl fmt::Display for Setting {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Setting::MaxHosts(count) | Setting::MaxConsumers(count) => write!(f, "{} = {count}", self.key()),
            Setting::IdentityCache(bytes) | Setting::BlockCache(bytes) if bytes % (1 << 20) == 0 => {
                write!(f, "{} = \"{}Mi\"", self.key(), bytes >> 20)
            }
            Setting::IdentityCache(bytes) | Setting::BlockCache(bytes) => write!(f, "{} = {bytes}", self.key()),
        }
    }
}
