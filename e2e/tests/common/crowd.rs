//! A network that wants more memory than a relay has, and consumers who want it too.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};
use tokio::time::{sleep, timeout};

use super::Cluster;
use super::clients::program;

/// The process of the network that wants too much.
pub struct Crowd {
    _process: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// A PLC directory that knows everyone, a tenth of them by a megabyte.
    pub plc: String,
    /// What answers `listHosts` and `listReposByCollection`.
    pub lists: String,
}

impl Crowd {
    pub async fn start(cluster: &Cluster, seconds: u64) -> Result<Crowd> {
        let mut command = program("E2E_CROWD")?;
        command.args(["--ip", &cluster.node_ip, "--seconds", &seconds.to_string(), "--plc", &cluster.place.plc]);
        let mut process = command.stdout(Stdio::piped()).spawn().context("cannot start the crowd")?;
        let mut output = BufReader::new(process.stdout.take().context("the crowd has no output")?).lines();
        let first = timeout(Duration::from_secs(120), output.next_line()).await.context("the crowd is not ready")??;
        let first = first.context("the crowd has ended")?;
        let places = first.strip_prefix("ready plc=").and_then(|rest| rest.split_once(" lists="));
        let (plc, lists) = places.with_context(|| format!("the crowd says {first:?}"))?;
        Ok(Crowd { plc: plc.to_owned(), lists: lists.to_owned(), _process: process, output })
    }

    /// Waits until it has sent everything; says what it says.
    pub async fn sent(&mut self, patience: Duration) -> Result<String> {
        let line = timeout(patience, self.output.next_line()).await.context("the crowd has not sent everything")??;
        line.context("the crowd has ended")
    }
}

/// Subscribes to everything from the start, and reads as little as told, until the connection goes.
async fn read_slowly(address: String, bytes_per_second: usize) -> Result<()> {
    let mut tcp = TcpStream::connect(&address).await?;
    let request = format!(
        "GET /xrpc/com.atproto.sync.subscribeRepos?cursor=0 HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZW5kLXRvLWVuZC10ZXN0IQ==\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await?;
    let mut piece = vec![0; bytes_per_second.max(1)];
    loop {
        sleep(Duration::from_secs(1)).await;
        if bytes_per_second > 0 && tcp.read(&mut piece).await? == 0 {
            return Ok(());
        }
    }
}

/// The same, again and again: a relay cuts those who are too slow.
pub async fn keep_reading_slowly(address: String, bytes_per_second: usize) {
    loop {
        let _ = read_slowly(address.clone(), bytes_per_second).await;
        sleep(Duration::from_secs(5)).await;
    }
}
