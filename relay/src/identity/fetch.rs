//! Asking for DID documents: the PLC directory for `did:plc`, the host itself for `did:web`.

use std::error::Error as _;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, Url, header};
use tokio::time::Instant;

use super::pace::Pace;
use super::stats::{Outcome, Stats, count};
use super::{Identity, SetupError, Transient, document, now_ms};
use crate::memory::Share;
use crate::net::{self, ReadError, Reading, ResolveError, describe};
use crate::protocol::did::{Did, Method};

/// Longest document that is read; real ones have about one KiB.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Requests to the directory per second: what the network's busiest hours need, ten times over.
const DIRECTORY_REQUESTS_PER_SECOND: u32 = 500;
/// Requests to the directory at once, as memory allows.
const DIRECTORY_REQUESTS: RangeInclusive<usize> = 8..=64;
/// Longest page of an export that is read: a thousand operations, which have 7,500 bytes at most, and about 800 mostly.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// A page that takes longer has failed.
const PAGE_TIME_MAX: Duration = Duration::from_secs(60);
/// Requests to one host of `did:web` documents per second.
const WEB_REQUESTS_PER_SECOND: u32 = 10;
/// Requests for `did:web` documents at once, as memory allows. Apart from the directory's, since strangers decide how
/// long they take.
const WEB_REQUESTS: RangeInclusive<usize> = 4..=32;
/// What a request takes at most: the longest document, in a buffer that doubles, what has come behind it and is not read,
/// and the connection.
const REQUEST_BYTES: usize = 256 << 10;

/// Makes the requests, within limits.
pub(super) struct Fetcher {
    directory: Client,
    directory_url: String,
    directory_host: Box<str>,
    directory_slots: Share,
    web: Client,
    web_slots: Share,
    allow_insecure: bool,
    pace: Pace,
    time_max: Duration,
    reading: Reading,
    stats: Arc<Stats>,
}

/// Where a document is.
struct Source<'a> {
    client: &'a Client,
    url: String,
    host: &'a str,
    slots: &'a Share,
    reading: &'a Reading,
    per_second: u32,
    /// Whether what it says is to be taken as the truth about the DID even when it makes no sense.
    is_authority: bool,
}

/// How a request ended that brought no identity.
enum Failure {
    /// There is none.
    Absent,
    /// That is not known.
    Transient(Transient),
}

impl Fetcher {
    pub(super) fn new(
        plc_url: &str,
        allow_insecure: bool,
        time_max: Duration,
        stats: Arc<Stats>,
    ) -> Result<Fetcher, SetupError> {
        let directory_url = plc_url.trim_end_matches('/').to_owned();
        let parsed = Url::parse(&directory_url).ok();
        let directory_host =
            parsed.as_ref().and_then(Url::host_str).ok_or(SetupError::PlcUrl(directory_url.clone()))?;
        Ok(Fetcher {
            directory: net::trusting_client()?,
            directory_host: directory_host.into(),
            directory_url,
            directory_slots: slots(0, &DIRECTORY_REQUESTS),
            web: net::client(allow_insecure)?,
            web_slots: slots(0, &WEB_REQUESTS),
            allow_insecure,
            pace: Pace::default(),
            time_max,
            reading: Reading::default(),
            stats,
        })
    }

    /// Makes as many requests at once as fit into `bytes`, and says what they take of them.
    pub(super) fn set_bytes(&self, bytes: usize) -> usize {
        // A third for what is asked of strangers.
        self.web_slots.set_bytes(within(bytes / 3, &WEB_REQUESTS));
        self.directory_slots.set_bytes(within(bytes / 3 * 2, &DIRECTORY_REQUESTS));
        self.web_slots.bytes() + self.directory_slots.bytes()
    }

    /// Bytes of answers that are being read, and of what is remembered of servers.
    pub(super) fn bytes(&self) -> usize {
        self.reading.bytes() + self.pace.bytes()
    }

