//! `tap` of the reference implementation: finds all repositories by the relay's listRepos, or those with a collection by its
//! listReposByCollection, fetches them from where getRepo leads, then follows the firehose, and verifies everything.

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
    http: reqwest::Client,
    url: String,
}

impl Tap {
    /// Starts it for the whole network.
    pub async fn start(place: &Place) -> Result<Tap> {
        Tap::start_for(place, &["--full-network"]).await
    }

    /// Starts it for the accounts with records of a collection, which it finds by `listReposByCollection`.
    pub async fn of_collection(place: &Place, collection: &str) -> Result<Tap> {
        Tap::start_for(place, &["--signal-collection", collection]).await
    }

    async fn start_for(place: &Place, what: &[&str]) -> Result<Tap> {
        let folder = tempfile::tempdir()?;
        let bind = format!("127.0.0.1:{}", free_port()?);
        let process = program("E2E_TAP")?
            .arg("run")
            .args(what)
            .args(["--disable-acks", "--bind", &bind])
            .args(["--db-url", &format!("sqlite://{}", folder.path().join("tap.db").display())])
            .args(["--plc-url", &place.plc, "--relay-url", &place.relay])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start tap")?;
        let url = format!("ws://{bind}/channel");
        let connect = || async { Ok(Some(tokio_tungstenite::connect_async(&url).await?.0)) };
        let channel = until("tap listens", connect).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Tap { _process: process, _folder: folder, channel, http, url: format!("http://{bind}") })
    }

    /// How many accounts it follows.
    pub async fn repo_count(&self) -> Result<u64> {
        let answer = self.http.get(format!("{}/stats/repo-count", self.url)).send().await?.error_for_status()?;
        answer.json::<Value>().await?["repo_count"].as_u64().context("no number of repositories")
    }

    /// Whether it follows an account.
    pub async fn follows(&self, did: &str) -> Result<bool> {
        let answer = self.http.get(format!("{}/info/{did}", self.url)).send().await?;
        Ok(answer.status().is_success())
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
