//! Hosts that nobody announces: those of the configuration, and those that the bootstrap relays list.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use rand::Rng;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Hosts, Named};
use crate::config::Config;
use crate::net::{read_bounded, retry_after};

/// A relay that did not answer is asked again after this, then after twice as long, up to the interval.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// Shortest and longest time for which a relay may ask to be left alone.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Time for one page of `listHosts`, and its size: 1,000 hosts of at most 400 bytes.
const PAGE_TIME_MAX: Duration = Duration::from_secs(30);
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Pages taken from one relay in one round: a relay whose cursor goes in circles does not hold us.
const PAGES_MAX: usize = 100;
/// Hosts of a list that are checked at once.
const ADDS_MAX: usize = 16;

struct Page {
    /// Hosts on it, whatever they are.
    listed: usize,
    /// The names of those that deliver events, or would.
    useful: Vec<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct PageJson {
    hosts: Vec<Value>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    hostname: String,
    status: Option<String>,
}

/// A page that was not to be had.
#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error("{0}")]
    Failed(String),
    #[error("it answers {status}")]
    Refused {
        status: u16,
        /// For how long it wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Adds the configured hosts, then asks each bootstrap relay, at once and at the configured interval, until the relay
/// stops.
pub async fn run(hosts: Arc<Hosts>, config: Config, http: reqwest::Client, mut stop: watch::Receiver<bool>) {
    let work = async {
        for host in &config.hosts {
            if let Err(error) = hosts.add(host, Named::ByConfiguration).await {
                tracing::error!(host, %error, "configured host not added");
            }
        }
        let relays = config.bootstrap_relays.iter();
        let asked = relays.map(|url| Source::new(&hosts, &http, url).ask_for_ever(config.discovery_interval));
        join_all(asked).await;
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// A bootstrap relay, and how far its list was read.
struct Source<'a> {
    hosts: &'a Hosts,
    http: &'a reqwest::Client,
    url: &'a str,
    /// Where the next page is; nothing before the first.
    cursor: Option<String>,
}

impl Source<'_> {
    fn new<'a>(hosts: &'a Hosts, http: &'a reqwest::Client, url: &'a str) -> Source<'a> {
        Source { hosts, http, url, cursor: None }
    }

    async fn ask_for_ever(mut self, interval: Duration) {
        let mut retry = RETRY_FIRST;
        loop {
            let wait = match self.ask().await {
                Ok(()) => {
                    retry = RETRY_FIRST;
                    interval
                }
                Err(error) => {
                    let wait = wait_after(&error, retry, interval);
                    retry = (retry * 2).min(interval);
                    tracing::warn!(relay = self.url, %error, ?wait, "bootstrap relay did not list its hosts");
                    wait
                }
            };
            // Relays that were started together do not ask together.
            let scatter = rand::rng().random_range(1.0..=1.1);
            sleep(wait.mul_f64(scatter)).await;
        }
    }

    /// Reads the rest of the list, page by page: what was read before a failure is not asked for again.
    async fn ask(&mut self) -> Result<(), PageError> {
        let (mut listed, mut added) = (0, 0);
        for _ in 0..PAGES_MAX {
            let page = self.page().await?;
            listed += page.listed;
            added += self.add(page.useful).await;
            self.cursor = page.cursor;
            if self.cursor.is_none() {
                break;
            }
        }
        self.cursor = None;
        tracing::info!(relay = self.url, listed, added, "hosts of a bootstrap relay");
        Ok(())
    }

    async fn add(&self, names: Vec<String>) -> usize {
        let unknown = names.into_iter().filter(|name| self.hosts.find(name).is_none());
        let adds = futures_util::stream::iter(unknown).map(|name| async move {
            let added = self.hosts.add(&name, Named::ByRelay).await;
            if let Err(error) = &added {
                tracing::debug!(host = name, %error, "listed host not added");
            }
            added.is_ok()
        });
        adds.buffer_unordered(ADDS_MAX).filter(|added| std::future::ready(*added)).count().await
    }

    async fn page(&self) -> Result<Page, PageError> {
        let failed = |error: &dyn std::fmt::Display| PageError::Failed(error.to_string());
        let mut query = vec![("limit", "1000")];
        query.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let url = format!("{}/xrpc/com.atproto.sync.listHosts", self.url);
        let request = self.http.get(url).query(&query).timeout(PAGE_TIME_MAX);
        let response = request.send().await.map_err(|error| failed(&error.without_url()))?;
        if !response.status().is_success() {
            let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
            return Err(PageError::Refused { status, retry_after });
        }
        let body = read_bounded(response, PAGE_BYTES_MAX).await.map_err(|error| failed(&error))?;
        read_page(&body).map_err(|error| failed(&error))
    }
}

/// How long to leave a relay alone that did not answer as it should: as long as it says, if it does.
fn wait_after(error: &PageError, retry: Duration, interval: Duration) -> Duration {
    match error {
        PageError::Refused { retry_after: Some(wait), .. } => (*wait).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX),
        _ => retry.min(interval),
    }
}

/// Reads a page. An entry that is no host does not spoil the others.
fn read_page(body: &[u8]) -> Result<Page, serde_json::Error> {
    let PageJson { hosts, cursor } = serde_json::from_slice(body)?;
    let listed = hosts.len();
    let is_useful = |host: &Listed| host.status.as_deref().is_none_or(|status| matches!(status, "active" | "idle"));
    let hosts = hosts.into_iter().filter_map(|host| serde_json::from_value::<Listed>(host).ok());
    let useful = hosts.filter(is_useful).map(|host| host.hostname).collect();
    Ok(Page { listed, useful, cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_hosts_that_deliver() {
        let body = br#"{"hosts": [
            {"hostname": "a.example.com", "seq": 1, "status": "active"},
            {"hostname": "b.example.com", "status": "idle"},
            {"hostname": "c.example.com", "status": "offline"},
            {"hostname": "d.example.com", "status": "banned"},
            {"hostname": "e.example.com", "status": "throttled"},
            {"hostname": "f.example.com"},
            {"hostname": 7}, "g.example.com", null
        ], "cursor": "9"}"#;
        let page = read_page(body).expect("a page");
        assert_eq!(page.useful, ["a.example.com", "b.example.com", "f.example.com"]);
        assert_eq!((page.listed, page.cursor.as_deref()), (9, Some("9")));
        for body in ["", "[]", "{}", r#"{"hosts": {}}"#, "<html>"] {
            assert!(read_page(body.as_bytes()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_relay_that_does_not_answer_is_asked_again_and_one_that_asks_for_time_gets_it() {
        let seconds = Duration::from_secs;
        let refused = |retry_after| PageError::Refused { status: 429, retry_after };
        let failed = PageError::Failed(String::new());
        let cases = [
            (failed, 20, 20),
            (refused(None), 20, 20),
            (refused(None), 7200, 3600),
            (refused(Some(seconds(7200))), 20, 7200),
            (refused(Some(seconds(0))), 20, 1),
            (refused(Some(seconds(1_000_000))), 20, 86_400),
        ];
        for (error, retry, expected) in cases {
            assert_eq!(wait_after(&error, seconds(retry), seconds(3600)), seconds(expected), "{error:?}");
        }
    }
}
