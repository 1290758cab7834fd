//! Who shares a limit: hosts of one provider are asked as if they were one.

use std::net::IpAddr;

use crate::net;

/// Names under which all hosts belong to one provider that counts requests to all of them together.
const SHARED_SUFFIXES: [&str; 1] = ["host.bsky.network"];

/// The provider of a host by name, with its port if it is not the usual one, and its addresses as far as they are known:
/// one for all names under a suffix that shares limits, for all that are behind an address, or just the host.
pub(super) fn provider(host: &str, addresses: &[IpAddr]) -> String {
    let is_under =
        |suffix: &&&str| host.strip_suffix(**suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if let Some(suffix) = SHARED_SUFFIXES.iter().find(is_under) {
        return (*suffix).to_owned();
    }
    // On loopback every port is a server of its own, in tests.
    let shared = addresses.iter().filter(|address| !address.is_loopback());
    // A name with several addresses has the same one every time.
    shared.map(|address| net::network(*address)).min().map_or_else(|| host.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn hosts_that_share_a_limit_have_one_provider() {
        let cases: [(&str, &[&str], &str); 9] = [
            ("morel.us-east.host.bsky.network", &["203.0.113.1"], "host.bsky.network"),
            ("host.bsky.network", &[], "host.bsky.network"),
            ("ghost.bsky.network", &[], "ghost.bsky.network"),
            ("pds.example.com", &["203.0.113.7"], "203.0.113.7"),
            ("other.example.org", &["203.0.113.9", "203.0.113.7"], "203.0.113.7"),
            ("mapped.example.org", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("six.example.com", &["2001:db8:1:2:3::4"], "2001:db8:1:2::"),
            ("unknown.example.com", &[], "unknown.example.com"),
            ("localhost:10001", &["127.0.0.1", "::1"], "localhost:10001"),
        ];
        for (host, addresses, expected) in cases {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(provider(host, &addresses), expected, "{host}");
        }
    }
}
