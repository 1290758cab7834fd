//! `tap` of the reference implementation: finds all repositories by the relay's listRepos, fetches them from where getRepo
//! leads, then follows the firehose, and verifies everything.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::timeout;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::super::{PATIENCE, until};
use super::{Place, free_port, program};

/// A tap that runs.
pub struct Tap {
    _process: Child,
    _folder: tempfile::TempDir,
    channel: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Tap {
    /// Starts it for the whole network.
    pub async fn start(place: &Place) -> Result<Tap> {
        let folder = tempfile::tempdir()?;
        let bind = format!("127.0.0.1:{}", free_port()?);
        let process = program("E2E_TAP")?
            .args(["run", "--full-network", "--disable-acks", "--bind", &bind])
            .args(["--db-url", &format!("sqlite://{}", folder.path().join("tap.db").display())])
            .args(["--plc-url", &place.plc, "--relay-url", &place.relay])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start tap")?;
        let url = format!("ws://{bind}/channel");
        let connect = || async { Ok(Some(tokio_tungstenite::connect_async(&url).await?.0)) };
        let channel = until("tap listens", connect).await?;
        Ok(Tap { _process: process, _folder: folder, channel })
    }

    /// The next change of a record.
    pub async fn next(&mut self) -> Result<Value> {
        let find = async {
            while let Some(message) = self.channel.next().await {
                let Ok(mut message) = serde_json::from_slice::<Value>(&message?.into_data()) else { continue };
                if message["type"] == "record" {
                    return Ok(message["record"].take());
                }
            }
            bail!("tap closed its channel")
        };
        timeout(PATIENCE, find).await.context("tap delivered nothing more")?
    }

    /// Reads until it delivers the record, and gives that change.
    pub async fn wait_for(&mut self, did: &str, rkey: &str) -> Result<Value> {
        loop {
            let change = self.next().await.with_context(|| format!("waiting for {did}/{rkey}"))?;
            if change["did"] == did && change["rkey"] == rkey {
                return Ok(change);
            }
        }
    }
}
