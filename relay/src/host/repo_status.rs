//! Asks a host how one of its accounts stands, where we may have missed its last `#account` (protocol 19).

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{Host, HostName};
use crate::account::Status;
use crate::net::{self, ClientError, read_bounded};
use crate::protocol::did::Did;

/// A host answers within this.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Questions at once; whoever comes beyond that gets no answer.
const ASKED_MAX: usize = 32;

/// Asks hosts, a bounded number of them at once.
pub struct RepoStatuses {
    http: reqwest::Client,
    places: Semaphore,
}

#[derive(Deserialize)]
struct Answer {
    active: bool,
    status: Option<String>,
}

impl RepoStatuses {
    /// Over plain HTTP and to private addresses too, with `allow_insecure`.
    pub fn new(allow_insecure: bool) -> Result<RepoStatuses, ClientError> {
        Ok(RepoStatuses { http: net::client(allow_insecure)?, places: Semaphore::new(ASKED_MAX) })
    }

    /// What the host says of the account; `None` when it does not answer: then nothing is known that was not known.
    pub async fn ask(&self, host: &Host, did: &Did) -> Option<Status> {
        let _place = self.places.try_acquire().ok()?;
        match ask(&self.http, &host.name, did).await {
            Ok(Answer { active, status }) => Some(Status::of_event(active, status.as_deref())),
            Err(reason) => {
                tracing::debug!(host = %host.name, did = did.as_str(), reason, "status of an account not learnt");
                None
            }
        }
    }
}

async fn ask(http: &reqwest::Client, host: &HostName, did: &Did) -> Result<Answer, String> {
    let url = host.url("http", &format!("/xrpc/com.atproto.sync.getRepoStatus?did={did}"));
    let response = http.get(url).timeout(ASK_TIME_MAX).send().await;
    let response = response.map_err(|error| error.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()));
    }
    let body = read_bounded(response, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
