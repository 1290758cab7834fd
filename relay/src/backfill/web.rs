//! Requests to services that are not ours: as slow as they ask, within bounds of bytes and time.

use std::time::Duration;

use reqwest::Url;
use serde::de::DeserializeOwned;

/// Asks services and PDS hosts. Clones share the pace.
#[derive(Clone)]
pub struct Web {
    client: reqwest::Client,
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

impl Web {
    /// With this client.
    pub fn new(client: reqwest::Client) -> Web {
        Web { client }
    }

    /// The JSON at `url`, of at most `bytes_max`, when it is the turn of `provider`.
    pub async fn get<T: DeserializeOwned>(&self, _provider: &str, url: Url, bytes_max: usize) -> Result<T, Refusal> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let later = |error: reqwest::Error| Refusal::Later { reason: error.without_url().to_string(), after: None };
        let response = self.client.get(url).send().await.map_err(later)?;
        let body = response.bytes().await.map_err(later)?;
        let malformed = |reason: String| Refusal::Malformed { host: host.clone(), reason };
        if body.len() > bytes_max {
            return Err(malformed("too long".to_owned()));
        }
        serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))
    }
}
