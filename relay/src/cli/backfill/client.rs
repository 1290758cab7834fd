//! The admin API of a relay, as a client of it.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Settings;
use crate::net;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An answer has come within this; the relay itself gives up on a request earlier.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest answer: a page of parts, some thousand jobs.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What is shown of an answer that makes no sense.
const SHOWN_CHARS_MAX: usize = 200;
/// How to give a token, in messages.
const TOKEN_FLAGS: &str = "--admin-token, --admin-token-file, or RELAY_ADMIN_TOKEN in the environment";

/// Where the relay is, and what opens its admin API.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// Address of the relay's admin listener
    #[arg(
        long,
        global = true,
        env = "RELAY_ADMIN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:3001",
        value_parser = parse_url
    )]
    admin_url: Url,

    /// Token of the admin API
    #[arg(long, global = true, env = "RELAY_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<String>,

    /// File with the token in its first line, like that of `relay serve`
    #[arg(long, global = true, env = "RELAY_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    /// TOML file of the relay, of which admin-token or admin-token-file is taken
    #[arg(long, global = true, env = "RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

fn parse_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("write a URL like http://127.0.0.1:3001".to_owned()),
    }
}

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody answers.
    #[error("no relay answers at {url}: {reason}; is it running, and is --admin-url its admin-listen address?")]
    Away {
        /// Where.
        url: Url,
        /// What the connection came to.
        reason: String,
    },
    /// It cannot answer now.
    #[error("the relay answers {status}: {message}")]
    Busy {
        /// HTTP status.
        status: StatusCode,
        /// What it says.
        message: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// The token is missing or wrong.
    #[error("{0}")]
    Token(String),
    /// What is asked for makes no sense.
    #[error("{message}")]
    Misuse {
        /// What would.
        message: String,
    },
    /// It will not do it.
    #[error("{message}")]
    Refused {
        /// What it says.
        message: String,
    },
    /// That is no admin API, or one of another version.
    #[error("{url} answers {status}, {reason}; is --admin-url the admin-listen address of a relay of this version?")]
    Foreign {
        /// Where.
        url: Url,
        /// HTTP status.
        status: StatusCode,
        /// What is wrong.
        reason: String,
    },
    /// An answer of another form than expected.
    #[error("the relay's answer is not as expected: {0}; are relay and command of the same version?")]
    Form(#[from] serde_json::Error),
}

impl Failure {
    /// Whether the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Failure::Away { .. } | Failure::Busy { .. })
    }

    /// How long the relay wants to be left alone, if it says so.
    pub(super) fn after(&self) -> Option<Duration> {
        match self {
            Failure::Busy { after, .. } => *after,
            _ => None,
        }
    }
}

/// The admin API of one relay.
pub(super) struct Admin {
    client: Client,
    url: Url,
    token: Option<String>,
}

/// What a request carries.
pub(super) enum Body<'a> {
    None,
    Json(&'a Value),
    Lines(Vec<u8>),
}

impl Admin {
    pub(super) fn new(connection: Connection) -> anyhow::Result<Admin> {
        let Connection { admin_url, admin_token, admin_token_file, config } = connection;
        let token = match (admin_token, admin_token_file, config) {
            (Some(token), ..) => Some(token),
            (None, Some(file), _) => first_token(&file)?,
            (None, None, Some(config)) => {
                let settings = Settings::from_file(&config)?;
                let of_file = settings.admin_token_file.map(|file| first_token(&file)).transpose()?;
                settings.admin_token.or(of_file.flatten())
            }
            (None, None, None) => None,
        };
        Ok(Admin { client: net::trusting_client()?, url: admin_url, token: token.filter(|token| !token.is_empty()) })
    }

    /// Sends a request to a path below `/admin/backfill` and reads the answer.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<T, Failure> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["admin", "backfill"]).extend(path);
        }
        let request = self.client.request(method, url).query(query).timeout(ANSWER_TIME_MAX);
        let request = self.token.iter().fold(request, |request, token| request.bearer_auth(token));
        let request = match body {
            Body::None => request,
            Body::Json(json) => request.json(json),
            Body::Lines(lines) => request.header("content-type", "text/plain; charset=utf-8").body(lines),
        };
        let response = request.send().await.map_err(|error| self.away(&error.without_url()))?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let (status, after) = (response.status(), net::retry_after(response.headers()));
        let body = net::read_bounded(response, ANSWER_BYTES_MAX).await.map_err(|error| self.away(&error))?;
        let foreign = |reason: String| Failure::Foreign { url: self.url.clone(), status, reason };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| foreign(error.to_string()));
        }
        let shown: String = String::from_utf8_lossy(&body).chars().take(SHOWN_CHARS_MAX).collect();
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = json["message"].as_str().map(str::to_owned);
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Busy { status, message: message.unwrap_or(shown), after })
            }
            _ if status.is_server_error() => Err(Failure::Busy { status, message: message.unwrap_or(shown), after }),
            StatusCode::UNAUTHORIZED if self.token.is_some() => {
                Err(Failure::Token(format!("the relay does not know this admin token; give another by {TOKEN_FLAGS}")))
            }
            StatusCode::UNAUTHORIZED => {
                Err(Failure::Token(format!("the relay wants its admin token; give it by {TOKEN_FLAGS}")))
            }
            StatusCode::BAD_REQUEST => match message {
                Some(message) => Err(Failure::Misuse { message }),
                None => Err(foreign(shown)),
            },
            _ => match message {
                Some(message) => Err(Failure::Refused { message }),
                None => Err(foreign(shown)),
            },
        }
    }

    fn away(&self, error: &dyn Error) -> Failure {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Failure::Away { url: self.url.clone(), reason: innermost.to_string() }
    }
}

/// Reads what an answer says.
pub(super) fn understand<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    Ok(T::deserialize(answer)?)
}

fn first_token(file: &PathBuf) -> anyhow::Result<Option<String>> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| anyhow::anyhow!("cannot read the token file {}: {error}", file.display()))?;
    Ok(text.split_whitespace().next().map(str::to_owned))
}
