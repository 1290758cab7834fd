//! A relay in a network of its own: the relay's program, the reference PLC directory and reference PDSes, as processes.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::clients::{Place, free_port, program};
use super::pds::Account;
use super::relay::Relay;
use super::{PATIENCE, until};

/// The network, with its relay.
pub struct World {
    pub place: Place,
    pub pds_urls: Vec<String>,
    pub relay: Relay,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _network: Child,
    folder: TempDir,
}

impl World {
    /// Starts all of it, and waits until the relay reads from each of so many PDSes, which have announced themselves.
    pub async fn start(pds_count: usize) -> Result<World> {
        let folder = tempfile::tempdir()?;
        let (listen, plc_port) = (format!("127.0.0.1:{}", free_port()?), free_port()?);

        let data = folder.path().join("network");
        let mut network = program("E2E_NETWORK")?;
        network.args(["network", "--plc-port", &plc_port.to_string(), "--crawlers", &format!("http://{listen}")]);
        network.arg("--data").arg(&data);
        for _ in 0..pds_count {
            network.args(["--pds-port", &free_port()?.to_string()]);
        }
        let mut network = network.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start PDSes")?;
        let commands = network.stdin.take().context("the network takes no commands")?;
        let mut answers = BufReader::new(network.stdout.take().context("the network says nothing")?).lines();
        let ready = answer(&mut answers, "ready plc=").await?;
        let (plc, pds_urls) = ready.split_once(" pds=").context("the network names no PDS")?;

        let world = World {
            place: Place { relay: format!("http://{listen}"), plc: plc.to_owned() },
            pds_urls: pds_urls.split(',').map(str::to_owned).collect(),
            relay: Relay::start_at(&listen, plc).await?,
            commands,
            answers,
            _network: network,
            folder,
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

    /// Gives an account on a PDS, counted from 0, a new signing key, as the PDS's operator would.
    pub async fn rotate_key(&mut self, pds: usize, did: &str) -> Result<()> {
        self.commands.write_all(format!("rotate {} {did}\n", pds + 1).as_bytes()).await?;
        answer(&mut self.answers, &format!("rotated {did}")).await?;
        Ok(())
    }

    /// The confirmation token in the last mail that a PDS, counted from 0, has sent to an account.
    pub fn mailed_token(&self, pds: usize, account: &Account) -> Result<String> {
        let path = self.folder.path().join(format!("network/pds{}/mail.jsonl", pds + 1));
        let mails = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mails: Vec<Value> = mails.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mail = mails.iter().rfind(|mail| mail["to"] == account.email);
        let text = mail.and_then(|mail| mail["text"].as_str()).context("no mail to the account")?;
        let token = text.split_whitespace().find(|word| word.len() == 11 && word.as_bytes()[5] == b'-');
        Ok(token.with_context(|| format!("no token in {text}"))?.to_owned())
    }
}

/// The rest of the first line of this beginning; the PDS's scripts write lines of their own.
async fn answer(lines: &mut Lines<BufReader<ChildStdout>>, beginning: &str) -> Result<String> {
    let find = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(rest) = line.strip_prefix(beginning) {
                return Ok(rest.to_owned());
            }
        }
        bail!("the network ended without {beginning:?}")
    };
    timeout(PATIENCE, find).await.with_context(|| format!("no answer {beginning:?} of the network"))?
}
