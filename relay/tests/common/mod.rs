//! What the stories of the integration tests have in common: a simulated network, and the real relay in it.

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "every test file uses a part")]

pub mod load;
pub mod schema;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sim::process::Setup;
use sim::{Account, Consumer, Delivered, Host, Network, Received, Relay, Sent};

/// A network with one relay.
pub struct World {
    pub network: Network,
    pub relay: Relay,
    folder: tempfile::TempDir,
}

impl World {
    /// A relay with these settings besides the usual ones, in a network of its own.
    pub async fn new(seed: u64, settings: &[&str]) -> World {
        let network = Network::start(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup::new(env!("CARGO_BIN_EXE_relay"), &folder.path().join("data"), &network.plc, settings);
        World { relay: Relay::start(setup).await, network, folder }
    }

    /// A host that the relay reads from.
    pub async fn host(&self) -> Host {
        let host = Host::start().await;
        self.relay.crawl(&host).await;
        host
    }

    /// An account on a host.
    pub fn account(&self, host: &Host) -> Account {
        self.network.account(host)
    }

    /// The relay's data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Stops the relay while a consumer listens, which gets a close frame.
    pub async fn stop(&mut self, consumer: &mut Consumer) {
        let (exit, close) = tokio::join!(self.relay.terminate(), consumer.next());
        assert!(exit.success(), "SIGTERM ends with exit code 0");
        assert_eq!(close, Received::Closed(Some(1012)), "consumers are closed properly");
    }

    /// How many events were dropped, by reason.
    pub async fn dropped(&self) -> BTreeMap<String, u64> {
        let status = self.relay.status().await;
        serde_json::from_value(status["events"]["droppedByReason"].clone()).unwrap()
    }

    /// Waits until the directory was asked for an account.
    pub async fn until_requested(&self, account: &Account) {
        let requested = async || {
            while self.network.plc.requests_for(&account.did) == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), requested()).await;
        assert!(in_time.is_ok(), "the directory was not asked for {}", account.did);
    }

    /// Waits until so many events were dropped for a reason.
    pub async fn until_dropped(&self, reason: &str, count: u64) {
        let dropped = async || {
            while self.relay.dropped(reason).await < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), dropped()).await;
        assert!(in_time.is_ok(), "{count} events dropped for {reason}, but: {:?}", self.dropped().await);
    }
}

/// Checks that the events are these, in this order, in all but the seq.
#[track_caller]
pub fn assert_delivered<'a>(delivered: &[Delivered], sent: impl IntoIterator<Item = &'a Sent>, what: &str) {
    let delivered: Vec<Vec<u8>> = delivered.iter().map(Delivered::content).collect();
    let sent: Vec<Vec<u8>> = sent.into_iter().map(Sent::content).collect();
    assert!(
        delivered == sent,
        "{what}: {} events delivered, {} sent, or in another order",
        delivered.len(),
        sent.len()
    );
}
