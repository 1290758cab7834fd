//! What can go wrong.

use std::time::Duration;

use crate::net;

/// It could not be found out who an account is. It is worth trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Transient {
    /// No answer in time.
    #[error("{host} did not answer within {after:?}")]
    Timeout {
        /// The resolver's server.
        host: Box<str>,
        /// How long it was given.
        after: Duration,
    },
    /// An answer that is a refusal or a failure.
    #[error("{host} answered with status {status}")]
    Refused {
        /// The resolver's server.
        host: Box<str>,
        /// HTTP status.
        status: u16,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The directory's answer makes no sense.
    #[error("{host}: {reason}")]
    Malformed {
        /// The resolver's server.
        host: Box<str>,
        /// Why.
        reason: String,
    },
    /// No connection, or a broken one.
    #[error("cannot reach {host}: {reason}")]
    Network {
        /// The resolver's server.
        host: Box<str>,
        /// Why.
        reason: String,
    },
    /// The server was not asked: it has failed, has asked for rest, or too many requests wait for it.
    #[error("{host} is left alone for {} s", .retry_after.as_secs() + 1)]
    Paused {
        /// The resolver's server.
        host: Box<str>,
        /// How long.
        retry_after: Duration,
    },
    /// The relay is stopping.
    #[error("the relay is stopping")]
    Stopping,
}

impl Transient {
    /// When it is worth trying again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Transient::Refused { retry_after, .. } => *retry_after,
            Transient::Paused { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// A resolver that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The directory's URL has no host.
    #[error("plc-url: {0:?} is not a URL; write one like https://plc.directory")]
    PlcUrl(String),
    /// The store has no place for identities.
    #[error("the derived store has no column {0:?}")]
    Column(&'static str),
    /// The HTTP clients.
    #[error(transparent)]
    Client(#[from] net::ClientError),
}
