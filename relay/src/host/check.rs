//! The checks that a host passes before the relay remembers anything of it (protocol 14).

use std::time::Duration;

use reqwest::header::{HeaderMap, SERVER};
use serde::Deserialize;

use super::HostName;
use crate::net::read_bounded;

/// A PDS answers `describeServer` within this.
const DESCRIBE_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const DESCRIBE_BYTES_MAX: usize = 64 << 10;

/// Why a host is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It does not answer.
    #[error("{host} does not answer describeServer: {reason}")]
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
    /// It answers, but not as a PDS.
    #[error("{0} is not a PDS: its describeServer answer has no did")]
    NoPds(String),
    /// It is a relay.
    #[error("{0} is itself a relay")]
    Relay(String),
}

#[derive(Deserialize)]
struct Description {
    did: String,
}

/// Whether whoever answers with these headers calls itself a relay. A relay that reads from a relay makes loops
/// (protocol 13).
pub(super) fn is_relay(headers: &HeaderMap) -> bool {
    headers.get_all(SERVER).iter().any(|server| server.to_str().is_ok_and(|server| server.contains("atproto-relay")))
}

/// Asks the host to describe itself.
pub(super) async fn check(name: &HostName, http: &reqwest::Client) -> Result<(), CheckError> {
    let unreachable = |reason: String| CheckError::Unreachable { host: name.to_string(), reason };
    let url = name.url("http", "/xrpc/com.atproto.server.describeServer");
    let response = http.get(url).timeout(DESCRIBE_TIME_MAX).send().await;
    let response = response.map_err(|error| unreachable(error.without_url().to_string()))?;
    if is_relay(response.headers()) {
        return Err(CheckError::Relay(name.to_string()));
    }
    if !response.status().is_success() {
        return Err(unreachable(format!("it answers {}", response.status())));
    }
    let body = read_bounded(response, DESCRIBE_BYTES_MAX).await.map_err(|error| unreachable(error.to_string()))?;
    match serde_json::from_slice::<Description>(&body) {
        Ok(description) if description.did.starts_with("did:") => Ok(()),
        _ => Err(CheckError::NoPds(name.to_string())),
    }
}
