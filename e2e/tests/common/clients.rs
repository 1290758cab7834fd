//! Consumers of the firehose that nobody here wrote, as child processes.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::{Cluster, PATIENCE, env, until};

/// The reference consumer, `@atproto/sync`, which verifies each commit's signature and proof by itself.
pub struct Reference {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reference {
    /// Reads the relay's firehose from a cursor, 0 for everything.
    pub fn start(cluster: &Cluster, cursor: u64) -> Result<Reference> {
        let mut process = Command::new(env("E2E_NETWORK")?)
            .args(["consumer", "--relay", &cluster.firehose_url(), "--plc", &cluster.plc_url])
            .args(["--cursor", &cursor.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the reference consumer")?;
        let stdout = process.stdout.take().context("the consumer has no output")?;
        Ok(Reference { _process: process, lines: BufReader::new(stdout).lines() })
    }

    /// The next event; an event that the consumer's own verification refuses is an error.
    pub async fn next(&mut self) -> Result<Value> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.context("no event came")??;
        let event: Value = serde_json::from_str(&line.context("the consumer ended")?)?;
        // A lost connection is a line too; the consumer comes back by itself.
        if event["error"].is_string() && event["seq"].is_u64() {
            bail!("the reference consumer refuses {event}");
        }
        Ok(event)
    }

    /// Events up to the one with this record key.
    pub async fn read_until(&mut self, did: &str, rkey: &str) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let event = self.next().await?;
            let is_last = event["did"] == did && event["rkey"] == rkey;
            if event["seq"].is_u64() {
                events.push(event);
            }
            if is_last {
                return Ok(events);
            }
        }
        bail!("{did}/{rkey} did not come within {PATIENCE:?}; {} other events did", events.len())
    }
}

/// `tap` of the reference implementation: finds all repositories by the relay's listRepos, fetches them from where
/// getRepo leads, then follows the firehose, and verifies everything.
pub struct Tap {
    _process: Child,
    _folder: tempfile::TempDir,
    url: String,
}

impl Tap {
    /// Starts it for the whole network.
    pub async fn start(cluster: &Cluster, port: u16) -> Result<Tap> {
        let folder = tempfile::tempdir()?;
        let bind = format!("127.0.0.1:{port}");
        let process = Command::new(env("E2E_TAP")?)
            .args(["run", "--full-network", "--disable-acks", "--bind", &bind])
            .args(["--db-url", &format!("sqlite://{}", folder.path().join("tap.db").display())])
            .args(["--plc-url", &cluster.plc_url, "--relay-url", &cluster.relay_url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start tap")?;
        let tap = Tap { _process: process, _folder: folder, url: format!("ws://{bind}/channel") };
        until("tap listens", || async { Ok(Some(tokio::net::TcpStream::connect(&bind).await?)) }).await?;
        Ok(tap)
    }

    /// Reads its channel until it delivers the record, and gives that message.
    pub async fn wait_for(&self, did: &str, rkey: &str) -> Result<Value> {
        let (mut channel, _) = tokio_tungstenite::connect_async(&self.url).await?;
        let find = async {
            while let Some(message) = channel.next().await {
                let Ok(message) = serde_json::from_slice::<Value>(&message?.into_data()) else { continue };
                if message["record"]["did"] == did && message["record"]["rkey"] == rkey {
                    return Ok(message);
                }
            }
            bail!("tap closed its channel")
        };
        let waited = Duration::from_secs(PATIENCE.as_secs());
        timeout(waited, find).await.with_context(|| format!("tap did not deliver {did}/{rkey}"))?
    }
}
