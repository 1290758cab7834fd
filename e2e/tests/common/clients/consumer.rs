//! Consumers of a firehose that print a line of JSON for each event.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::super::PATIENCE;
use super::{Place, program};

/// A consumer that runs.
pub struct Consumer {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Consumer {
    /// The reference consumer, `@atproto/sync`, which verifies each commit's signature and proof by itself. It reads from
    /// a cursor, 0 for everything.
    pub fn reference(place: &Place, cursor: u64) -> Result<Consumer> {
        let mut command = program("E2E_NETWORK")?;
        command.args(["consumer", "--relay", &place.firehose(), "--plc", &place.plc]);
        Consumer::start(command, cursor)
    }

    /// The Python SDK, which decodes the CAR of each commit.
    pub fn python(place: &Place, cursor: u64) -> Result<Consumer> {
        let mut command = program("E2E_PYTHON")?;
        command.args(["consumer", "--relay", &place.firehose()]);
        Consumer::start(command, cursor)
    }

    fn start(mut command: Command, cursor: u64) -> Result<Consumer> {
        let command = command.args(["--cursor", &cursor.to_string()]).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start the consumer")?;
        let stdout = process.stdout.take().context("the consumer has no output")?;
        Ok(Consumer { _process: process, lines: BufReader::new(stdout).lines() })
    }

    /// The next line; an event that the consumer's own verification refuses is an error.
    pub async fn next(&mut self) -> Result<Value> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.context("no event came")??;
        let event: Value = serde_json::from_str(&line.context("the consumer ended")?)?;
        // A lost connection is a line too; the reference consumer comes back by itself.
        if event["error"].is_string() && event["seq"].is_u64() {
            bail!("the consumer refuses {event}");
        }
        Ok(event)
    }

    /// Events up to the one that is asked for.
    pub async fn read_until(&mut self, what: &str, is_last: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let event = self.next().await.with_context(|| format!("waiting for {what} after {events:#?}"))?;
            if event["seq"].is_u64() {
                let is_last = is_last(&event);
                events.push(event);
                if is_last {
                    return Ok(events);
                }
            }
        }
        bail!("{what} did not come within {PATIENCE:?}; {} other events did", events.len())
    }

    /// Events up to the one with this record key.
    pub async fn read_until_record(&mut self, did: &str, rkey: &str) -> Result<Vec<Value>> {
        let is_it = |event: &Value| event["did"] == did && event["rkey"] == rkey;
        self.read_until(&format!("{did}/{rkey}"), is_it).await
    }
}
