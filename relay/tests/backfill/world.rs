//! Services that know overlapping parts of a network.

use data_encoding::BASE32_NOPAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sim::Directory;
use sim::directory::Limit;

use crate::jobs::Pairs;

/// Accounts of a page that the services give, of whatever is asked for: it makes many pages of few pairs.
pub const PAGE: usize = 250;

/// The DID of an account that does nothing.
pub fn did(number: usize) -> String {
    let digest = Sha256::digest(format!("account {number}"));
    format!("did:plc:{}", BASE32_NOPAD.encode(&digest[..15]).to_ascii_lowercase())
}

/// The name of a collection.
pub fn collection(number: usize) -> String {
    format!("com.example.backfill.kind{number}")
}

/// Two services, each with three quarters of as many accounts in as many collections.
pub async fn sources(collections: usize, accounts: usize) -> [Directory; 2] {
    let part = |left_out: usize| {
        let accounts = (0..accounts).filter(move |number| number % 4 != left_out);
        accounts.flat_map(move |number| (0..collections).map(move |kind| (did(number + kind), collection(kind))))
    };
    let sources = [Directory::start(part(0)).await, Directory::start(part(1)).await];
    sources.iter().for_each(|source| source.set_limit(Limit::Caps(PAGE)));
    sources
}

/// All that they know together.
pub fn union(sources: &[Directory]) -> Pairs {
    sources.iter().flat_map(Directory::pairs).collect()
}

/// How many pairs they name in all: those that both know twice.
pub fn named(sources: &[Directory]) -> u64 {
    sources.iter().map(|source| source.pairs().len() as u64).sum()
}

/// An import of all that they list, as fast as it goes.
pub fn import(sources: &[Directory]) -> Value {
    let urls: Vec<String> = sources.iter().map(Directory::url).collect();
    json!({
        "kind": "import",
        "sources": urls,
        "collections": { "ofSources": true },
        "requestsPerSecond": 1000,
    })
}
