//! Following an export.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::coverage::Position;
use super::servers::KEY;
use super::*;

/// Requests follow each other at once.
fn hasty() -> Lifetimes {
    let soon = Duration::from_millis(10);
    Lifetimes { export_poll: soon, export_page: soon, ..Lifetimes::default() }
}

fn operation_json(did: &Did, pds: &str, created_at_ms: i64) -> Value {
    json!({
        "did": did.as_str(),
        "operation": {
            "type": "plc_operation",
            "verificationMethods": {"atproto": format!("did:key:{KEY}")},
            "alsoKnownAs": ["at://alice.example.com"],
            "services": {"atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": pds}},
        },
        "cid": "bafyreib",
        "nullified": false,
        "createdAt": time(created_at_ms),
    })
}

fn time(ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap())
}

fn page(operations: impl IntoIterator<Item = Value>) -> Behaviour {
    let lines: Vec<String> = operations.into_iter().map(|operation| operation.to_string()).collect();
    Behaviour::Answer(lines.join("\n"))
}

/// A follower that ends with its test.
struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Rig {
    fn follow(&self) -> Following {
        Following(tokio::spawn(Arc::clone(&self.resolver).follow_export()))
    }

    fn effect(&self, name: &str) -> u64 {
        let effects = self.resolver.stats().exported_operations();
        effects.iter().find(|(of, _)| *of == name).unwrap().1
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let so = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), so).await.is_ok(), "{what}");
    }

    async fn until_asked(&self, times: usize) {
        self.until("the export is asked for", || self.server.page_requests().len() >= times).await;
    }

    fn position(&self) -> Option<Position> {
        self.resolver.cache.position(&self.server.url())
    }

    /// The times after which operations were asked for.
    fn asked_after(&self) -> Vec<String> {
        let queries = self.server.page_requests().into_iter();
        queries.map(|query| query.strip_prefix("count=1000&after=").unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn what_has_changed_is_forgotten_and_nothing_else_is_touched() {
    let rig = Rig::with(hasty(), true).await;
    let [changed, unchanged, gone, undone, absent, unknown] = std::array::from_fn(|number| plc(number as u8));
    for did in [&changed, &unchanged, &gone, &undone] {
        rig.server.set(did, document(did, PDS));
        rig.cached(did).await.unwrap();
    }
    assert_eq!(rig.cached(&absent).await, Ok(None));
    let bytes = rig.resolver.memory_bytes();
    let now = now_ms();
    let mut tombstone = operation_json(&gone, PDS, now);
    tombstone["operation"] = json!({"type": "plc_tombstone"});
    let mut nullified = operation_json(&undone, "https://new.example.com", now);
    nullified["nullified"] = true.into();
    rig.server.set_pages([page([
        operation_json(&changed, "https://new.example.com", now),
        operation_json(&unchanged, PDS, now),
        tombstone,
        nullified,
        operation_json(&absent, PDS, now),
        operation_json(&unknown, PDS, now),
    ])]);
    let _following = rig.follow();
    rig.until("the page is taken", || rig.effect("unknown") == 1).await;
    for did in [&changed, &gone, &absent, &unknown] {
        assert_eq!(rig.resolver.get(did), Lookup::Unknown, "{did}");
    }
    for did in [&unchanged, &undone] {
        assert!(matches!(rig.resolver.get(did), Lookup::Known(_)), "{did}");
    }
    let effects = ["forgotten", "unchanged", "nullified", "unknown", "malformed"].map(|effect| rig.effect(effect));
    assert_eq!(effects, [3, 1, 1, 1, 0]);
    assert!(rig.resolver.memory_bytes() < bytes, "a DID that nobody asked for takes no room");
    assert!(rig.resolver.cache.known(&unknown).is_none(), "nor on the disk");
}

#[tokio::test]
async fn an_answer_from_before_the_operation_is_not_remembered() {
    let rig = Rig::with(hasty(), true).await;
    let did = plc(0);
    let old = document_json(&did, PDS).to_string();
    rig.server.set(&did, Behaviour::Slow(Duration::from_millis(500), old));
    let (landing, ()) = tokio::join!(rig.cached(&did), async {
        rig.until("the DID is asked for", || rig.server.requests(&did) == 1).await;
        rig.server.set_pages([page([operation_json(&did, "https://new.example.com", now_ms())])]);
        let _following = rig.follow();
        rig.until("the operation is read", || rig.effect("unknown") == 1).await;
    });
    assert!(landing.is_ok());
    assert_eq!(rig.resolver.get(&did), Lookup::Unknown);
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_and_a_restart_goes_on() {
    let rig = Rig::with(hasty(), true).await;
    let start = now_ms();
    let first = start - 30_000;
    // As many operations as a page has, the last two in the same millisecond.
    let full = (0..1000).map(|number| operation_json(&plc(0), PDS, first + number.min(998)));
    rig.server.set_pages([page(full), page([operation_json(&plc(0), PDS, first + 5000)])]);
    let following = rig.follow();
    rig.until_asked(4).await;
    drop(following);
    let asked = rig.asked_after();
    let since_start: jiff::Timestamp = asked[0].parse().unwrap();
    let before = start - since_start.as_millisecond();
    assert!((30_000..120_000).contains(&before), "from now on, with some room for clocks: {before} ms before");
    assert_eq!(asked[1], time(first + 997), "the last millisecond may go on");
    assert_eq!(asked[2], time(first + 5000 - 10_000), "at the end, the last seconds are read again");
    assert_eq!(rig.effect("unknown"), 1001);
    let position = rig.position().unwrap();
    assert_eq!(position.after_ms, first + 5000);
    assert!(position.since_ms >= start && position.until_ms >= position.since_ms);
    assert!(rig.resolver.stats().export_lag().unwrap() < Duration::from_secs(20));

    let requests = rig.server.page_requests().len();
    let rig = rig.killed_and_restarted();
    let _following = rig.follow();
    rig.until_asked(requests + 1).await;
    assert_eq!(rig.asked_after()[requests], time(first + 5000 - 10_000));
    assert_eq!(rig.position().unwrap().since_ms, position.since_ms, "nothing was missed");
}

#[tokio::test]
async fn a_position_of_long_ago_is_given_up() {
    let rig = Rig::with(hasty(), true).await;
    let long_ago = now_ms() - 8 * 24 * 3600 * 1000;
    let position = Position { after_ms: long_ago, since_ms: long_ago, until_ms: long_ago };
    rig.resolver.cache.put_position(&rig.server.url(), &position);
    let _following = rig.follow();
    rig.until("it is replaced", || rig.position() != Some(position)).await;
    assert!(rig.position().unwrap().since_ms > now_ms() - 60_000);
}

#[tokio::test]
async fn malformed_lines_are_stepped_over_and_counted() {
    let rig = Rig::with(hasty(), true).await;
    let did = plc(0);
    rig.server.set(&did, document(&did, PDS));
    rig.cached(&did).await.unwrap();
    let Behaviour::Answer(good) = page([operation_json(&did, "https://new.example.com", now_ms())]) else { panic!() };
    let long_ago = now_ms() - 3600 * 1000;
    let position = Position { after_ms: long_ago, since_ms: long_ago, until_ms: long_ago };
    rig.resolver.cache.put_position(&rig.server.url(), &position);
    rig.server.set_pages([Behaviour::Answer(format!("{{\"did\": \n\n{good}\nnonsense\n"))]);
    let _following = rig.follow();
    rig.until("the page is taken", || rig.position().is_some_and(|now| now != position)).await;
    assert_eq!((rig.effect("malformed"), rig.effect("forgotten")), (2, 1));
    assert_eq!(rig.resolver.get(&did), Lookup::Unknown);
    assert!(rig.position().unwrap().since_ms > long_ago, "what was remembered is no longer vouched for");
}

#[tokio::test]
async fn what_is_not_an_export_moves_nothing() {
    let old = now_ms() - 24 * 3600 * 1000;
    let backwards = (0..1000).map(|_| operation_json(&plc(0), PDS, old));
    let long = Behaviour::Answer("x".repeat(17 << 20));
    let cases = [
        ("an error page", Behaviour::Answer("<html>\n</html>".to_owned())),
        ("no such page", Behaviour::Refuse(StatusCode::NOT_FOUND)),
        ("a failure", Behaviour::Refuse(StatusCode::INTERNAL_SERVER_ERROR)),
        ("broken off", Behaviour::BreakOff),
        ("the past again and again", page(backwards)),
        ("too long", long),
    ];
    for (name, behaviour) in cases {
        let rig = Rig::with(Lifetimes { export_poll: Duration::from_millis(300), ..hasty() }, true).await;
        rig.server.set_pages([behaviour]);
        let _following = rig.follow();
        let failures = || counted(&rig.resolver.stats().export_failures);
        rig.until(name, || failures() == 1).await;
        assert_eq!(rig.position(), None, "{name}");
        rig.until(name, || rig.position().is_some()).await;
        assert_eq!(failures(), 1, "{name}: it is tried again, and goes on");
    }
}

#[tokio::test]
async fn retry_after_holds_for_the_export_and_for_look_ups() {
    let rig = Rig::with(hasty(), true).await;
    rig.server.set_pages([Behaviour::RefuseUntil(StatusCode::TOO_MANY_REQUESTS, 60)]);
    let _following = rig.follow();
    rig.until("it is refused", || counted(&rig.resolver.stats().export_failures) == 1).await;
    let error = rig.cached(&plc(0)).await.unwrap_err();
    assert!(matches!(error, Transient::Paused { .. }), "{error:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.server.page_requests().len(), 1, "it is left alone");
    assert!(counted(&rig.resolver.stats().paused) >= 1);
}

#[tokio::test]
async fn what_the_export_vouches_for_is_not_asked_for_again() {
    let hour = Duration::from_secs(3600);
    let rig = Rig::with(hasty(), true).await;
    let [vouched, older] = [plc(0), plc(1)];
    let long_ago = now_ms() - millis(40 * hour);
    let position = Position { after_ms: now_ms(), since_ms: long_ago, until_ms: long_ago };
    rig.resolver.cache.put_position(&rig.server.url(), &position);
    rig.remember(&vouched, 30 * hour);
    rig.remember(&older, 50 * hour);
    for did in [&vouched, &older] {
        assert_eq!(rig.resolver.get(did), Lookup::Unknown, "past its time");
    }
    let _following = rig.follow();
    rig.until("the end is reached", || rig.position().is_some_and(|now| now.until_ms > position.until_ms)).await;
    assert!(matches!(rig.resolver.get(&vouched), Lookup::Known(_)), "a change would have been read");
    assert_eq!(rig.resolver.get(&older), Lookup::Unknown, "it may have changed before");
    assert_eq!(host_of(&rig.cached(&vouched).await), Some("pds.example.com"));
    assert_eq!(rig.server.requests(&vouched), 0);
}

#[tokio::test]
async fn an_export_that_stands_still_vouches_for_nothing() {
    let rig = Rig::with(hasty(), true).await;
    let hours_ago = now_ms() - 2 * 3600 * 1000;
    let position = Position { after_ms: hours_ago, since_ms: hours_ago, until_ms: hours_ago };
    rig.resolver.cache.put_position(&rig.server.url(), &position);
    let _following = rig.follow();
    rig.until_asked(3).await;
    assert_eq!(rig.position(), Some(position));
    assert!(rig.resolver.stats().export_lag().unwrap() > Duration::from_secs(3600));
    rig.server.set_pages([page([operation_json(&plc(0), PDS, now_ms())])]);
    rig.until("it goes on", || rig.position().is_some_and(|now| now.until_ms > hours_ago)).await;
}
