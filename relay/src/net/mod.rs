//! Reaching servers that strangers name: only on public addresses, only over TLS, and never more than was asked for.
//!
//! Whoever can make the relay open a connection can try to make it open one into the network that it runs in (SSRF,
//! protocol 14). The names are resolved here, and the addresses that are checked are the addresses that are used.

mod public;
#[cfg(test)]
mod tests;

pub use public::is_public;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response, Url};

/// A connection that is not made within this fails.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// A connection that is kept for the next request is closed when there is none within this: whoever asks thousands of
/// servers, one after the other, would keep thousands of connections else.
const KEPT_TIME: Duration = Duration::from_secs(5);
/// Bytes that a server may send ahead of what is read of an answer over HTTP/2, and of all answers on a connection. The
/// library's own bounds are 2 and 5 MiB, which many servers together could use.
const UNREAD_BYTES_MAX: u32 = 256 << 10;
const CONNECTION_UNREAD_BYTES_MAX: u32 = 1 << 20;
/// Redirects that are followed: from `http` to `https`, from a bare domain to `www` and one more.
const REDIRECTS_MAX: usize = 3;

/// A name without a usable address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// DNS has no answer.
    #[error("cannot resolve {host}: {source}")]
    Dns {
        /// The name.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// All its addresses are private, or otherwise no place for a public server.
    #[error("{host} has no public address; others are for development, with allow-insecure-hosts")]
    NotPublic {
        /// The name.
        host: String,
    },
}

/// An answer that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection broke or was too slow.
    #[error("the answer broke off: {0}")]
    Broken(reqwest::Error),
    /// There is more of it than the caller takes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// An HTTP client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// The addresses of a host; unless `allow_private`, the public ones alone.
pub async fn resolve_public(host: &str, port: u16, allow_private: bool) -> Result<Vec<SocketAddr>, ResolveError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|source| ResolveError::Dns { host: host.to_owned(), source })?;
    usable(host, found, allow_private)
}

/// Those of a name's addresses that may be connected to. A name that also has private ones gets no connection to these,
/// and the caller connects to what is returned here: a second look at DNS could say something else (DNS rebinding).
fn usable(
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let addresses: Vec<SocketAddr> = found.filter(|address| allow_private || is_public(address.ip())).collect();
    if addresses.is_empty() { Err(ResolveError::NotPublic { host: host.to_owned() }) } else { Ok(addresses) }
}

/// What a limit per address counts: an IPv4 address, or the /64 of an IPv6 address, since one customer has all of it.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// The HTTP client for servers that strangers name. With `allow_insecure` it also takes plain HTTP, private addresses
/// and any port. There are many of them and each is asked seldom, so no connection is kept.
pub fn client(allow_insecure: bool) -> Result<Client, ClientError> {
    Ok(public_client(allow_insecure, |_| true)?.pool_max_idle_per_host(0).build()?)
}

/// As [`client`], but a redirect that leaves the server is not followed: it is the answer. For whoever is asked slowly,
/// so that nobody else is asked in their place. Connections are kept from one request to the next.
pub fn client_of_one_server(allow_insecure: bool) -> Result<Client, ClientError> {
    let client = public_client(allow_insecure, |attempt| {
        let to = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
        attempt.previous().last().is_some_and(|from| to(from) == to(attempt.url()))
    });
    Ok(client?.pool_idle_timeout(KEPT_TIME).build()?)
}

fn public_client(allow_insecure: bool, is_followed: fn(&Attempt<'_>) -> bool) -> Result<ClientBuilder, ClientError> {
    let redirects = Policy::custom(move |attempt: Attempt<'_>| {
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if !is_followed(&attempt) {
            attempt.stop()
        } else if allow_insecure || is_allowed(attempt.url()) {
            attempt.follow()
        } else {
            attempt.error("a redirect to somewhere that is not public")
        }
    });
    let resolver = PublicResolver { allow_private: allow_insecure };
    Ok(builder()?.dns_resolver(resolver).redirect(redirects).https_only(!allow_insecure))
}

/// The HTTP client for servers that the operator has named, wherever they are.
pub fn trusting_client() -> Result<Client, ClientError> {
    Ok(builder()?.redirect(Policy::limited(REDIRECTS_MAX)).build()?)
}

/// Reads the whole body of an answer, or fails as soon as it is longer than `bytes_max`.
pub async fn read_bounded(response: Response, bytes_max: usize) -> Result<Bytes, ReadError> {
    Reading::default().read(response, bytes_max).await
}

/// Counts the bytes of the answers that are being read.
#[derive(Debug, Default)]
pub struct Reading(AtomicUsize);

impl Reading {
    /// As [`read_bounded`], and counts what has come until it returns.
    pub async fn read(&self, mut response: Response, bytes_max: usize) -> Result<Bytes, ReadError> {
        let mut body = self.begin();
        if body.fill(&mut response, bytes_max).await? { Ok(body.end()) } else { Err(ReadError::TooLong(bytes_max)) }
    }

    /// A body of which nothing is read yet.
    pub fn begin(&self) -> Body<'_> {
        Body { bytes: BytesMut::new(), counted: 0, reading: self }
    }

    /// Bytes that are being read.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that is being read.
pub struct Body<'a> {
    bytes: BytesMut,
    counted: usize,
    reading: &'a Reading,
}

impl Body<'_> {
    /// Reads on, until the answer has ended or more than `bytes_max` of it are there; whether it has ended before that.
    pub async fn fill(&mut self, response: &mut Response, bytes_max: usize) -> Result<bool, ReadError> {
        while self.bytes.len() <= bytes_max {
            match response.chunk().await.map_err(|error| ReadError::Broken(error.without_url()))? {
                Some(chunk) => self.extend(&chunk),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// What was read.
    pub fn end(mut self) -> Bytes {
        std::mem::take(&mut self.bytes).freeze()
    }

    fn extend(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        let more = self.bytes.capacity() - self.counted;
        self.reading.0.fetch_add(more, Ordering::Relaxed);
        self.counted += more;
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.reading.0.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// An error with its causes: reqwest's own words are "error sending request".
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// How long a server asks to be left alone, in `Retry-After`: seconds, or a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// What all clients have in common. They use no proxy, which would resolve names in our place.
fn builder() -> Result<ClientBuilder, ClientError> {
    let mut tls = tls_config()?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let builder = Client::builder().tls_backend_preconfigured(tls);
    let builder = builder.user_agent(crate::USER_AGENT).connect_timeout(CONNECT_TIME_MAX).no_proxy();
    Ok(builder
        .http2_initial_stream_window_size(UNREAD_BYTES_MAX)
        .http2_initial_connection_window_size(CONNECTION_UNREAD_BYTES_MAX))
}

/// TLS towards other servers: the roots of the web, which are in the binary, and one crypto library.
pub fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Whether a URL is for a public server, as far as it says itself: over TLS, by a name or a public address. Where a name
/// leads is seen when it is resolved.
pub fn is_public_url(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    url.scheme() == "https" && host.parse::<IpAddr>().map_or(!host.is_empty(), is_public)
}

/// Whether a URL from outside may be requested: a public one on the usual port.
fn is_allowed(url: &Url) -> bool {
    url.port().is_none() && is_public_url(url)
}

/// Resolves names for [`client`].
struct PublicResolver {
    allow_private: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            // Port 0 stands for the one of the URL.
            let addresses = resolve_public(name.as_str(), 0, allow_private).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
