//! The relay of indigo, built from its Go module, as the operator runs it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::sleep;

use super::common::clients::consumer::Consumer;
use super::common::clients::{Place, free_port};
use super::common::deployed::Deployed;
use super::common::names::Names;
use super::common::network::Network;
use super::common::pds::Account;
use super::common::{Cluster, env, until, until_within};

const NAME: &str = "e2e-indigo";
/// A host of indigo's has a DNS name without a port, and a public address where the relay asks whether it is a PDS. The
/// cluster's network has no way out, so any address can be one of its node: this is of a block (RFC 7535) whose servers
/// answer what nobody else is responsible for.
const PDS_NAME: &str = "pds.indigo.test";
const PDS_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 31, 196, 1);
const POSTS: &str = "app.bsky.feed.post";

/// Consumers that are connected at once. Each costs the relay some 40 KiB.
const CONSUMERS: usize = 3500;
/// How long it may take until the operator has seen them for long enough, and the pod has gone.
const EVICTED: Duration = Duration::from_secs(240);

/// indigo's relay and its directory in the cluster.
struct Indigo<'a> {
    cluster: &'a Cluster,
    relay: Deployed<'a>,
    network: Network,
    /// The PDS, as the test reaches it.
    pds: String,
    http: reqwest::Client,
    _names: Names,
}

#[tokio::test]
async fn the_relay_of_indigo_delivers_lists_collections_and_is_evicted_before_it_is_killed() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let own = format!("{PDS_ADDRESS}/32");
    let added = Command::new("ip").args(["address", "replace", &own, "dev", "node0"]).status().await?;
    ensure!(added.success(), "the node does not get the address {own}");
    let host = PDS_ADDRESS.to_string();
    let network = Network::start(free_port()?, &[80], &["--host", &host, "--name", PDS_NAME]).await?;
    let spec = json!({
        "implementation": "Indigo",
        "hostname": "indigo.test",
        "image": image("E2E_INDIGO_IMAGE")?,
        "memory": { "request": "128Mi", "limit": "256Mi", "softPercent": 50, "hardPercent": 55 },
        "storage": { "size": "1Gi" },
        "plcURL": network.plc,
        "upstream": { "allowInsecureHosts": true },
        "collections": { "image": image("E2E_COLLECTIONDIR_IMAGE")? },
    });
    let indigo = Indigo {
        cluster: &cluster,
        relay: Deployed::create(&cluster, NAME, spec).await?,
        network,
        pds: format!("http://{PDS_ADDRESS}"),
        http: reqwest::Client::builder().no_proxy().build()?,
        _names: Names::serve(&cluster.node_ip, PDS_NAME, PDS_ADDRESS).await?,
    };
    indigo.relay.telling(indigo.story()).await?;
    indigo.relay.delete().await
}

fn image(variable: &str) -> Result<Value> {
    let image = env(variable)?;
    let (repository, tag) = image.rsplit_once(':').with_context(|| format!("{variable} has no tag"))?;
    Ok(json!({ "repository": repository, "tag": tag }))
}

