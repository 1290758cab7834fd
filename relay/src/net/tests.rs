#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;

/// Protocol 14.
#[test]
fn private_addresses_are_told_from_public_ones() {
    let private = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::6440:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "2002:7f00:1::1",
        "2002:101:101::1",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd12:3456:789a::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    let public = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.114.0",
        "223.255.255.255",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a01:4f8::1",
        "3ffe:ffff::1",
    ];
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for text in private {
        assert!(!is_public(address(text)), "{text} is not public");
    }
    for text in public {
        assert!(is_public(address(text)), "{text} is public");
    }
}

/// Protocol 14.
#[tokio::test]
async fn private_addresses_are_found_only_where_allowed() {
    let found = resolve_public("127.0.0.1", 80, true).await.unwrap();
    assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
    for host in ["127.0.0.1", "localhost", "10.0.0.1"] {
        let refused = resolve_public(host, 80, false).await;
        assert!(matches!(refused, Err(ResolveError::NotPublic { .. })), "{host}: {refused:?}");
    }
    let unknown = resolve_public("name.invalid", 80, true).await;
    assert!(matches!(unknown, Err(ResolveError::Dns { .. })), "{unknown:?}");
}

/// Protocol 14.
#[test]
fn of_a_name_with_public_and_private_addresses_only_the_public_ones_are_used() {
    let found = ["10.0.0.1:443", "1.1.1.1:443", "[::1]:443", "[2606:4700:4700::1111]:443", "169.254.169.254:443"];
    let found = || found.into_iter().map(|address| address.parse::<SocketAddr>().unwrap());
    let public: Vec<_> = found().filter(|address| is_public(address.ip())).collect();
    assert_eq!(usable("pds.example.com", found(), false).unwrap(), public);
    assert_eq!(public.len(), 2);
    assert_eq!(usable("pds.example.com", found(), true).unwrap().len(), 5, "for development");
    let private = usable("pds.example.com", found().filter(|address| !is_public(address.ip())), false);
    assert!(matches!(private, Err(ResolveError::NotPublic { .. })), "{private:?}");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let read = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
    assert_eq!(read("7"), Some(Duration::from_secs(7)));
    assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let soon = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let seconds = read(&soon).map(|wait| wait.as_secs());
    assert!(seconds.is_some_and(|seconds| (57..=60).contains(&seconds)), "{soon}: {seconds:?}");
    for text in ["", "-1", "soon"] {
        assert_eq!(read(text), None, "{text:?}");
    }
}

/// Protocol 14.
#[test]
fn only_public_urls_are_followed() {
    let cases = [
        ("https://example.com/", true),
        ("https://example.com:443/", true),
        ("https://1.1.1.1/", true),
        ("https://[2606:4700:4700::1111]/", true),
        ("http://example.com/", false),
        ("https://example.com:8443/", false),
        ("https://127.0.0.1/", false),
        ("https://2130706433/", false),
        ("https://0x7f.1/", false),
        ("https://[::1]/", false),
        ("https://[::ffff:10.0.0.1]/", false),
        ("https://169.254.169.254/latest/meta-data/", false),
    ];
    for (url, expected) in cases {
        assert_eq!(is_allowed(&Url::parse(url).unwrap()), expected, "{url}");
    }
}

/// A server whose `/there` answers, `/redirect` leads there, and `/loop` leads to itself.
async fn server() -> u16 {
    let redirect = |to: &'static str| async move { (StatusCode::FOUND, [(header::LOCATION, to)]) };
    let routes = Router::new()
        .route("/there", get(|| async { "x".repeat(1000) }))
        .route("/redirect", get(move || redirect("/there")))
        .route("/loop", get(move || redirect("/loop")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    port
}

#[tokio::test]
async fn the_client_reaches_private_servers_only_where_allowed() {
    let port = server().await;
    let [plain, tls] = ["http", "https"].map(|scheme| format!("{scheme}://localhost:{port}/there"));
    let strict = client(false).unwrap();
    assert!(strict.get(&plain).send().await.is_err(), "plain HTTP is refused");
    let refused = strict.get(&tls).send().await.unwrap_err();
    assert!(refused.is_dns(), "the name has no public address: {refused:?}");
    assert!(client(true).unwrap().get(&plain).send().await.unwrap().status().is_success());
    assert!(trusting_client().unwrap().get(&plain).send().await.unwrap().status().is_success());
}

/// Protocol 14.
#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let port = server().await;
    for client in [client(true).unwrap(), trusting_client().unwrap()] {
        let there = client.get(format!("http://localhost:{port}/redirect")).send().await.unwrap();
        assert_eq!(there.url().path(), "/there");
        assert!(client.get(format!("http://localhost:{port}/loop")).send().await.unwrap_err().is_redirect());
    }
}

#[tokio::test]
async fn a_client_of_one_server_stays_there() {
    let [port, other] = [server().await, server().await];
    let away = Router::new().route(
        "/away",
        get(
            move || async move { (StatusCode::FOUND, [(header::LOCATION, format!("http://localhost:{other}/there"))]) },
        ),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let leaving = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, away).await });
    let client = client_of_one_server(true).unwrap();
    let there = client.get(format!("http://localhost:{port}/redirect")).send().await.unwrap();
    assert_eq!(there.url().path(), "/there");
    let away = client.get(format!("http://localhost:{leaving}/away")).send().await.unwrap();
    assert_eq!(away.status(), StatusCode::FOUND);
    assert!(client.get(format!("http://localhost:{port}/loop")).send().await.unwrap_err().is_redirect());
}

#[tokio::test]
async fn no_more_is_read_than_was_asked_for() {
    let port = server().await;
    let client = client(true).unwrap();
    let response = || async { client.get(format!("http://localhost:{port}/there")).send().await.unwrap() };
    assert_eq!(read_bounded(response().await, 1000).await.unwrap().len(), 1000);
    assert!(matches!(read_bounded(response().await, 999).await, Err(ReadError::TooLong(999))));
}

#[test]
fn an_address_counts_as_its_network() {
    let cases = [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
    ];
    for (one, other, is_same) in cases {
        let same = network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert_eq!(same, is_same, "{one} and {other}");
    }
}
