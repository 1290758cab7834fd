//! What stands between a relay and its consumers in the reference implementation: `rainbow`, which fans the firehose out, and
//! `collectiondir`, which knows who has records of a collection.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::super::until;
use super::{Place, free_port, program};

const ADMIN_TOKEN: &str = "end-to-end";

/// A service that runs, on a port of its own.
pub struct Service {
    variable: &'static str,
    arguments: Vec<String>,
    process: Child,
    folder: TempDir,
    http: reqwest::Client,
    /// Where it listens.
    pub url: String,
}

impl Service {
    /// Starts `collectiondir`, which reads the firehose from now on, and lists collections however few have them.
    pub async fn collectiondir(place: &Place) -> Result<Service> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let days = path("days");
        fs::create_dir(&days)?;
        let files = ["serve", "--pebble", &path("pebble"), "--dau-directory", &days];
        let settings = ["--upstream", &place.firehose(), "--clist-min-dids", "1", "--admin-token", ADMIN_TOKEN];
        let arguments = [&files[..], &settings].concat();
        Service::start("E2E_COLLECTIONDIR", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>(), folder).await
    }

    /// Makes a collectiondir ask a PDS for all that it has, which it then does by itself.
    pub async fn crawl(&self, pds: &str) -> Result<()> {
        let request = self.http.post(format!("{}/admin/pds/requestCrawl", self.url)).bearer_auth(ADMIN_TOKEN);
        request.json(&json!({ "hostname": pds })).send().await?.error_for_status()?;
        Ok(())
    }

    /// Starts `rainbow`, which reads the firehose from its beginning, and hands on what is asked of a collectiondir.
    pub async fn rainbow(place: &Place, collectiondir: &Service) -> Result<Service> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("cursor"), "0")?;
        let upstream = ["--upstream-host", &place.relay, "--collectiondir-host", &collectiondir.url];
        let files = ["--persist-db", &path("pebble"), "--cursor-file", &path("cursor")];
        let arguments = [upstream, files].concat();
        Service::start("E2E_RAINBOW", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>(), folder).await
    }

    async fn start(variable: &'static str, arguments: &[String], folder: TempDir) -> Result<Service> {
        let (listen, metrics) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
        let ports = ["--api-listen", &listen, "--metrics-listen", &metrics].map(str::to_owned);
        let arguments = [arguments, &ports].concat();
        let mut service = Service {
            variable,
            process: spawn(variable, &arguments, &folder)?,
            arguments,
            folder,
            http: reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?,
            url: format!("http://{listen}"),
        };
        service.until_it_answers().await?;
        Ok(service)
    }

    async fn until_it_answers(&mut self) -> Result<()> {
        let (http, url) = (&self.http, format!("{}/_health", self.url));
        until(&format!("{} answers", self.variable), || async { Ok(Some(http.get(&url).send().await?)) }).await?;
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> Result<()> {
        let id = self.process.id().context("it has ended by itself")?;
        let asked = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        let ended = self.process.wait().await?;
        if !asked.success() || !ended.success() {
            bail!("{} did not stop by itself: {ended}", self.variable);
        }
        Ok(())
    }

    /// Starts it again with the files that it left.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = spawn(self.variable, &self.arguments, &self.folder)?;
        self.until_it_answers().await
    }

    /// Asks an XRPC query; redirects are not followed.
    pub async fn query(&self, method: &str, parameters: &[(&str, &str)]) -> Result<(StatusCode, Value)> {
        let answer = self.http.get(format!("{}/xrpc/{method}", self.url)).query(parameters).send().await?;
        Ok((answer.status(), serde_json::from_str(&answer.text().await?).unwrap_or_default()))
    }

    /// Waits until it lists exactly these accounts for a collection.
    pub async fn until_listed(&self, collection: &str, dids: &[&str]) -> Result<()> {
        let mut wanted = dids.to_vec();
        wanted.sort_unstable();
        until(&format!("it lists {wanted:?} for {collection}"), || async {
            let method = "com.atproto.sync.listReposByCollection";
            let (status, answer) = self.query(method, &[("collection", collection)]).await?;
            let repos = answer["repos"].as_array().with_context(|| format!("{status}: {answer}"))?;
            let mut listed: Vec<&str> = repos.iter().filter_map(|repo| repo["did"].as_str()).collect();
            listed.sort_unstable();
            if listed != wanted { bail!("it lists {listed:?}") } else { Ok(Some(())) }
        })
        .await
    }
}

fn spawn(variable: &str, arguments: &[String], folder: &TempDir) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(folder.path().join("log"))?;
    let mut command = program(variable)?;
    let command = command.args(arguments).current_dir(folder.path()).stdout(Stdio::null()).stderr(log);
    command.spawn().with_context(|| format!("cannot start {variable}"))
}
