//! Whether a request comes from our own page, or from no page at all.
//!
//! A browser that knows the token by HTTP Basic sends it with every request to the admin port, those that a foreign page
//! makes too. It also says where a request comes from; programs like command-line tools do not.

use axum::http::{HeaderMap, header};

/// Whether no page of another site can have made the request.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    // Browsers say this over TLS and to localhost, and it survives a proxy that changes the Host header.
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match text(header::ORIGIN.as_str()) {
        None => true,
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some() && host == text(header::HOST.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_page_and_programs_are_at_home() {
        let cases: [(&[(&'static str, &str)], bool); 8] = [
            (&[], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://relay.example")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://relay.example:3001"), ("host", "relay.example:3001")], true),
            (&[("origin", "http://evil.example"), ("host", "relay.example:3001")], false),
            (&[("origin", "null"), ("host", "relay.example:3001")], false),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.insert(*name, value.parse().expect("a header"));
            }
            assert_eq!(is_own(&headers), expected, "{given:?}");
        }
    }
}
