//! Sibling relays: relays of the same operator that are told what is decided here, as the reference relay tells its own.
//!
//! A request that was accepted here is sent on to each of them, with the same path and body, so that groups of ours and
//! theirs work. What a relay has sent on carries `Via: … atproto-relay` and is not sent on again. Nobody waits for a
//! sibling: requests go into bounded queues in memory, and a sibling that is down gets them later.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, USER_AGENT, VIA};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::config::Config;

/// Requests that wait for one sibling, in either of its queues.
const QUEUE_REQUESTS: usize = 256;
/// A sibling answers within this.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// First and longest wait between two tries.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// A decision that a sibling has not taken after this is given up …
const DECISION_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// … and so is a requestCrawl, which its host will make again.
const CRAWL_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// A host's requestCrawl is sent on once in this time …
const CRAWL_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// … as long as there are not more such hosts than this.
const CRAWLS_REMEMBERED: usize = 10_000;

/// The public route that is sent on.
pub const REQUEST_CRAWL: &str = "/xrpc/com.atproto.sync.requestCrawl";
const CHANGE_LIMITS: &str = "/admin/pds/changeLimits";
/// What relays call themselves in `Via`.
const RELAY: &str = "atproto-relay";
/// An account limit that is none. 0, which is none here, keeps everybody out of the reference relay; this is what that
/// gives to hosts that it trusts.
const NO_ACCOUNT_LIMIT: u64 = 10_000_000;

/// A request that this relay has accepted.
#[derive(Debug, Clone)]
pub struct Accepted<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its query, without the question mark.
    pub query: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, JSON or nothing.
    pub body: &'a Bytes,
    /// The admin token that it came with.
    pub token: Option<&'a str>,
}

/// Counters of what was sent on.
#[derive(Debug, Default)]
pub struct Stats {
    sent: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    retried: AtomicU64,
}

impl Stats {
    /// Requests by what became of them: taken by the sibling, refused by it, given up (the sibling was away for too
    /// long, or too many wait), and tries that failed and were repeated.
    pub fn outcomes(&self) -> [(&'static str, u64); 4] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("sent", count(&self.sent)),
            ("refused", count(&self.refused)),
            ("dropped", count(&self.dropped)),
            ("retried", count(&self.retried)),
        ]
    }
}

/// The siblings of this relay.
pub struct Siblings {
    token: Option<String>,
    lanes: Vec<Lanes>,
    /// When the requestCrawl of a host was last sent on.
    crawls: Mutex<HashMap<String, Instant>>,
    stats: Arc<Stats>,
}

/// The two queues of one sibling: decisions do not wait behind requestCrawl, which anyone can send.
struct Lanes {
    decisions: mpsc::Sender<Request>,
    crawls: mpsc::Sender<Request>,
}

#[derive(Debug, Clone)]
struct Request {
    path_and_query: String,
    token: Option<String>,
    body: Bytes,
    accepted_at: Instant,
}

