//! The relay's status document, `GET /admin/status`: the contract between operator and relay.
//!
//! `tests/contract/admin-status.json` is the recorded document that both sides test against.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::secret::Redacted;

/// Port of the relay's health, metrics and admin API.
pub const ADMIN_PORT: u16 = 3001;
/// Version of the document that this operator understands.
const VERSION: u32 = 1;
/// Time for a whole answer; a relay that is slower has no time for its operator.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document. It has about 1 KB; nothing in it grows with the number of hosts.
const MAX_BYTES: usize = 64 * 1024;

/// What the operator uses of the document. Anything else in it is for others.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Document {
    /// Name and version, such as relay/0.1.0.
    pub software: String,
    /// Whether `/readyz` says so too.
    pub ready: bool,
    /// Whether the relay is about to stop.
    pub draining: bool,
    /// Sequence numbers in the log.
    pub seq: Seq,
    /// Counters of events.
    pub events: Events,
    /// Hosts by state.
    pub hosts: Hosts,
    /// Consumers of the firehose.
    pub consumers: Consumers,
    /// Memory as the kernel counts it.
    pub memory: Memory,
}

/// Sequence numbers in the log.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Seq {
    /// Number of the last event, 0 before the first.
    pub last: u64,
}

/// Counters of events.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Events passed on per second, over the last minute or so.
    pub per_second: f64,
}

/// Hosts by state.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Hosts {
    /// Hosts known.
    pub total: u64,
    /// Hosts with an open connection.
    pub connected: u64,
}

/// Consumers of the firehose.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Consumers {
    /// Open connections.
    pub connected: u64,
}

/// Memory as the kernel counts it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Limit in bytes, where there is one.
    pub limit_bytes: Option<u64>,
    /// Memory in use that the kernel cannot take back, in bytes.
    pub working_set_bytes: u64,
}

/// Why there is no document. The texts stay the same while the cause does, because they end up in a status.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No connection, or it broke.
    #[error("the relay's admin API does not answer: {0}")]
    Unreachable(String),
    /// The answer was not complete in time.
    #[error("the relay's admin API did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The relay does not know the token.
    #[error("the relay refuses the admin token of its Secret; restart the pod if the Secret was changed")]
    Unauthorized,
    /// Some other HTTP status.
    #[error("the relay's admin API answered with HTTP status {0}")]
    Status(u16),
    /// Too many bytes.
    #[error("the relay's status document is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not the document of the contract.
    #[error("the relay's status document cannot be understood: {0}")]
    Malformed(String),
    /// A document of another version.
    #[error(
        "the relay's status document has version {0}, this operator reads version {VERSION}; update the older of the two"
    )]
    Version(u32),
}

/// Reads status documents.
#[derive(Clone, Debug)]
pub struct Reader {
    http: reqwest::Client,
    port: u16,
}

impl Reader {
    /// A reader that asks port `port` of each pod, [`ADMIN_PORT`] but in tests.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn new(port: u16) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy() // pods are reached directly, whatever the environment says
            .build()?;
        Ok(Self { http, port })
    }

    /// The document of the relay in the pod at `ip`.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn read(&self, ip: &str, token: &Redacted) -> Result<Document, ReadError> {
        let ip: IpAddr = ip.parse().map_err(|_| ReadError::Unreachable(format!("pod IP {ip:?}")))?;
        let url = format!("http://{}/admin/status", SocketAddr::new(ip, self.port));
        let mut response = self.http.get(url).bearer_auth(token.first_token()).send().await?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 => return Err(ReadError::Unauthorized),
            other => return Err(ReadError::Status(other)),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(ReadError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        decode(&body)
    }
}

fn decode(body: &[u8]) -> Result<Document, ReadError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let malformed = |error: serde_json::Error| ReadError::Malformed(error.to_string());
    // The version first: a document of another version may lack any other field.
    let Versioned { version } = serde_json::from_slice(body).map_err(malformed)?;
    if version != VERSION {
        return Err(ReadError::Version(version));
    }
    serde_json::from_slice(body).map_err(malformed)
}

impl From<reqwest::Error> for ReadError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        // The innermost cause is the one that helps: "connection refused".
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable(cause.to_string())
    }
}

#[cfg(test)]
mod tests;