impl Indigo<'_> {
    async fn story(&self) -> Result<()> {
        self.cluster.wait_for_condition(NAME, "WorkloadReady").await?;
        let supported = self.relay.condition("SpecSupported").await?;
        ensure!(supported["status"] == "True", "{supported}");
        self.announces_itself().await?;
        self.post_arrives(0).await?;
        self.is_seen_to_deliver().await?;
        self.directory_lists_it().await?;
        let last = self.evicted_for_its_memory().await?;
        self.post_arrives(last).await?;
        let sets: Api<StatefulSet> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let generation = sets.get(NAME).await?.metadata.generation;
        ensure!(generation == Some(1), "the StatefulSet was written again: generation {generation:?}");
        Ok(())
    }

    /// Where the relay's Service has a port.
    async fn url(&self, port: &str) -> Result<String> {
        let services: Api<Service> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let spec = services.get(NAME).await?.spec.context("a Service without a spec")?;
        let number = spec.ports.iter().flatten().find(|found| found.name.as_deref() == Some(port));
        let number = number.with_context(|| format!("the Service has no port {port}"))?.port;
        Ok(format!("http://{}:{number}", spec.cluster_ip.context("the Service has no address")?))
    }

    /// The PDS becomes a host by what every PDS does.
    async fn announces_itself(&self) -> Result<()> {
        let url = format!("{}/xrpc/com.atproto.sync.requestCrawl", self.url("firehose").await?);
        let body = json!({ "hostname": self.network.pds_urls[0] });
        until("the relay takes the PDS", || async {
            let answer = self.http.post(&url).json(&body).send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            ensure!(status.is_success(), "{status}: {text}");
            Ok(Some(()))
        })
        .await
    }

    /// A post on the PDS arrives at a consumer that reads from `cursor` on; its seq.
    async fn post_arrives(&self, cursor: u64) -> Result<u64> {
        let place = Place { relay: self.url("firehose").await?, plc: self.network.plc.clone() };
        let mut consumer = Consumer::reference(&place, cursor)?;
        let account = Account::create(&self.pds).await?;
        let post = account.post("From here to everywhere.").await?;
        let events = consumer.read_until_record(&account.did, &post.rkey).await?;
        let seen = events.last().context("no event")?;
        ensure!((&seen["cid"], &seen["rev"]) == (&json!(post.cid), &json!(post.rev)), "another post: {seen}");
        let seq = seen["seq"].as_u64().context("an event without a seq")?;
        ensure!(seq > cursor, "{seq} is not after {cursor}");
        Ok(seq)
    }

    /// While there are posts, the operator says that the relay delivers, and that it is ready.
    async fn is_seen_to_deliver(&self) -> Result<()> {
        let account = Account::create(&self.pds).await?;
        until("the operator says so", || async {
            account.post("Another one.").await?;
            sleep(Duration::from_secs(1)).await;
            let conditions = [self.relay.condition("Delivering").await?, self.relay.condition("Ready").await?];
            ensure!(conditions.iter().all(|found| found["reason"] == "Delivering"), "{conditions:?}");
            Ok(Some(()))
        })
        .await
    }

    /// What the directory has seen on the firehose, and what it was sent to ask a PDS for, it lists.
    async fn directory_lists_it(&self) -> Result<()> {
        let password = self.secret("token").await?;
        let consumers = format!("{}/admin/consumers/list", self.url("firehose").await?);
        until("the directory reads the firehose", || async {
            let request = self.http.get(&consumers).basic_auth("admin", Some(&password));
            let list = request.send().await?.error_for_status()?.text().await?;
            Ok(list.contains("collectiondir").then_some(()))
        })
        .await?;
        let account = Account::create(&self.pds).await?;
        account.post("To be listed.").await?;
        self.until_listed(POSTS, &account.did).await?;

        let note = "com.example.unseen";
        let quiet = Account::create(&self.pds).await?;
        quiet.note(note).await?;
        let crawl = format!("{}/admin/pds/requestCrawl", self.url("collections").await?);
        let crawl = || self.http.post(&crawl).json(&json!({ "hostname": self.network.pds_urls[0] }));
        ensure!(status(crawl().bearer_auth(&password)).await? == StatusCode::FORBIDDEN, "with the relay's token");
        ensure!(status(crawl().bearer_auth("")).await? == StatusCode::FORBIDDEN, "without a token");
        let token = self.secret("collections-token").await?;
        ensure!(status(crawl().bearer_auth(&token)).await? == StatusCode::OK, "with its own token");
        self.until_listed(note, &quiet.did).await
    }

    async fn until_listed(&self, collection: &str, did: &str) -> Result<()> {
        let url = format!("{}/xrpc/com.atproto.sync.listReposByCollection", self.url("collections").await?);
        until(&format!("the directory lists {did} for {collection}"), || async {
            let request = self.http.get(&url).query(&[("collection", collection)]);
            let answer: Value = request.send().await?.error_for_status()?.json().await?;
            let repos = answer["repos"].as_array().with_context(|| format!("no list: {answer}"))?;
            Ok(repos.iter().any(|repo| repo["did"] == did).then_some(()))
        })
        .await
    }

    async fn secret(&self, key: &str) -> Result<String> {
        self.cluster.secret_of(NAME, key).await
    }

    /// More consumers than it has memory for: it stays at the hard mark, so the operator evicts its pod and counts that. The
    /// last seq before.
    async fn evicted_for_its_memory(&self) -> Result<u64> {
        let last = self.post_arrives(0).await?;
        let pod = self.relay.pod_uid().await?;
        let address = self.url("firehose").await?.trim_start_matches("http://").to_owned();
        let mut consumers = Vec::with_capacity(CONSUMERS);
        for _ in 0..CONSUMERS {
            consumers.push(consume_nothing(&address).await.with_context(|| format!("after {}", consumers.len()))?);
        }
        let evicted = |told: &[String]| told.iter().filter(|reason| *reason == "MemoryEviction").count();
        until_within(EVICTED, "the pod is evicted", || async {
            let told: Vec<String> = self.relay.events().await?.into_iter().map(|told| told.reason).collect();
            let memory = self.relay.relay().await?.data["status"]["memory"].clone();
            ensure!(evicted(&told) > 0, "there are {told:?} with {memory}");
            Ok(Some(()))
        })
        .await?;
        drop(consumers);
        until_within(EVICTED, "another pod runs, and the end of the first is counted", || async {
            let restarts = self.relay.relay().await?.data["status"]["restarts"].clone();
            ensure!(restarts["planned"] == 1, "{restarts}");
            let uid = self.relay.pod_uid().await?;
            Ok((uid.is_some() && uid != pod).then_some(()))
        })
        .await?;
        for cause in ["oomKilled", "crashed", "evicted", "nodeLost", "stopped"] {
            ensure!(self.relay.restarts(cause).await? == 0, "{cause} is counted too");
        }
        ensure!(self.relay.last_end().await?["cause"] == "PlannedRestart", "{}", self.relay.last_end().await?);
        self.cluster.wait_for_condition(NAME, "WorkloadReady").await?;
        Ok(last)
    }
}

async fn status(request: RequestBuilder) -> Result<StatusCode> {
    Ok(request.send().await?.status())
}

/// A consumer of the firehose that reads nothing.
async fn consume_nothing(address: &str) -> Result<TcpStream> {
    let mut tcp = TcpStream::connect(address).await?;
    let request = format!(
        "GET /xrpc/com.atproto.sync.subscribeRepos HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZW5kLXRvLWVuZC10ZXN0IQ==\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await?;
    Ok(tcp)
}
