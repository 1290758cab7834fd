//! The hosts of a relay, `GET /admin/pds/list`: of ours, and of indigo, which tells less.

use serde::{Deserialize, Serialize};

use super::AskError;
use crate::api::Implementation;

/// A host. What an implementation does not tell is absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its name.
    pub host: String,
    /// active, idle, offline, throttled or banned.
    pub status: String,
    /// Whether a stream is open.
    pub connected: bool,
    /// Accounts.
    pub accounts: u64,
    /// Most accounts that it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_limit: Option<u64>,
    /// The seq up to which it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<u64>,
    /// Events per second since it was connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<f64>,
    /// Messages since the relay's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Events dropped since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// How old its last event was when it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// What it waits for, if it is only that it is not dialled yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The last failure, which may be over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
    /// When it will be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<String>,
}

/// A host as indigo lists it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfIndigo {
    host: String,
    cursor: i64,
    registered: bool,
    blocked: bool,
    repo_count: i64,
    repo_limit: i64,
    has_active_connection: bool,
    events_seen_since_startup: u64,
}

impl From<OfIndigo> for Host {
    fn from(host: OfIndigo) -> Self {
        let status = match () {
            () if host.blocked => "banned",
            // It calls active what it means to read, whether it can or not.
            () if host.has_active_connection => "active",
            () if host.registered => "offline",
            () => "idle",
        };
        Self {
            host: host.host,
            status: status.into(),
            connected: host.has_active_connection,
            accounts: u64::try_from(host.repo_count).unwrap_or(0),
            account_limit: u64::try_from(host.repo_limit).ok(),
            cursor: u64::try_from(host.cursor).ok(),
            received: Some(host.events_seen_since_startup),
            ..Self::default()
        }
    }
}

/// The hosts in an answer of a relay of this implementation.
///
/// # Errors
///
/// When the answer is not of its form.
pub fn hosts(implementation: Implementation, answer: &[u8]) -> Result<Vec<Host>, AskError> {
    let hosts = match implementation {
        Implementation::Indigo => serde_json::from_slice(answer)
            .map(|hosts: Vec<OfIndigo>| hosts.into_iter().map(Host::from).collect::<Vec<_>>()),
        Implementation::Bundled | Implementation::Zlay => serde_json::from_slice(answer),
    };
    hosts.map_err(|error| AskError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn of(implementation: Implementation, host: &Value) -> Host {
        hosts(implementation, json!([host]).to_string().as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn our_relay_tells_most() {
        // As it answers; it has the names of indigo beside its own.
        let host = json!({
            "Blocked": false, "CrawlRateLimit": 0, "CreatedAt": "2026-11-28T06:12:05.843Z", "Cursor": 0,
            "EventsSeenSinceStartup": 0, "HasActiveConnection": false, "Host": "localhost:1", "ID": 1,
            "PerDayEventRate": {"Max": -1.0, "Window": 86400}, "PerHourEventRate": {"Max": -1.0, "Window": 3600},
            "PerSecondEventRate": {"Max": 50.0, "Window": 1}, "Registered": false, "RepoCount": 0, "RepoLimit": 100,
            "SSL": false, "UserCount": 0, "accountLimit": 100, "accounts": 3, "accountsHeld": 0, "catchingUp": false,
            "connected": false, "connectedAt": null, "connects": 0, "cursor": 99, "dropped": 7, "eventsPerSecond": 1.5,
            "eventsPerSecondLimit": 50, "eventsSinceConnect": 0, "host": "localhost:1", "id": 1, "inFlight": 0,
            "lagSeconds": 75, "lastError": "cannot reach the host", "lastErrorAt": "2026-11-28T06:12:10.094Z",
            "lastEventAt": null, "nextTryAt": "2026-11-28T06:12:15.261Z", "passed": 123, "received": 130,
            "status": "idle", "validation": "enforce", "waitsFor": null,
        });
        let want = Host {
            host: "localhost:1".into(),
            status: "idle".into(),
            connected: false,
            accounts: 3,
            account_limit: Some(100),
            cursor: Some(99),
            events_per_second: Some(1.5),
            received: Some(130),
            dropped: Some(7),
            lag_seconds: Some(75),
            waits_for: None,
            last_error: Some("cannot reach the host".into()),
            last_error_at: Some("2026-11-28T06:12:10.094Z".into()),
            next_try_at: Some("2026-11-28T06:12:15.261Z".into()),
        };
        assert_eq!(of(Implementation::Bundled, &host), want);
    }

    #[test]
    fn the_states_of_indigo_become_ours() {
        let table = [
            ((true, true, true), "banned"),
            ((false, true, true), "active"),
            ((false, true, false), "offline"),
            ((false, false, false), "idle"),
        ];
        for ((blocked, registered, connected), status) in table {
            let host = json!({
                "ID": 1, "CreatedAt": "2026-11-28T10:00:00Z", "Host": "pds.test", "SSL": true, "Cursor": -1,
                "Registered": registered, "Blocked": blocked, "CrawlRateLimit": 0.0, "RepoCount": 5, "RepoLimit": 100,
                "HasActiveConnection": connected, "EventsSeenSinceStartup": 9, "UserCount": 5,
            });
            let host = of(Implementation::Indigo, &host);
            assert_eq!((host.status.as_str(), host.connected), (status, connected));
            assert_eq!((host.accounts, host.account_limit, host.cursor), (5, Some(100), None));
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for answer in ["", "{}", "[{}]", "[7]"] {
            assert!(hosts(Implementation::Bundled, answer.as_bytes()).is_err(), "{answer}");
            assert!(hosts(Implementation::Indigo, answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
