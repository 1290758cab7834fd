//! A relay in a network of its own: the relay's program, the reference PLC directory and reference PDSes, as processes.

use anyhow::Result;

use super::clients::{Place, free_port};
use super::network::Network;
use super::pds::Account;
use super::relay::Relay;
use super::until;

/// The network, with its relay.
pub struct World {
    pub place: Place,
    pub pds_urls: Vec<String>,
    pub relay: Relay,
    pub network: Network,
}

impl World {
    /// Starts all of it, and waits until the relay reads from each of so many PDSes, which have announced themselves.
    pub async fn start(pds_count: usize) -> Result<World> {
        let (listen, plc_port) = (format!("127.0.0.1:{}", free_port()?), free_port()?);
        let pds_ports = (0..pds_count).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let network = Network::start(plc_port, &pds_ports, &["--crawlers", &format!("http://{listen}")]).await?;
        let world = World {
            place: Place { relay: format!("http://{listen}"), plc: network.plc.clone() },
            pds_urls: network.pds_urls.clone(),
            relay: Relay::start_at(&listen, &network.plc).await?,
            network,
        };
        world.until_it_reads_everywhere().await?;
        Ok(world)
    }

    async fn until_it_reads_everywhere(&self) -> Result<()> {
        // A PDS announces itself when something happens there.
        for pds in &self.pds_urls {
            Account::create(pds).await?;
        }
        let count = self.pds_urls.len();
        until(&format!("the relay reads from {count} PDSes"), || async {
            Ok((self.relay.status().await?["hosts"]["connected"] == count).then_some(()))
        })
        .await
    }
}
