//! The relay's admin API, as far as the operator uses it: a bounded client, the status document, backfill jobs, bans; and the
//! metrics of relays of other projects, which have no more.

mod hosts;
mod jobs;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::Deserialize;

pub use hosts::{Host, hosts};
pub use jobs::{Collections, Job, JobSpec, Kind, Progress, State};
pub use status::{Backfill, Consumers, Document, Events, Hosts, Memory, Seq};

use crate::secret::Redacted;
use status::VERSION;

/// Port of the relay's health, metrics and admin API.
pub const ADMIN_PORT: u16 = 3001;
/// Time for a whole answer; a relay that is slower has no time for its operator.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer. The status document has about 1 KB and the specs of its jobs, of which there are at most 50.
const MAX_BYTES: usize = 2 << 20;
/// Most bytes of metrics: indigo has some 20 lines of 100 bytes for each of its hosts.
const MAX_METRICS_BYTES: usize = 32 << 20;
/// Longest line of metrics.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Why there is no answer. The texts stay the same while the cause does, because they end up in a status.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AskError {
    /// No connection, or it broke.
    #[error("the relay's admin API does not answer: {0}")]
    Unreachable(String),
    /// The answer was not complete in time.
    #[error("the relay's admin API did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The relay does not know the token.
    #[error("the relay refuses the admin token of its Secret; restart the pod if the Secret was changed")]
    Unauthorized,
    /// What was asked makes no sense to the relay.
    #[error("the relay refuses it: {0}")]
    Refused(String),
    /// Some other HTTP status.
    #[error("the relay's admin API answered with HTTP status {0}")]
    Status(u16),
    /// Too many bytes.
    #[error("the relay's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Not what the contract says.
    #[error("the relay's answer cannot be understood: {0}")]
    Malformed(String),
    /// A status document of another version.
    #[error(
        "the relay's status document has version {0}, this operator reads version {VERSION}; update the older of the two"
    )]
    Version(u32),
}

/// Asks relays. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    port: u16,
}

/// Where one relay's admin API is, and what opens it.
#[derive(Clone, Debug, PartialEq)]
pub struct Door {
    /// Address of the pod.
    pub ip: String,
    /// The admin token.
    pub token: Redacted,
}

impl Client {
    /// A client that asks port `port` of each pod, [`ADMIN_PORT`] but in tests: there it is every port.
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

    /// The relay's status document.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    pub async fn status(&self, door: &Door) -> Result<Document, AskError> {
        status::decode(&answer(self.request(door, Method::GET, "status")?).await?)
    }

    /// Makes the job `name` be what `spec` asks for, and answers how it stands.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    pub async fn put_job(&self, door: &Door, name: &str, spec: &JobSpec) -> Result<Job, AskError> {
        let request = self.request(door, Method::PUT, &format!("backfill/jobs/{name}"))?.json(spec);
        serde_json::from_slice(&answer(request).await?).map_err(|error| AskError::Malformed(error.to_string()))
    }

    /// Removes the job `name`; that there is none is as good.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    pub async fn delete_job(&self, door: &Door, name: &str) -> Result<(), AskError> {
        match answer(self.request(door, Method::DELETE, &format!("backfill/jobs/{name}"))?).await {
            Ok(_) | Err(AskError::Status(404)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The domains that the relay bans.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    pub async fn banned_domains(&self, door: &Door) -> Result<Vec<String>, AskError> {
        #[derive(Deserialize)]
        struct Listed {
            banned_domains: Vec<String>,
        }
        let body = answer(self.request(door, Method::GET, "subs/listDomainBans")?).await?;
        let listed = serde_json::from_slice::<Listed>(&body).map_err(|error| AskError::Malformed(error.to_string()))?;
        Ok(listed.banned_domains)
    }

    /// Bans a domain, with everything below it; that it is banned already is as good.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    pub async fn ban_domain(&self, door: &Door, domain: &str) -> Result<(), AskError> {
        let request = self.request(door, Method::POST, "subs/banDomain")?;
        answer(request.json(&serde_json::json!({ "domain": domain }))).await.map(drop)
    }

    /// Takes hosts of a domain again; that it was not banned is as good.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    pub async fn unban_domain(&self, door: &Door, domain: &str) -> Result<(), AskError> {
        let request = self.request(door, Method::POST, "subs/unbanDomain")?;
        answer(request.json(&serde_json::json!({ "domain": domain }))).await.map(drop)
    }

    /// The metrics of a relay of another project, which asks for no token: each line to `take`, but for those that are no
    /// text or too long.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    pub async fn metrics(&self, ip: &str, port: u16, mut take: impl FnMut(&str)) -> Result<(), AskError> {
        let port = if self.port == ADMIN_PORT { port } else { self.port };
        let mut response = self.http.get(format!("http://{}/metrics", address(ip, port)?)).send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(AskError::Status(response.status().as_u16()));
        }
        let mut tell = |line: &[u8]| {
            if let Some(line) = std::str::from_utf8(line).ok().filter(|line| line.len() <= MAX_LINE_BYTES) {
                take(line);
            }
        };
        let (mut bytes, mut rest) = (0, Vec::new());
        while let Some(chunk) = response.chunk().await? {
            bytes += chunk.len();
            if bytes > MAX_METRICS_BYTES {
                return Err(AskError::TooLarge(MAX_METRICS_BYTES));
            }
            let mut lines = chunk.split(|byte| *byte == b'\n').peekable();
            while let Some(line) = lines.next() {
                // One byte more than a line may have is enough to know that it is too long.
                let room = (MAX_LINE_BYTES + 1).saturating_sub(rest.len());
                rest.extend_from_slice(&line[..line.len().min(room)]);
                if lines.peek().is_some() {
                    tell(&rest);
                    rest.clear();
                }
            }
        }
        tell(&rest);
        Ok(())
    }

    fn request(&self, door: &Door, method: Method, route: &str) -> Result<RequestBuilder, AskError> {
        let url = format!("http://{}/admin/{route}", address(&door.ip, self.port)?);
        Ok(self.http.request(method, url).bearer_auth(door.token.first_token()))
    }
}

fn address(ip: &str, port: u16) -> Result<SocketAddr, AskError> {
    let ip: IpAddr = ip.parse().map_err(|_| AskError::Unreachable(format!("pod IP {ip:?}")))?;
    Ok(SocketAddr::new(ip, port))
}

async fn answer(request: RequestBuilder) -> Result<Vec<u8>, AskError> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    if matches!(status, 401 | 403) {
        return Err(AskError::Unauthorized);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(AskError::TooLarge(MAX_BYTES));
        }
        body.extend_from_slice(&chunk);
    }
    match status {
        200 => Ok(body),
        400 => Err(AskError::Refused(said(&body))),
        other => Err(AskError::Status(other)),
    }
}

/// What an error answer says.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    serde_json::from_slice(body).map_or_else(|_| "without a reason".to_owned(), |Said { message }| message)
}

impl From<reqwest::Error> for AskError {
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