    /// Asks for the document of a DID; `None` when there certainly is none.
    pub(super) async fn fetch(&self, did: &Did) -> Result<Option<Identity>, Transient> {
        let host;
        let source = match did.method() {
            Method::Plc => self.directory(did),
            Method::Web => {
                host = did.identifier().replace("%3A", ":");
                match self.web(&host) {
                    Some(source) => source,
                    None => return Ok(None),
                }
            }
        };
        let _slot = source.slots.take(REQUEST_BYTES).await;
        self.turn(source.host, source.per_second).await?;

        let started = Instant::now();
        let requested = tokio::time::timeout(self.time_max, request(&source, did)).await;
        let timeout = || Transient::Timeout { host: source.host.into(), after: self.time_max };
        let result = requested.unwrap_or_else(|_| Err(Failure::Transient(timeout())));
        self.stats.requested(did.method(), outcome(&result), started.elapsed());
        match result {
            Ok(identity) => {
                self.pace.succeeded(source.host);
                Ok(Some(identity))
            }
            Err(Failure::Absent) => {
                self.pace.succeeded(source.host);
                Ok(None)
            }
            Err(Failure::Transient(error)) => {
                self.pace.failed(source.host, error.retry_after(), Instant::now());
                Err(error)
            }
        }
    }

    /// Asks a directory for a page of its export: `count` operations after a time.
    pub(super) async fn export(&self, url: &str, after_ms: i64, count: usize) -> Result<Bytes, Transient> {
        let after = jiff::Timestamp::from_millisecond(after_ms).unwrap_or_default();
        let host = Url::parse(url).ok().and_then(|url| url.host_str().map(Box::<str>::from)).unwrap_or_default();
        let source = Source {
            client: &self.directory,
            url: format!("{url}/export?count={count}&after={after:.3}"),
            host: &host,
            slots: &self.directory_slots,
            reading: &self.reading,
            per_second: DIRECTORY_REQUESTS_PER_SECOND,
            is_authority: false,
        };
        self.turn(&host, source.per_second).await?;
        let timeout = |_| Transient::Timeout { host: host.clone(), after: PAGE_TIME_MAX };
        let requested = tokio::time::timeout(PAGE_TIME_MAX, request_page(&source)).await;
        let result = requested.map_err(timeout).flatten();
        match &result {
            Ok(_) => self.pace.succeeded(&host),
            Err(error) => self.pace.failed(&host, error.retry_after(), Instant::now()),
        }
        result
    }

