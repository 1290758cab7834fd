//! A relay in a network of its own: the relay's program, the reference PLC directory and reference PDSes, as processes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::clients::{Place, free_port, program};
use super::pds::Account;
use super::{PATIENCE, until};

const ADMIN_TOKEN: &str = "end-to-end";

/// The network, with its relay.
pub struct World {
    pub place: Place,
    pub pds_urls: Vec<String>,
    admin: String,
    http: reqwest::Client,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    relay: Child,
    _network: Child,
    folder: TempDir,
}

impl World {
    /// Starts all of it, and waits until the relay reads from each of so many PDSes, which have announced themselves.
    pub async fn start(pds_count: usize) -> Result<World> {
        let folder = tempfile::tempdir()?;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let (listen, admin, plc_port) = (address(free_port()?), address(free_port()?), free_port()?);

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

        let log = File::create(folder.path().join("relay.log"))?;
        let relay = program("E2E_RELAY")?
            .args(["serve", "--listen", &listen, "--admin-listen", &admin, "--admin-token", ADMIN_TOKEN])
            .args(["--plc-url", plc, "--allow-insecure-hosts", "--memory-limit=256Mi", "--data-dir"])
            .arg(folder.path().join("relay"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the relay")?;
        let mut world = World {
            place: Place { relay: format!("http://{listen}"), plc: plc.to_owned() },
            pds_urls: pds_urls.split(',').map(str::to_owned).collect(),
            admin: format!("http://{admin}"),
            http: reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?,
            commands,
            answers,
            relay,
            _network: network,
            folder,
        };
        world.until_it_reads_everywhere().await?;
        Ok(world)
    }

    async fn until_it_reads_everywhere(&mut self) -> Result<()> {
        until("the relay is ready", || async {
            let answer = self.http.get(format!("{}/readyz", self.admin)).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await?;
        // A PDS announces itself when something happens there.
        for pds in &self.pds_urls {
            Account::create(pds).await?;
        }
        let count = self.pds_urls.len();
        until(&format!("the relay reads from {count} PDSes"), || async {
            Ok((self.status().await?["hosts"]["connected"] == count).then_some(()))
        })
        .await
    }

    /// The relay's status document.
    pub async fn status(&self) -> Result<Value> {
        self.admin("status").await
    }

    /// What the admin API answers.
    pub async fn admin(&self, route: &str) -> Result<Value> {
        let request = self.http.get(format!("{}/admin/{route}", self.admin)).bearer_auth(ADMIN_TOKEN);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Waits until a consumer of the firehose calls itself so.
    pub async fn until_consumed_by(&self, user_agent: &str) -> Result<()> {
        until(&format!("{user_agent} reads the firehose"), || async {
            let consumers = self.admin("consumers/list").await?;
            let consumers = consumers.as_array().context("no list of consumers")?;
            let is_there = |consumer: &Value| consumer["user_agent"].as_str().is_some_and(|it| it.contains(user_agent));
            Ok(consumers.iter().any(is_there).then_some(()))
        })
        .await
    }

    /// What the relay answers to an XRPC query about an account.
    pub async fn ask(&self, method: &str, did: &str) -> Result<(StatusCode, Value)> {
        let url = format!("{}/xrpc/com.atproto.sync.{method}", self.place.relay);
        let answer = self.http.get(url).query(&[("did", did)]).send().await?;
        Ok((answer.status(), serde_json::from_str(&answer.text().await?).unwrap_or_default()))
    }

    /// Where the relay sends those who want an account's repository.
    pub async fn repo_location(&self, did: &str) -> Result<String> {
        let url = format!("{}/xrpc/com.atproto.sync.getRepo", self.place.relay);
        let answer = self.http.get(url).query(&[("did", did)]).send().await?;
        let location = answer.headers().get("location").with_context(|| format!("no redirect: {}", answer.status()))?;
        Ok(location.to_str()?.to_owned())
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

    fn log(&self) -> PathBuf {
        self.folder.path().join("relay.log")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || matches!(self.relay.try_wait(), Ok(Some(_))) {
            eprintln!("--- the relay's log:\n{}", fs::read_to_string(self.log()).unwrap_or_default());
        }
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
