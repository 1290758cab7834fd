//! A network of the reference PLC directory and reference PDSes, as one process.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::PATIENCE;
use super::clients::program;
use super::pds::Account;

/// The network, which goes with its handle.
pub struct Network {
    /// The PLC directory.
    pub plc: String,
    /// The PDSes, as they call themselves.
    pub pds_urls: Vec<String>,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
    folder: TempDir,
}

impl Network {
    /// Starts it with a PDS on each of these ports, and with further arguments of dev/network/network.js.
    pub async fn start(plc_port: u16, pds_ports: &[u16], arguments: &[&str]) -> Result<Network> {
        let folder = tempfile::tempdir()?;
        let mut process = program("E2E_NETWORK")?;
        process.args(["network", "--plc-port", &plc_port.to_string()]).args(arguments);
        process.arg("--data").arg(folder.path());
        for port in pds_ports {
            process.args(["--pds-port", &port.to_string()]);
        }
        let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start PDSes")?;
        let commands = process.stdin.take().context("the network takes no commands")?;
        let mut answers = BufReader::new(process.stdout.take().context("the network says nothing")?).lines();
        let ready = answer(&mut answers, "ready plc=").await?;
        let (plc, pds_urls) = ready.split_once(" pds=").context("the network names no PDS")?;
        let pds_urls = pds_urls.split(',').map(str::to_owned).collect();
        Ok(Network { plc: plc.to_owned(), pds_urls, commands, answers, _process: process, folder })
    }

    /// Gives an account on a PDS, counted from 0, a new signing key, as the PDS's operator would.
    pub async fn rotate_key(&mut self, pds: usize, did: &str) -> Result<()> {
        self.commands.write_all(format!("rotate {} {did}\n", pds + 1).as_bytes()).await?;
        answer(&mut self.answers, &format!("rotated {did}")).await?;
        Ok(())
    }

    /// The confirmation token in the last mail that a PDS, counted from 0, has sent to an account.
    pub fn mailed_token(&self, pds: usize, account: &Account) -> Result<String> {
        let path = self.folder.path().join(format!("pds{}/mail.jsonl", pds + 1));
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
