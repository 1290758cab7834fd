//! Requests to services that are not ours: as slow as they ask, within bounds of bytes and time.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::answers::{Answer, Answers};
use super::pace::{Pace, Turn};
use super::provider::provider;
use super::told::Told;
use super::work::Trouble;
use crate::memory::Piece;
use crate::net::{self, ClientError, ReadError, describe, read_bounded};

/// Requests to one provider per second, where a job says nothing else. A PDS of Bluesky allows 10.
const REQUESTS_PER_SECOND: f64 = 8.0;
/// The slowest rate: one request in a day.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// A request that takes longer has failed, however much of the answer is there.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Memory for answers, unless it is told otherwise.
const ANSWERS_BYTES: usize = 32 << 20;
/// Longest body of an error that is read.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Characters of an error's name and of its message that are kept.
const ERROR_CHARS_MAX: usize = 200;

/// Asks services and PDS hosts: one request to a provider at a time, as fast as it allows, and strangers only on public
/// addresses. Clones share what is known of the providers.
#[derive(Clone)]
pub struct Web {
    client: Client,
    /// For servers that the operator has named.
    trusting: Client,
    pace: Arc<Pace>,
    answers: Arc<Answers>,
    interval: Duration,
    allow_insecure: bool,
    request_time_max: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Try again later: the service is busy (429), broken (5xx), or away.
    #[error("{reason}")]
    Later {
        /// Who, and what is wrong.
        reason: String,
        /// How long it asked to be left alone.
        after: Option<Duration>,
    },
    /// It answers with an error that will stay.
    #[error("{host} answers {status} {name}: {message}")]
    Answer {
        /// Who.
        host: String,
        /// HTTP status.
        status: u16,
        /// The XRPC error's name; may be empty.
        name: String,
        /// What it says, cut.
        message: String,
    },
    /// The answer is not what it should be: too long, not JSON, other types.
    #[error("{host}: {reason}")]
    Malformed {
        /// Who.
        host: String,
        /// What is wrong.
        reason: String,
    },
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        match refusal {
            Refusal::Later { reason, after } => Trouble::Wait { reason, after },
            Refusal::Answer { .. } | Refusal::Malformed { .. } => Trouble::Fail(refusal.to_string()),
        }
    }
}

impl Web {
    /// With `allow_insecure` it also takes plain HTTP and private addresses.
    pub fn new(allow_insecure: bool) -> Result<Web, ClientError> {
        let client = net::client_of_one_server(allow_insecure)?;
        let web = Web {
            client,
            trusting: net::client_of_one_server(true)?,
            pace: Arc::default(),
            answers: Arc::new(Answers::new(ANSWERS_BYTES)),
            interval: Duration::ZERO,
            allow_insecure,
            request_time_max: REQUEST_TIME_MAX,
        };
        Ok(web.at_rate(None))
    }

    /// Bytes of answers that are being read.
    pub fn memory_bytes(&self) -> usize {
        self.answers.bytes()
    }

    /// Gives the answers that are read at once another share.
    pub fn set_memory_bytes(&self, bytes: usize) {
        self.answers.set_bytes(bytes);
    }

    /// The same at another rate, in requests per second to each provider; `None` is the default of 8. What a provider
    /// wants goes first.
    pub fn at_rate(&self, requests_per_second: Option<f64>) -> Web {
        let seconds = 1.0 / requests_per_second.unwrap_or(REQUESTS_PER_SECOND);
        let interval = Duration::try_from_secs_f64(seconds).map_or(INTERVAL_MAX, |interval| interval.min(INTERVAL_MAX));
        Web { interval, ..self.clone() }
    }

    /// The same for servers that the operator has named, wherever they are: in the cluster, say, over plain HTTP.
    pub fn trusting(&self) -> Web {
        Web { client: self.trusting.clone(), allow_insecure: true, ..self.clone() }
    }

    /// Whom the server of a URL belongs to, as far as limits are concerned: see [`Web::get`].
    pub async fn provider(&self, url: &Url) -> String {
        let host = authority(url);
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or_default();
        let found = net::resolve_public(name, port, self.allow_insecure).await.unwrap_or_default();
        let addresses: Vec<_> = found.iter().map(|address| address.ip()).collect();
        provider(&host, &addresses)
    }

