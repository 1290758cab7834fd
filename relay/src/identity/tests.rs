#![allow(clippy::unwrap_used)]

mod export;
mod limits;
mod pruning;
mod servers;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use rocksdb::DB;
use tempfile::TempDir;

use super::*;
use servers::{Behaviour, Server, document, document_json};

const PDS: &str = "https://pds.example.com";
const COLUMN: &str = "identity";
const NEVER: Duration = Duration::from_secs(1_000_000);

/// A resolver with its directory and its store.
struct Rig {
    server: Server,
    resolver: Arc<Resolver>,
    folder: TempDir,
    lifetimes: Lifetimes,
}

impl Rig {
    async fn new() -> Rig {
        Rig::with(Lifetimes::default(), true).await
    }

    async fn with(lifetimes: Lifetimes, allow_insecure: bool) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start().await;
        let resolver = resolver(folder.path(), &server, lifetimes, allow_insecure);
        Rig { server, resolver, folder, lifetimes }
    }

    /// The same after a `kill -9`: with the files as they are at this moment.
    fn killed_and_restarted(&self) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let resolver = resolver(folder.path(), &self.server, self.lifetimes, true);
        Rig { server: self.server.clone(), resolver, folder, lifetimes: self.lifetimes }
    }

    async fn cached(&self, did: &Did) -> Landing {
        self.resolver.resolve(did, Freshness::Cached).await
    }

    async fn forced(&self, did: &Did) -> Landing {
        self.resolver.resolve(did, Freshness::Forced).await
    }

    /// Remembers an identity as if it had been fetched so long ago.
    fn remember(&self, did: &Did, age: Duration) {
        let text = document_json(did, PDS).to_string();
        let fetched_at_ms = now_ms() - i64::try_from(age.as_millis()).unwrap();
        let identity = document::read(did, text.as_bytes(), fetched_at_ms).unwrap();
        self.resolver.cache.put(did, Some(Arc::new(identity)), now_ms());
    }
}

fn resolver(folder: &Path, server: &Server, lifetimes: Lifetimes, allow_insecure: bool) -> Arc<Resolver> {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let database = Arc::new(DB::open_cf(&options, folder, [COLUMN]).unwrap());
    let plc_url = server.url();
    let options = Options {
        export_url: Some(plc_url.clone()),
        plc_url,
        allow_insecure,
        database,
        column: COLUMN,
        memory_bytes: 1 << 20,
    };
    Resolver::with_lifetimes(options, lifetimes).unwrap()
}

/// A `did:plc` of its own for every number.
fn plc(number: u8) -> Did {
    let letter = char::from(b'a' + number);
    Did::parse(&format!("did:plc:{}", String::from(letter).repeat(24))).unwrap()
}

fn host_of(landing: &Landing) -> Option<&str> {
    landing.as_ref().ok()?.as_ref()?.pds.as_ref().map(|pds| pds.host.as_str())
}

