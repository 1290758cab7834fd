//! A relay of ours, as a process of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::clients::{free_port, program};
use super::until;

const ADMIN_TOKEN: &str = "end-to-end";

/// A relay that runs.
pub struct Relay {
    /// Where its firehose and queries are.
    pub url: String,
    admin: String,
    process: Child,
    folder: TempDir,
    http: reqwest::Client,
}

impl Relay {
    /// Starts one that reads from no host until it is asked to.
    pub async fn start(plc: &str) -> Result<Relay> {
        Relay::start_at(&format!("127.0.0.1:{}", free_port()?), plc).await
    }

    /// Starts it at an address that others know already.
    pub async fn start_at(listen: &str, plc: &str) -> Result<Relay> {
        let (folder, admin) = (tempfile::tempdir()?, format!("127.0.0.1:{}", free_port()?));
        let log = fs::File::create(folder.path().join("relay.log"))?;
        let process = program("E2E_RELAY")?
            .args(["serve", "--listen", listen, "--admin-listen", &admin, "--admin-token", ADMIN_TOKEN])
            .args(["--plc-url", plc, "--allow-insecure-hosts", "--memory-limit=256Mi", "--data-dir"])
            .arg(folder.path().join("relay"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the relay")?;
        let relay = Relay {
            url: format!("http://{listen}"),
            admin: format!("http://{admin}"),
            process,
            folder,
            http: reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?,
        };
        until("the relay is ready", || async {
            let answer = relay.http.get(format!("{}/readyz", relay.admin)).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await?;
        Ok(relay)
    }

    /// The status document.
    pub async fn status(&self) -> Result<Value> {
        self.admin("status").await
    }

    /// What Prometheus reads.
    pub async fn metrics(&self) -> Result<String> {
        let answer = self.http.get(format!("{}/metrics", self.admin)).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// What the admin API answers.
    pub async fn admin(&self, route: &str) -> Result<Value> {
        let request = self.http.request(Method::GET, format!("{}/admin/{route}", self.admin)).bearer_auth(ADMIN_TOKEN);
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

    /// What it answers to an XRPC query about an account.
    pub async fn ask(&self, method: &str, did: &str) -> Result<(StatusCode, Value)> {
        let url = format!("{}/xrpc/com.atproto.sync.{method}", self.url);
        let answer = self.http.get(url).query(&[("did", did)]).send().await?;
        Ok((answer.status(), serde_json::from_str(&answer.text().await?).unwrap_or_default()))
    }

    /// Where it sends those who want an account's repository.
    pub async fn repo_location(&self, did: &str) -> Result<String> {
        let url = format!("{}/xrpc/com.atproto.sync.getRepo", self.url);
        let answer = self.http.get(url).query(&[("did", did)]).send().await?;
        let location = answer.headers().get("location").with_context(|| format!("no redirect: {}", answer.status()))?;
        Ok(location.to_str()?.to_owned())
    }

    /// `relay backfill` with these arguments; its output, where it ends well.
    pub async fn backfill(&self, arguments: &[&str]) -> Result<String> {
        self.backfill_with(arguments, "").await
    }

    /// The same with something on its standard input.
    pub async fn backfill_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut process = self.command(arguments)?.spawn().context("cannot start relay backfill")?;
        process.stdin.take().context("no standard input")?.write_all(input.as_bytes()).await?;
        let output = process.wait_with_output().await?;
        let (text, errors) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "relay backfill {arguments:?}: {}: {text}{errors}", output.status);
        Ok(text)
    }

    /// `relay backfill` where it should fail: what it says.
    pub async fn backfill_refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?.stdin(Stdio::null()).output().await?;
        if output.status.success() {
            bail!("relay backfill {arguments:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = program("E2E_RELAY")?;
        command.arg("backfill").args(arguments).env("RELAY_ADMIN_URL", &self.admin);
        command.env("RELAY_ADMIN_TOKEN", ADMIN_TOKEN);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    /// A job as it stands.
    pub async fn job(&self, name: &str) -> Result<Value> {
        self.admin(&format!("backfill/jobs/{name}")).await
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("relay.log")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if std::thread::panicking() || matches!(self.process.try_wait(), Ok(Some(_))) {
            eprintln!("--- the relay's log:\n{}", fs::read_to_string(self.log()).unwrap_or_default());
        }
    }
}
