//! The name of a host: what requestCrawl, the configuration and DID documents call it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host by name: `pds.example.com`, or for development `localhost:2583` and `10.0.0.1:2583`.
///
/// Names with a port are spoken to over plain HTTP; they exist only where insecure hosts are allowed (protocol 14).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// A name that is no host's; the message says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Neither a DNS name nor, where allowed, an address with a port.
    #[error("{0:?} is not a host name; write a DNS name like pds.example.com, without path and port")]
    Malformed(String),
    /// A development host on a relay for the public network.
    #[error("{0:?} is only allowed with allow-insecure-hosts, which is for development")]
    Insecure(String),
}

/// Longest DNS name (RFC 1035).
const NAME_BYTES_MAX: usize = 253;
/// Longest label of a DNS name.
const LABEL_BYTES_MAX: usize = 63;

impl HostName {
    /// Reads a name as people and PDSes give it: a scheme in front and a slash behind are tolerated.
    pub fn parse(text: &str, allow_insecure: bool) -> Result<HostName, HostNameError> {
        let malformed = || HostNameError::Malformed(text.to_owned());
        let (name, plain_http) = match text.split_once("://") {
            None => (text, false),
            Some(("https" | "wss", rest)) => (rest, false),
            Some(("http" | "ws", rest)) => (rest, true),
            Some(_) => return Err(malformed()),
        };
        let name = name.strip_suffix('/').unwrap_or(name).to_ascii_lowercase();
        if is_public_name(&name) {
            return if plain_http { Err(HostNameError::Insecure(text.to_owned())) } else { Ok(HostName(name)) };
        }
        if !is_development_name(&name) {
            return Err(malformed());
        }
        if allow_insecure { Ok(HostName(name)) } else { Err(HostNameError::Insecure(text.to_owned())) }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        !self.0.contains(':')
    }

    /// The part that is resolved, and the port.
    pub fn address(&self) -> (&str, u16) {
        match self.0.rsplit_once(':') {
            None => (&self.0, 443),
            // The port was checked when the name was read.
            Some((host, port)) => (host, port.parse().unwrap_or(80)),
        }
    }

    /// The URL of a path on it, with `http` or `ws` as the scheme's stem.
    pub fn url(&self, stem: &str, path: &str) -> String {
        let secure = if self.is_secure() { "s" } else { "" };
        format!("{stem}{secure}://{}{path}", self.0)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A DNS name with at least two labels, the last of which is not a number (it would be an address).
fn is_public_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= NAME_BYTES_MAX
        && name.contains('.')
        && name.split('.').all(label)
        && !last.starts_with(|first: char| first.is_ascii_digit())
        && last != "localhost"
}

/// `localhost:PORT`, or an IPv4 address with a port.
fn is_development_name(name: &str) -> bool {
    let Some((host, port)) = name.rsplit_once(':') else { return false };
    let is_host = host == "localhost" || matches!(IpAddr::from_str(host), Ok(IpAddr::V4(_)));
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol 14.
    #[test]
    fn names_are_read_as_people_write_them() {
        let name = |text, insecure| {
            HostName::parse(text, insecure).map(|name| name.0).map_err(|error| match error {
                HostNameError::Malformed(_) => "malformed",
                HostNameError::Insecure(_) => "insecure",
            })
        };
        let cases = [
            ("pds.example.com", false, Ok("pds.example.com")),
            ("https://PDS.example.com/", false, Ok("pds.example.com")),
            ("http://pds.example.com", true, Err("insecure")),
            ("pds.example.com:8080", false, Err("malformed")),
            ("pds.example.com/path", false, Err("malformed")),
            ("pds..example.com", false, Err("malformed")),
            ("-pds.example.com", false, Err("malformed")),
            ("example", false, Err("malformed")),
            ("1.2.3.4", false, Err("malformed")),
            ("1.2.3.4:80", false, Err("insecure")),
            ("1.2.3.4:80", true, Ok("1.2.3.4:80")),
            ("localhost", true, Err("malformed")),
            ("localhost:2583", false, Err("insecure")),
            ("http://localhost:2583", true, Ok("localhost:2583")),
            ("localhost:0", true, Err("malformed")),
            ("localhost:99999", true, Err("malformed")),
            ("ftp://pds.example.com", true, Err("malformed")),
            ("user@pds.example.com", true, Err("malformed")),
            ("", true, Err("malformed")),
        ];
        for (text, insecure, expected) in cases {
            assert_eq!(
                name(text, insecure),
                expected.map(str::to_owned),
                "{text:?}, insecure hosts allowed: {insecure}"
            );
        }
    }

    #[test]
    fn urls_and_addresses_follow_the_name() {
        let public = HostName::parse("pds.example.com", false).expect("public name");
        assert_eq!(public.url("ws", "/x"), "wss://pds.example.com/x");
        assert_eq!(public.address(), ("pds.example.com", 443));
        let local = HostName::parse("localhost:2583", true).expect("development name");
        assert_eq!(local.url("http", "/x"), "http://localhost:2583/x");
        assert_eq!(local.address(), ("localhost", 2583));
    }
}