    /// Waits until a server may be asked.
    async fn turn(&self, host: &str, per_second: u32) -> Result<(), Transient> {
        let turn = self.pace.take_turn(host, per_second, Instant::now());
        let wait = turn.inspect_err(|_| count(&self.stats.paused))?;
        if !wait.is_zero() {
            count(&self.stats.waits);
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn directory(&self, did: &Did) -> Source<'_> {
        Source {
            client: &self.directory,
            url: format!("{}/{did}", self.directory_url),
            host: &self.directory_host,
            slots: &self.directory_slots,
            reading: &self.reading,
            per_second: DIRECTORY_REQUESTS_PER_SECOND,
            is_authority: false,
        }
    }

    /// Where a host has its document: `localhost` is for development, everything else is spoken to over TLS.
    fn web<'a>(&'a self, host: &'a str) -> Option<Source<'a>> {
        let is_local = host.split(':').next() == Some("localhost");
        if is_local && !self.allow_insecure {
            return None;
        }
        let scheme = if is_local { "http" } else { "https" };
        Some(Source {
            client: &self.web,
            url: format!("{scheme}://{host}/.well-known/did.json"),
            host,
            slots: &self.web_slots,
            reading: &self.reading,
            per_second: WEB_REQUESTS_PER_SECOND,
            is_authority: true,
        })
    }
}

/// Bytes for as many requests as fit into `bytes`, within bounds.
fn within(bytes: usize, requests: &RangeInclusive<usize>) -> usize {
    bytes.clamp(requests.start() * REQUEST_BYTES, requests.end() * REQUEST_BYTES)
}

fn slots(bytes: usize, requests: &RangeInclusive<usize>) -> Share {
    Share::new(within(bytes, requests), requests.start() * REQUEST_BYTES)
}

async fn request(source: &Source<'_>, did: &Did) -> Result<Identity, Failure> {
    let host = source.host;
    let response = source.client.get(&source.url).send().await.map_err(|error| unsent(host, error))?;
    check_status(source, &response)?;
    let is_json = is_json(&response);
    let malformed = |reason: String| match source.is_authority {
        true => Failure::Absent,
        // An error page in front of the directory says nothing about the DID.
        false => Failure::Transient(Transient::Malformed { host: host.into(), reason }),
    };
    let body = source.reading.read(response, DOCUMENT_BYTES_MAX).await.map_err(|error| match error {
        // A document that nobody can use. The directory is well, and others must not wait for it because of this one.
        ReadError::TooLong(_) if is_json => Failure::Absent,
        ReadError::TooLong(_) => malformed(error.to_string()),
        ReadError::Broken(_) => Failure::Transient(Transient::Network { host: host.into(), reason: error.to_string() }),
    })?;
    document::read(did, &body, now_ms()).map_err(|error| malformed(error.to_string()))
}

/// Whether the answer is a document, and no page for people: `application/json`, `application/did+ld+json`.
fn is_json(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

async fn request_page(source: &Source<'_>) -> Result<Bytes, Transient> {
    let host = source.host;
    let network = |reason| Transient::Network { host: host.into(), reason };
    let sent = source.client.get(&source.url).send().await;
    let response = sent.map_err(|error| network(describe(&error.without_url())))?;
    let status = response.status().as_u16();
    check_status(source, &response).map_err(|failure| match failure {
        // A directory without an export.
        Failure::Absent => Transient::Refused { host: host.into(), status, retry_after: None },
        Failure::Transient(error) => error,
    })?;
    source.reading.read(response, PAGE_BYTES_MAX).await.map_err(|error| network(error.to_string()))
}

/// Why a request got no answer. That a name leads to no public address is an answer: nothing may be there.
fn unsent(host: &str, error: reqwest::Error) -> Failure {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(ResolveError::NotPublic { .. }) = cause.downcast_ref() {
            return Failure::Absent;
        }
        source = cause.source();
    }
    Failure::Transient(Transient::Network { host: host.into(), reason: describe(&error.without_url()) })
}

fn check_status(source: &Source<'_>, response: &Response) -> Result<(), Failure> {
    let status = response.status();
    let is_definitive = match status {
        // Unknown, and tombstoned; 400 is the directory's word for what it does not hold for a DID.
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::BAD_REQUEST => true,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => false,
        // A directory that turns us away says nothing about the DID; a host that does has no document for us.
        _ => source.is_authority && status.is_client_error(),
    };
    if status.is_success() {
        return Ok(());
    }
    if is_definitive {
        return Err(Failure::Absent);
    }
    let retry_after = net::retry_after(response.headers());
    Err(Failure::Transient(Transient::Refused { host: source.host.into(), status: status.as_u16(), retry_after }))
}

fn outcome(result: &Result<Identity, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Found,
        Err(Failure::Absent) => Outcome::Absent,
        Err(Failure::Transient(error)) => match error {
            Transient::Refused { status: 429, .. } => Outcome::RateLimited,
            Transient::Refused { .. } => Outcome::Failed,
            Transient::Malformed { .. } => Outcome::Malformed,
            Transient::Timeout { .. } => Outcome::Timeout,
            Transient::Network { .. } | Transient::Paused { .. } | Transient::Stopping => Outcome::Network,
        },
    }
}
