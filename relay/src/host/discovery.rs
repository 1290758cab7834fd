//! Hosts that nobody announces: those of the configuration, and those that the bootstrap relays list.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::watch;

use super::{Hosts, Named};
use crate::config::Config;
use crate::net::read_bounded;

/// The bootstrap relays are asked this often.
const INTERVAL: Duration = Duration::from_secs(4 * 3600);
/// Time for one page of `listHosts`, and its size: 1,000 hosts of at most 400 bytes.
const PAGE_TIME_MAX: Duration = Duration::from_secs(30);
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Pages taken from one relay in one round: a relay whose cursor goes in circles does not hold us.
const PAGES_MAX: usize = 100;
/// Hosts of a list that are checked at once.
const ADDS_MAX: usize = 16;

#[derive(Deserialize)]
struct Page {
    hosts: Vec<Listed>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    hostname: String,
    status: Option<String>,
}

/// Adds the configured hosts, then asks the bootstrap relays, at once and every few hours, until the relay stops.
pub async fn run(hosts: Arc<Hosts>, config: Config, http: reqwest::Client, mut stop: watch::Receiver<bool>) {
    let work = async {
        for host in &config.hosts {
            if let Err(error) = hosts.add(host, Named::ByConfiguration).await {
                tracing::error!(host, %error, "configured host not added");
            }
        }
        loop {
            for relay in &config.bootstrap_relays {
                match listed(&http, relay).await {
                    Ok(names) => add_all(&hosts, relay, names).await,
                    Err(error) => tracing::warn!(relay, %error, "bootstrap relay did not list its hosts"),
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn add_all(hosts: &Hosts, relay: &str, names: Vec<String>) {
    let listed = names.len();
    let unknown = names.into_iter().filter(|name| hosts.find(name).is_none());
    let adds = futures_util::stream::iter(unknown).map(|name| async move {
        let added = hosts.add(&name, Named::ByAnyone).await;
        if let Err(error) = &added {
            tracing::debug!(host = name, %error, "listed host not added");
        }
        added.is_ok()
    });
    let added = adds.buffer_unordered(ADDS_MAX).filter(|added| std::future::ready(*added)).count().await;
    tracing::info!(relay, listed, added, "hosts of a bootstrap relay");
}

/// Names of all hosts that a relay lists as active or idle.
async fn listed(http: &reqwest::Client, relay: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = page(http, relay, cursor.as_deref()).await?;
        let wanted = |host: &Listed| host.status.as_deref().is_none_or(|status| matches!(status, "active" | "idle"));
        names.extend(page.hosts.into_iter().filter(wanted).map(|host| host.hostname));
        match page.cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    Ok(names)
}

async fn page(http: &reqwest::Client, relay: &str, cursor: Option<&str>) -> Result<Page, String> {
    let mut query = vec![("limit", "1000")];
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    let url = format!("{relay}/xrpc/com.atproto.sync.listHosts");
    let request = http.get(url).query(&query).timeout(PAGE_TIME_MAX);
    let response =
        request.send().await.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())?;
    let body = read_bounded(response, PAGE_BYTES_MAX).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