    /// The JSON at `url`, of at most `bytes_max`, when it is the turn of `provider`.
    pub async fn get<T: DeserializeOwned>(&self, provider: &str, url: Url, bytes_max: usize) -> Result<T, Refusal> {
        let host = authority(&url);
        let Answer { body, .. } = &self.fetch(provider, url, bytes_max).await?;
        serde_json::from_slice(body).map_err(|error| {
            let is_html = body.trim_ascii_start().starts_with(b"<");
            let reason = if is_html { "answers with HTML in place of JSON".to_owned() } else { error.to_string() };
            Refusal::Malformed { host, reason }
        })
    }

    /// The text at `url`, of at most `bytes_max`, when it is the turn of `provider`.
    pub async fn text(&self, provider: &str, url: Url, bytes_max: usize) -> Result<String, Refusal> {
        let host = authority(&url);
        let answer = self.fetch(provider, url, bytes_max).await?;
        String::from_utf8(answer.body.into()).map_err(|error| Refusal::Malformed { host, reason: error.to_string() })
    }

    /// What is at `url`, of at most `bytes_max`, when it is the turn of `provider`.
    async fn fetch(&self, provider: &str, url: Url, bytes_max: usize) -> Result<Answer, Refusal> {
        let host = authority(&url);
        if !self.allow_insecure && !net::is_public_url(&url) {
            let reason = "only https and public addresses are asked, unless allow-insecure-hosts is set".to_owned();
            return Err(Refusal::Malformed { host, reason });
        }
        let turn = self.pace.turn(provider, self.interval).await;
        let turn = turn.map_err(|pause| Refusal::Later { reason: paused(&host, pause), after: Some(pause) })?;
        let room = self.answers.room().await;
        let answer = timeout(self.request_time_max, self.ask(&host, url, bytes_max, turn, room)).await;
        answer.unwrap_or_else(|_| {
            let seconds = self.request_time_max.as_secs();
            Err(Refusal::Later { reason: format!("{host} has not answered within {seconds} s"), after: None })
        })
    }

    async fn ask(
        &self,
        host: &str,
        url: Url,
        bytes_max: usize,
        mut turn: Turn,
        room: Piece,
    ) -> Result<Answer, Refusal> {
        let away = |error: &dyn std::error::Error| Refusal::Later {
            reason: format!("cannot ask {host}: {}", describe(error)),
            after: None,
        };
        let response = self.client.get(url).send().await.map_err(|error| away(&error.without_url()))?;
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        let pause = turn.learn(Told::read(response.status(), response.headers(), now));
        let status = response.status();
        if status.is_success() {
            return self.answers.read(room, response, bytes_max).await.map_err(|error| match error {
                ReadError::Broken(error) => away(&error),
                ReadError::TooLong(_) => Refusal::Malformed { host: host.to_owned(), reason: error.to_string() },
            });
        }
        match status {
            // A server that does not know what it is asked for, and will not tomorrow.
            StatusCode::NOT_IMPLEMENTED => Err(refused(host, response).await),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(later(host, status, pause))
            }
            _ if status.is_server_error() => Err(later(host, status, pause)),
            _ => Err(refused(host, response).await),
        }
    }
}

/// How a server is called: its host, with the port if it is not the usual one.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn paused(host: &str, pause: Duration) -> String {
    format!("{host}, or another host of its provider, asked for a pause: {} s more", pause.as_secs().max(1))
}

fn later(host: &str, status: StatusCode, after: Option<Duration>) -> Refusal {
    let pause = after.map(|pause| format!(", which makes a pause of {} s", pause.as_secs())).unwrap_or_default();
    Refusal::Later { reason: format!("{host} answers {status}{pause}"), after }
}

/// An answer that will stay as it is, with what its body says.
async fn refused(host: &str, response: Response) -> Refusal {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        error: String,
        message: String,
    }
    let status = response.status();
    let body = read_bounded(response, ERROR_BYTES_MAX).await.unwrap_or_default();
    let Body { error: name, mut message } = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_redirection() {
        message = "it leads to another server; name that one".to_owned();
    }
    let cut = |text: String| text.chars().filter(|char| !char.is_control()).take(ERROR_CHARS_MAX).collect();
    Refusal::Answer { host: host.to_owned(), status: status.as_u16(), name: cut(name), message: cut(message) }
}
