#![allow(clippy::unwrap_used)]

use serde_json::Value;
use sim::Directory;
use sim::directory::{Fault, Rate, Route};

use super::*;

const PROVIDER: &str = "directory";
const BYTES_MAX: usize = 64 << 10;
const FAST: Option<f64> = Some(1e6);

async fn directory() -> Directory {
    let pairs = (0..5).map(|number| (format!("did:web:account{number}.example.com"), "com.example.post".to_owned()));
    Directory::start(pairs).await
}

fn page(directory: &Directory) -> Url {
    let page = "xrpc/com.atproto.sync.listReposByCollection?collection=com.example.post";
    Url::parse(&directory.url()).unwrap().join(page).unwrap()
}

fn web() -> Web {
    Web::new(true).unwrap().at_rate(FAST)
}

async fn get(web: &Web, directory: &Directory) -> Result<Value, Refusal> {
    web.get(PROVIDER, page(directory), BYTES_MAX).await
}

#[tokio::test]
async fn an_answer_is_read() {
    let directory = directory().await;
    let page = get(&web(), &directory).await.unwrap();
    assert_eq!(page["repos"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_stays() {
    let directory = directory().await;
    let web = web();
    let refusal = async |fault: Fault| {
        directory.fail_next(Route::Repos, 1, fault);
        get(&web, &directory).await.unwrap_err()
    };
    let passing = [500, 502, 504, 520, 408, 425].map(Fault::Status).into_iter().chain([Fault::Close]);
    for fault in passing {
        let refusal = refusal(fault.clone()).await;
        assert!(matches!(refusal, Refusal::Later { after: None, .. }), "{fault:?}: {refusal:?}");
    }
    for status in [400, 401, 403, 404, 405, 410, 501] {
        let refusal = refusal(Fault::Error(status, "Some".to_owned())).await;
        let expected = Refusal::Answer {
            host: authority(&page(&directory)),
            status,
            name: "Some".to_owned(),
            message: "simulated".to_owned(),
        };
        assert_eq!(refusal, expected);
    }
    for fault in [Fault::Html, Fault::HugeBody] {
        let refusal = refusal(fault.clone()).await;
        assert!(matches!(refusal, Refusal::Malformed { .. }), "{fault:?}: {refusal:?}");
    }
    let html = refusal(Fault::Html).await.to_string();
    assert!(html.ends_with("answers with HTML in place of JSON"), "{html}");
}

#[tokio::test]
async fn a_server_that_is_away_may_come_back() {
    let address = sim::server::free_address();
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let refusal = web().get::<Value>(PROVIDER, url, BYTES_MAX).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Later { reason, .. } if reason.contains("refused")), "{refusal}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let directory = directory().await;
    directory.fail_next(Route::Repos, 1, Fault::Silent);
    let web = Web { request_time_max: Duration::from_millis(100), ..web() };
    let refusal = get(&web, &directory).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Later { reason, .. } if reason.contains("has not answered")), "{refusal}");
    let web = Web { request_time_max: REQUEST_TIME_MAX, ..web };
    assert!(get(&web, &directory).await.is_ok(), "its turn is free again");
}

#[tokio::test]
async fn a_redirect_to_another_server_is_an_answer() {
    let [directory, other] = [directory().await, directory().await];
    directory.fail_next(Route::Repos, 1, Fault::Redirect(page(&other).to_string()));
    let refusal = get(&web(), &directory).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::Answer { status: 302, message, .. } if message.contains("another server")));
    assert_eq!(other.requests(), 0);
    directory.fail_next(Route::Repos, 1, Fault::Redirect(page(&directory).to_string()));
    assert!(get(&web(), &directory).await.is_ok(), "within the server it is followed");
}

#[tokio::test]
async fn a_pause_is_kept_without_a_request() {
    let hour = Duration::from_secs(3600);
    let faults = [
        Fault::Busy(Some(3600)),
        Fault::BusyUntil(3600),
        Fault::Header("ratelimit", "limit=10, remaining=0, reset=3600".to_owned()),
    ];
    for fault in faults {
        let directory = directory().await;
        directory.fail_next(Route::Repos, 1, fault.clone());
        let web = web();
        match get(&web, &directory).await {
            Ok(_) => assert!(matches!(fault, Fault::Header(..)), "{fault:?}"),
            Err(Refusal::Later { after, .. }) => assert!(after > Some(hour / 2) && after <= Some(hour), "{fault:?}"),
            Err(refusal) => panic!("{fault:?}: {refusal:?}"),
        }
        let again = get(&web.at_rate(None), &directory).await.unwrap_err();
        assert!(matches!(again, Refusal::Later { after, .. } if after > Some(hour / 2)), "{fault:?}: {again:?}");
        assert_eq!(directory.requests(), 1, "{fault:?}");
        assert!(web.get::<Value>("other", page(&directory), BYTES_MAX).await.is_ok(), "others are asked");
    }
}

#[tokio::test]
async fn a_limit_that_is_told_is_never_passed() {
    let directory = directory().await;
    directory.set_rate(Some(Rate { requests: 4, window: Duration::from_secs(1), is_told: true }));
    let web = web();
    for _ in 0..10 {
        get(&web, &directory).await.unwrap();
    }
    assert_eq!(directory.refused(), 0);
}

#[tokio::test]
async fn a_provider_has_one_request_at_a_time() {
    let directory = directory().await;
    directory.fail_next(Route::Repos, 20, Fault::Delay(Duration::from_millis(5)));
    let web = web();
    futures_util::future::join_all((0..20).map(|_| get(&web, &directory))).await;
    assert_eq!((directory.requests(), directory.at_once_max()), (20, 1));
}

#[tokio::test]
async fn private_servers_are_asked_only_where_allowed() {
    let directory = directory().await;
    let strict = Web::new(false).unwrap();
    let urls = ["http://example.com/", "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest"];
    for url in urls.map(|url| Url::parse(url).unwrap()).into_iter().chain([page(&directory)]) {
        let refusal = strict.get::<Value>(PROVIDER, url.clone(), BYTES_MAX).await.unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Malformed { reason, .. } if reason.contains("allow-insecure-hosts")),
            "{url}"
        );
    }
    let named = Url::parse("https://localhost/").unwrap();
    let refusal = strict.get::<Value>(PROVIDER, named, BYTES_MAX).await.unwrap_err();
    assert!(refusal.to_string().contains("no public address"), "{refusal}");
    assert_eq!(directory.requests(), 0);
}

#[test]
fn any_rate_is_an_interval() {
    let interval = |rate| Web::new(true).unwrap().at_rate(rate).interval;
    assert_eq!(interval(None), Duration::from_millis(125));
    assert_eq!(interval(Some(0.5)), Duration::from_secs(2));
    for rate in [0.0, -1.0, f64::NAN, 1e-300] {
        assert_eq!(interval(Some(rate)), INTERVAL_MAX, "{rate}");
    }
}

#[tokio::test]
async fn a_provider_is_found_by_the_address() {
    let url = |text: &str| Url::parse(text).unwrap();
    let web = Web::new(true).unwrap();
    assert_eq!(web.provider(&url("https://192.0.2.1/x")).await, "192.0.2.1");
    assert_eq!(web.provider(&url("https://[2001:db8::1]:8080/x")).await, "2001:db8::");
    assert_eq!(web.provider(&url("http://127.0.0.1:10001/")).await, "127.0.0.1:10001");
    assert_eq!(web.provider(&url("https://name.invalid/")).await, "name.invalid");
}