impl Siblings {
    /// The siblings of the configuration, each with its tasks.
    pub fn start(config: &Config, http: &Client) -> Siblings {
        let stats = Arc::<Stats>::default();
        let lane = |url: &str, age_max| {
            let (sender, requests) = mpsc::channel(QUEUE_REQUESTS);
            let sibling = Sibling { url: url.to_owned(), http: http.clone(), age_max, stats: Arc::clone(&stats) };
            tokio::spawn(sibling.run(requests));
            sender
        };
        let lanes = config.sibling_relays.iter();
        let lanes = lanes.map(|url| Lanes { decisions: lane(url, DECISION_AGE_MAX), crawls: lane(url, CRAWL_AGE_MAX) });
        let lanes = lanes.collect();
        Siblings { token: config.sibling_token.clone(), lanes, crawls: Mutex::default(), stats }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Sends a request on that was accepted here, soon and without waiting, unless a relay sent it.
    pub fn forward(&self, accepted: &Accepted<'_>) {
        if self.is_empty() || was_forwarded(accepted.headers) {
            return;
        }
        let is_crawl = accepted.path == REQUEST_CRAWL;
        if is_crawl && !self.is_due(accepted.body) {
            return;
        }
        let body = match accepted.path {
            CHANGE_LIMITS => limits_as_siblings_take_them(accepted.body),
            _ => accepted.body.clone(),
        };
        let query = accepted.query.map(|query| format!("?{query}")).unwrap_or_default();
        let request = Request {
            path_and_query: format!("{}{query}", accepted.path),
            token: self.token.as_deref().or(accepted.token).filter(|_| !is_crawl).map(str::to_owned),
            body,
            accepted_at: Instant::now(),
        };
        for lanes in &self.lanes {
            let lane = if is_crawl { &lanes.crawls } else { &lanes.decisions };
            if lane.try_send(request.clone()).is_err() {
                tracing::warn!(path = request.path_and_query, "too much waits for a sibling relay; not sent on");
                self.stats.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What became of the requests.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        let waiting = |lane: &mpsc::Sender<Request>| lane.max_capacity() - lane.capacity();
        self.lanes.iter().map(|lanes| waiting(&lanes.decisions) + waiting(&lanes.crawls)).sum()
    }

    /// Whether the host of a requestCrawl was not sent on lately.
    fn is_due(&self, body: &[u8]) -> bool {
        let Some(hostname) = hostname(body) else { return false };
        let mut crawls = self.crawls.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if crawls.len() >= CRAWLS_REMEMBERED {
            crawls.retain(|_, sent_at| now.duration_since(*sent_at) < CRAWL_INTERVAL);
        }
        let is_recent = crawls.get(&hostname).is_some_and(|sent_at| now.duration_since(*sent_at) < CRAWL_INTERVAL);
        if is_recent || crawls.len() >= CRAWLS_REMEMBERED {
            return false;
        }
        crawls.insert(hostname, now);
        true
    }
}

/// One queue of one sibling.
struct Sibling {
    url: String,
    http: Client,
    age_max: Duration,
    stats: Arc<Stats>,
}

/// What a sibling makes of a request.
enum Outcome {
    Taken,
    Refused(String),
    /// It may be well again later.
    Failed(String),
}

impl Sibling {
    async fn run(self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            self.deliver(&request).await;
        }
    }

    /// Tries until the sibling takes or refuses the request, or it is too old.
    async fn deliver(&self, request: &Request) {
        let (sibling, path) = (&self.url, &request.path_and_query);
        let mut wait = RETRY_FIRST;
        loop {
            match self.send(request).await {
                Outcome::Taken => {
                    tracing::info!(sibling, path, "sent on to a sibling relay");
                    self.stats.sent.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Outcome::Refused(reason) => {
                    tracing::warn!(sibling, path, reason, "a sibling relay refuses what is decided here");
                    self.stats.refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Outcome::Failed(reason) if request.accepted_at.elapsed() + wait > self.age_max => {
                    tracing::warn!(sibling, path, reason, "a sibling relay was away for too long; given up");
                    self.stats.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Outcome::Failed(reason) => {
                    tracing::debug!(sibling, path, reason, ?wait, "sibling relay not reached");
                    self.stats.retried.fetch_add(1, Ordering::Relaxed);
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }

    async fn send(&self, request: &Request) -> Outcome {
        let url = format!("{}{}", self.url, request.path_and_query);
        let mut sending = self.http.post(url).timeout(ANSWER_TIME_MAX).header(VIA, format!("HTTP/1.1 {RELAY}"));
        if let Some(token) = &request.token {
            // The form that all relays take.
            sending = sending.basic_auth("admin", Some(token));
        }
        if !request.body.is_empty() {
            sending =
                sending.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(request.body.clone());
        }
        match sending.send().await {
            Ok(answer) if answer.status().is_success() => Outcome::Taken,
            Ok(answer) => {
                let status = answer.status();
                let may_pass = status.is_server_error()
                    || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
                let reason = format!("it answers {status}");
                if may_pass { Outcome::Failed(reason) } else { Outcome::Refused(reason) }
            }
            Err(error) => Outcome::Failed(error.without_url().to_string()),
        }
    }
}

/// Whether a relay has sent the request (on): then that relay also tells the others.
fn was_forwarded(headers: &HeaderMap) -> bool {
    let names_a_relay = |name: HeaderName| {
        headers.get_all(name).iter().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(RELAY))
    };
    names_a_relay(VIA) || names_a_relay(USER_AGENT)
}

fn hostname(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body.get("hostname")?.as_str()?.to_ascii_lowercase())
}

/// Limits in the form that every relay takes: `repo_limit`, and no 0 for no limit. Other fields stay; those of ours the
/// reference relay ignores.
fn limits_as_siblings_take_them(body: &Bytes) -> Bytes {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return body.clone() };
    if let Some(limit) = fields.remove("account_limit") {
        fields.insert("repo_limit".to_owned(), limit);
    }
    if fields.get("repo_limit").and_then(Value::as_u64) == Some(0) {
        fields.insert("repo_limit".to_owned(), json!(NO_ACCOUNT_LIMIT));
    }
    Value::Object(fields).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_sent_is_not_sent_on() {
        let cases = [
            (VIA, "HTTP/1.1 atproto-relay", true),
            (VIA, "1.1 proxy, HTTP/2.0 atproto-relay", true),
            (VIA, "1.1 proxy", false),
            (USER_AGENT, "indigo-relay/v1 (atproto-relay)", true),
            (USER_AGENT, "goat/0.1", false),
        ];
        for (name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.append(VIA, HeaderValue::from_static("1.0 another"));
            headers.append(&name, HeaderValue::from_static(value));
            assert_eq!(was_forwarded(&headers), expected, "{name}: {value}");
        }
        assert!(!was_forwarded(&HeaderMap::new()));
    }

    #[test]
    fn limits_are_written_as_every_relay_takes_them() {
        let cases = [
            (r#"{"host":"a","account_limit":7}"#, r#"{"host":"a","repo_limit":7}"#),
            (r#"{"host":"a","repo_limit":7}"#, r#"{"host":"a","repo_limit":7}"#),
            (
                r#"{"host":"a","account_limit":0,"events_per_second":0}"#,
                r#"{"events_per_second":0,"host":"a","repo_limit":10000000}"#,
            ),
            (r#"{"host":"a"}"#, r#"{"host":"a"}"#),
            ("no JSON", "no JSON"),
        ];
        for (body, expected) in cases {
            assert_eq!(limits_as_siblings_take_them(&body.into()), expected);
        }
    }
}