fn counted(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Protocol 16.
#[tokio::test]
async fn an_identity_is_asked_for_once() {
    let rig = Rig::new().await;
    let did = plc(0);
    rig.server.set(&did, document(&did, PDS));
    assert_eq!(rig.resolver.get(&did), Lookup::Unknown);
    let landing = rig.cached(&did).await;
    let identity = landing.unwrap().unwrap();
    assert!(identity.is_working());
    assert_eq!(identity.handle.as_deref(), Some("alice.example.com"));
    assert_eq!(rig.resolver.get(&did), Lookup::Known(Arc::clone(&identity)));
    assert_eq!(rig.cached(&did).await, Ok(Some(identity)));
    assert_eq!(rig.server.requests(&did), 1);
    let stats = rig.resolver.stats();
    assert_eq!((counted(&stats.hits), counted(&stats.misses)), (1, 1));
    assert!(stats.requests().any(|counted| counted == ("plc", "found", 1)));
    assert!(counted(&stats.request_time_us) > 0);
    assert!(rig.resolver.memory_bytes() > 0);
}

/// Protocol 16.
#[tokio::test]
async fn a_certain_absence_is_remembered() {
    for status in [StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::BAD_REQUEST] {
        let rig = Rig::new().await;
        let did = plc(0);
        rig.server.set(&did, Behaviour::Refuse(status));
        for _ in 0..3 {
            assert_eq!(rig.cached(&did).await, Ok(None), "{status}");
        }
        assert_eq!(rig.resolver.get(&did), Lookup::Absent, "{status}");
        assert_eq!(rig.server.requests(&did), 1, "{status}");
    }
}

/// Protocol 17.
#[tokio::test]
async fn a_failure_is_no_absence() {
    type IsExpected = fn(&Transient) -> bool;
    let large = format!("{{\"id\": \"{}\"}}", "x".repeat(100_000));
    let cases: [(&str, Behaviour, IsExpected); 9] = [
        ("500", Behaviour::Refuse(StatusCode::INTERNAL_SERVER_ERROR), |error| {
            matches!(error, Transient::Refused { status: 500, retry_after: None, .. })
        }),
        ("403", Behaviour::Refuse(StatusCode::FORBIDDEN), |error| {
            matches!(error, Transient::Refused { status: 403, .. })
        }),
        ("429", Behaviour::Refuse(StatusCode::TOO_MANY_REQUESTS), |error| error.retry_after().is_none()),
        ("429 with Retry-After", Behaviour::RefuseUntil(StatusCode::TOO_MANY_REQUESTS, 7), |error| {
            error.retry_after() == Some(Duration::from_secs(7))
        }),
        ("no answer", Behaviour::Slow(NEVER, String::new()), |error| matches!(error, Transient::Timeout { .. })),
        ("broken off", Behaviour::BreakOff, |error| matches!(error, Transient::Network { .. })),
        ("an error page", Behaviour::Answer("<html>".to_owned()), |error| matches!(error, Transient::Malformed { .. })),
        ("another's document", document(&plc(9), PDS), |error| matches!(error, Transient::Malformed { .. })),
        ("too large", Behaviour::Answer(large), |error| matches!(error, Transient::Malformed { .. })),
    ];
    let lifetimes = Lifetimes { request_max: Duration::from_secs(1), ..Lifetimes::default() };
    for (name, behaviour, is_expected) in cases {
        let rig = Rig::with(lifetimes, true).await;
        let did = plc(0);
        rig.server.set(&did, behaviour);
        let error = rig.cached(&did).await.unwrap_err();
        assert!(is_expected(&error), "{name}: {error:?}");
        assert_eq!(rig.resolver.get(&did), Lookup::Unknown, "{name}: nothing is remembered");
        assert_eq!(rig.server.requests(&did), 1, "{name}");
    }
}

#[tokio::test]
async fn a_directory_that_is_down_is_no_absence() {
    let rig = Rig::new().await;
    let nowhere = Server::default();
    let folder = tempfile::tempdir().unwrap();
    let resolver = resolver(folder.path(), &nowhere, rig.lifetimes, true);
    let error = resolver.resolve(&plc(0), Freshness::Cached).await.unwrap_err();
    assert!(matches!(error, Transient::Network { .. }), "{error:?}");
}

#[tokio::test]
async fn retry_after_holds_for_the_whole_directory() {
    let rig = Rig::new().await;
    let [limited, other] = [plc(0), plc(1)];
    rig.server.set(&limited, Behaviour::RefuseUntil(StatusCode::TOO_MANY_REQUESTS, 60));
    rig.server.set(&other, document(&other, PDS));
    rig.cached(&limited).await.unwrap_err();
    let error = rig.cached(&other).await.unwrap_err();
    assert!(matches!(error, Transient::Paused { .. }), "{error:?}");
    assert!(error.retry_after().unwrap() > Duration::from_secs(50));
    assert_eq!(rig.server.requests(&other), 0, "it is left alone");
}

#[tokio::test]
async fn a_broken_document_does_not_stop_the_others() {
    let rig = Rig::new().await;
    let [broken, other] = [plc(0), plc(1)];
    rig.server.set(&broken, Behaviour::Refuse(StatusCode::INTERNAL_SERVER_ERROR));
    for _ in 0..20 {
        rig.cached(&broken).await.unwrap_err();
        rig.server.set(&other, document(&other, PDS));
        assert!(rig.forced(&other).await.is_ok());
    }
}

/// However many there are: the directory is well.
#[tokio::test]
async fn documents_that_are_too_long_are_of_no_use_and_stop_no_others() {
    let rig = Rig::new().await;
    let long = format!("{{\"id\": \"{}\"}}", "x".repeat(1_000_000));
    for number in 0..20 {
        let did = plc(number);
        rig.server.set(&did, Behaviour::AnswerDocument(long.clone()));
        assert_eq!(rig.cached(&did).await, Ok(None));
        assert_eq!(rig.resolver.get(&did), Lookup::Absent, "and is not asked for with each event");
    }
    let other = plc(25);
    rig.server.set(&other, document(&other, PDS));
    assert!(rig.cached(&other).await.is_ok_and(|identity| identity.is_some()));
}

#[tokio::test]
async fn requests_for_the_same_did_are_one() {
    let rig = Rig::new().await;
    let did = plc(0);
    let text = document_json(&did, PDS).to_string();
    rig.server.set(&did, Behaviour::Slow(Duration::from_millis(100), text));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (resolver, did) = (Arc::clone(&rig.resolver), did.clone());
            tokio::spawn(async move { resolver.resolve(&did, Freshness::Cached).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(host_of(&caller.await.unwrap()), Some("pds.example.com"));
    }
    assert_eq!(rig.server.requests(&did), 1);
    assert_eq!(counted(&rig.resolver.stats().coalesced), 49);
}

#[tokio::test]
async fn a_request_reaches_its_end_without_its_caller() {
    let rig = Rig::new().await;
    let did = plc(0);
    let text = document_json(&did, PDS).to_string();
    rig.server.set(&did, Behaviour::Slow(Duration::from_millis(500), text));
    let impatient = tokio::time::timeout(Duration::from_millis(20), rig.cached(&did)).await;
    assert!(impatient.is_err(), "the caller went");
    assert_eq!(host_of(&rig.cached(&did).await), Some("pds.example.com"));
    assert_eq!(rig.server.requests(&did), 1);
}

#[tokio::test]
async fn what_is_known_survives_a_kill() {
    let rig = Rig::new().await;
    let [known, gone, purged] = [plc(0), plc(1), plc(2)];
    for did in [&known, &gone, &purged] {
        rig.server.set(did, document(did, PDS));
        rig.cached(did).await.unwrap();
    }
    rig.server.set(&gone, Behaviour::Refuse(StatusCode::GONE));
    assert_eq!(rig.forced(&gone).await, Ok(None));
    rig.resolver.purge(&purged);

    let rig = rig.killed_and_restarted();
    let Lookup::Known(identity) = rig.resolver.get(&known) else { panic!("the identity is forgotten") };
    assert!(identity.is_working());
    assert_eq!(host_of(&rig.cached(&known).await), Some("pds.example.com"));
    assert_eq!(rig.server.requests(&known), 1, "nothing is asked for that was known");
    assert_eq!(rig.resolver.get(&gone), Lookup::Unknown, "a tombstone does not rise again");
    assert_eq!(rig.resolver.get(&purged), Lookup::Unknown, "what was purged stays so");
}

/// Protocol 16.
#[tokio::test]
async fn an_old_identity_is_refreshed() {
    let rig = Rig::new().await;
    let did = plc(0);
    rig.remember(&did, Duration::from_secs(25 * 3600));
    assert_eq!(rig.resolver.get(&did), Lookup::Unknown, "it is past its time");
    rig.server.set(&did, document(&did, "https://new.example.com"));
    assert_eq!(host_of(&rig.cached(&did).await), Some("new.example.com"));
}

#[tokio::test]
async fn an_old_identity_is_used_while_it_cannot_be_refreshed() {
    let day = Duration::from_secs(24 * 3600);
    for (age, is_used) in [(2 * day, true), (8 * day, false)] {
        let rig = Rig::new().await;
        let did = plc(0);
        rig.remember(&did, age);
        rig.server.set(&did, Behaviour::Refuse(StatusCode::BAD_GATEWAY));
        let landing = rig.cached(&did).await;
        assert_eq!(landing.is_ok(), is_used, "{age:?}: {landing:?}");
        assert_eq!(matches!(rig.resolver.get(&did), Lookup::Known(_)), is_used, "{age:?}");
        assert!(rig.forced(&did).await.is_err(), "{age:?}: whoever insists gets no old one");
        assert_eq!(rig.server.requests(&did), 2, "{age:?}");
    }
}

#[tokio::test]
async fn an_identity_that_does_not_work_is_soon_asked_for_again() {
    let rig = Rig::with(Lifetimes { absent: Duration::from_millis(50), ..Lifetimes::default() }, true).await;
    let did = plc(0);
    rig.server.set(&did, Behaviour::Answer(format!("{{\"id\": \"{did}\"}}")));
    assert!(!rig.cached(&did).await.unwrap().unwrap().is_working());
    rig.server.set(&did, document(&did, PDS));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(rig.cached(&did).await.unwrap().unwrap().is_working());
}

/// Protocol 16.
#[tokio::test]
async fn bad_signatures_do_not_become_load_on_the_directory() {
    let rig = Rig::with(Lifetimes { refresh_interval: NEVER, ..Lifetimes::default() }, true).await;
    let did = plc(0);
    rig.server.set(&did, document(&did, PDS));
    rig.cached(&did).await.unwrap();
    for _ in 0..100 {
        assert_eq!(host_of(&rig.forced(&did).await), Some("pds.example.com"));
    }
    let burst = rig.lifetimes.refresh_burst as usize;
    assert_eq!(rig.server.requests(&did), 1 + burst);
    assert_eq!(counted(&rig.resolver.stats().refresh_limited) as usize, 100 - burst);
}

#[tokio::test]
async fn a_refresh_that_failed_does_not_count() {
    let rig = Rig::new().await;
    let did = plc(0);
    rig.server.set(&did, document(&did, PDS));
    rig.cached(&did).await.unwrap();
    rig.server.set(&did, Behaviour::Refuse(StatusCode::BAD_GATEWAY));
    for _ in 0..4 {
        rig.forced(&did).await.unwrap_err();
    }
    rig.server.set(&did, document(&did, "https://new.example.com"));
    assert_eq!(host_of(&rig.forced(&did).await), Some("new.example.com"));
}

/// Protocol 29.
#[tokio::test]
async fn announced_changes_are_seen_and_limited() {
    let interval = Duration::from_millis(300);
    let rig = Rig::with(Lifetimes { refresh_interval: interval, refresh_burst: 1, ..Lifetimes::default() }, true).await;
    let did = plc(0);
    let started = Instant::now();
    for number in 0..3 {
        let host = format!("pds{number}.example.com");
        rig.server.set(&did, document(&did, &format!("https://{host}")));
        rig.resolver.purge(&did);
        assert_eq!(host_of(&rig.forced(&did).await), Some(host.as_str()), "an #identity is never answered from memory");
    }
    assert_eq!(rig.server.requests(&did), 3);
    assert!(started.elapsed() >= 2 * interval, "the second and the third wait for their turn");
}

#[tokio::test]
async fn a_refresh_does_not_take_what_was_asked_for_before() {
    let rig = Rig::new().await;
    let did = plc(0);
    let old = document_json(&did, "https://old.example.com").to_string();
    rig.server.set(&did, Behaviour::Slow(Duration::from_millis(200), old));
    let early = tokio::spawn({
        let (resolver, did) = (Arc::clone(&rig.resolver), did.clone());
        async move { resolver.resolve(&did, Freshness::Cached).await }
    });
    while rig.server.requests(&did) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.server.set(&did, document(&did, "https://new.example.com"));
    rig.resolver.purge(&did);
    let (one, two) = tokio::join!(rig.forced(&did), rig.forced(&did));
    assert_eq!([host_of(&one), host_of(&two)], [Some("new.example.com"); 2]);
    assert_eq!(rig.server.requests(&did), 2, "both wait for the same new request");
    assert_eq!(host_of(&early.await.unwrap()), Some("old.example.com"));
    assert_eq!(host_of(&rig.cached(&did).await), Some("new.example.com"));
}

#[tokio::test]
async fn an_outdated_answer_is_not_remembered() {
    let rig = Rig::new().await;
    let did = plc(0);
    let old = document_json(&did, PDS).to_string();
    rig.server.set(&did, Behaviour::Slow(Duration::from_millis(100), old));
    let (landing, ()) = tokio::join!(rig.cached(&did), async {
        while rig.server.requests(&did) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rig.resolver.purge(&did);
    });
    assert!(landing.is_ok());
    assert_eq!(rig.resolver.get(&did), Lookup::Unknown, "the change came while it was asked for");
}

/// Protocol 16.
#[tokio::test]
async fn a_did_web_is_asked_for_at_its_host() {
    let rig = Rig::new().await;
    let did = Did::parse(&format!("did:web:localhost%3A{}", rig.server.port)).unwrap();
    rig.server.set(&did, document(&did, PDS));
    assert_eq!(host_of(&rig.cached(&did).await), Some("pds.example.com"));
    assert_eq!(rig.server.requests(&did), 1);

    // What a host says about its own DID is final, unlike an error of the directory.
    let large = format!("{{\"id\": \"{}\"}}", "x".repeat(100_000));
    let definitive = [
        Behaviour::Refuse(StatusCode::NOT_FOUND),
        Behaviour::Refuse(StatusCode::FORBIDDEN),
        Behaviour::Answer("<html>".to_owned()),
        Behaviour::Answer(large),
        document(&plc(0), PDS),
    ];
    for behaviour in definitive {
        rig.server.set(&did, behaviour.clone());
        rig.resolver.purge(&did);
        assert_eq!(rig.cached(&did).await, Ok(None), "{behaviour:?}");
    }
    for behaviour in [Behaviour::Refuse(StatusCode::BAD_GATEWAY), Behaviour::BreakOff] {
        rig.server.set(&did, behaviour.clone());
        rig.resolver.purge(&did);
        assert!(rig.cached(&did).await.is_err(), "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_did_web_does_not_lead_into_the_network_of_the_relay() {
    let rig = Rig::with(Lifetimes::default(), false).await;
    let local = Did::parse(&format!("did:web:localhost%3A{}", rig.server.port)).unwrap();
    rig.server.set(&local, document(&local, PDS));
    assert_eq!(rig.cached(&local).await, Ok(None), "there is no localhost on the network");
    assert_eq!(rig.server.requests(&local), 0);
}

#[tokio::test]
async fn the_memory_of_flights_is_given_back() {
    let flights = Arc::new(Flights::new(Duration::ZERO, 1));
    for number in 0..20_000 {
        let did = Did::parse(&format!("did:web:host{number}.example.com")).unwrap();
        let boarding = flights.board(&did, Instant::now());
        assert!(boarding.departure.is_some(), "a request that was given up does not stay in the way");
    }
    assert!(flights.tracks() <= 2048, "{} are remembered", flights.tracks());
}

#[tokio::test]
async fn a_request_that_is_given_up_tells_those_who_wait() {
    let flights = Arc::new(Flights::new(Duration::ZERO, 1));
    let did = plc(0);
    let Boarding { ticket, departure } = flights.board(&did, Instant::now());
    let other = flights.board(&did, Instant::now());
    assert!(other.departure.is_none());
    drop(departure);
    assert_eq!(ticket.landed().await, Err(Transient::Stopping));
    assert_eq!(other.ticket.landed().await, Err(Transient::Stopping));
}

#[test]
fn a_wrong_set_up_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let mut create = rocksdb::Options::default();
    create.create_if_missing(true);
    create.create_missing_column_families(true);
    let database = Arc::new(DB::open_cf(&create, folder.path(), [COLUMN]).unwrap());
    let make = |plc_url: &str, column| {
        let database = Arc::clone(&database);
        let options = Options {
            plc_url: plc_url.to_owned(),
            export_url: None,
            allow_insecure: false,
            database,
            column,
            memory_bytes: 0,
        };
        Resolver::new(options).err().map(|error| error.to_string())
    };
    assert_eq!(make("http://localhost", "none").as_deref(), Some("the derived store has no column \"none\""));
    let message = make("plc.example.com", COLUMN).unwrap();
    assert!(message.contains("write one like https://plc.directory"), "{message}");
    assert_eq!(make("http://localhost", COLUMN), None);
}
