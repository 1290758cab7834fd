#![allow(clippy::unwrap_used)]

use axum::http::HeaderValue;

use super::*;

#[test]
fn cursors_are_whole_numbers_from_zero() {
    let cases = [
        (None, Some(None)),
        (Some(""), Some(None)),
        (Some("0"), Some(Some(0))),
        (Some("42"), Some(Some(42))),
        (Some("9223372036854775807"), Some(Some(i64::MAX as u64))),
        (Some("9223372036854775808"), None),
        (Some("-1"), None),
        (Some("1.5"), None),
        (Some("0x10"), None),
        (Some(" 1"), None),
        (Some("abc"), None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_cursor(text).ok(), expected, "cursor {text:?}");
    }
}

#[test]
fn a_forwarded_address_counts_only_if_trusted() {
    let cases: [(bool, &[&str], &str); 8] = [
        (false, &["198.51.100.1"], "192.0.2.9"),
        (true, &[], "192.0.2.9"),
        (true, &["198.51.100.1"], "198.51.100.1"),
        (true, &["203.0.113.7, 198.51.100.1"], "198.51.100.1"),
        (true, &["203.0.113.7", "198.51.100.1"], "198.51.100.1"),
        (true, &["198.51.100.1:4711"], "198.51.100.1"),
        (true, &["[2001:db8::1]:4711"], "2001:db8::1"),
        (true, &["unknown"], "192.0.2.9"),
    ];
    for (trust_forwarded_for, values, expected) in cases {
        let limits = Limits { trust_forwarded_for, ..Limits::default() };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let address = address(&limits, "[::ffff:192.0.2.9]:1".parse().unwrap(), &headers);
        assert_eq!(address.to_string(), expected, "trusted: {trust_forwarded_for}, header: {values:?}");
    }
}
