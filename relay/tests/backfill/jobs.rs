//! The admin API of jobs, as its users see it, and the directory as clients read it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use sim::Relay;
use sim::process::{ADMIN_TOKEN, Answer};

/// How long a job may take that usually takes seconds. An account that could not be looked at is asked again after a minute.
const PATIENCE: Duration = Duration::from_secs(150);
/// Accounts on a page that is asked for here; several pages for most collections of the tests.
const PAGE: usize = 700;

/// Pairs of a DID and a collection.
pub type Pairs = BTreeSet<(String, String)>;

/// Asks for a job.
pub async fn put(relay: &Relay, name: &str, spec: &Value) -> Value {
    let answer = try_put(relay, name, spec).await;
    assert_eq!(answer.status, 200, "PUT {name} {spec}: {}", answer.text);
    answer.json
}

/// Asks for a job that may be refused.
pub async fn try_put(relay: &Relay, name: &str, spec: &Value) -> Answer {
    let request = relay.request(Method::PUT, relay.admin, &format!("/admin/backfill/jobs/{name}"));
    relay.answer(request.bearer_auth(ADMIN_TOKEN).json(spec)).await
}

/// `pause`, `resume`, `cancel` or `run`.
pub async fn tell(relay: &Relay, name: &str, verb: &str) -> Value {
    let answer = relay.post_admin(&format!("/admin/backfill/jobs/{name}/{verb}"), Value::Null).await;
    assert_eq!(answer.status, 200, "{verb} {name}: {}", answer.text);
    answer.json
}

/// Removes a job.
pub async fn delete(relay: &Relay, name: &str) -> Answer {
    let request = relay.request(Method::DELETE, relay.admin, &format!("/admin/backfill/jobs/{name}"));
    relay.answer(request.bearer_auth(ADMIN_TOKEN)).await
}

/// A job as it stands.
pub async fn job(relay: &Relay, name: &str) -> Value {
    let answer = relay.get_admin(&format!("/admin/backfill/jobs/{name}")).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    answer.json
}

/// Sends pairs as lines of text.
pub async fn send_pairs(relay: &Relay, name: &str, pairs: &Pairs) -> Value {
    let lines: String = pairs.iter().map(|(did, collection)| format!("{did} {collection}\n")).collect();
    let request = relay.request(Method::POST, relay.admin, &format!("/admin/backfill/pairs?job={name}"));
    let answer = relay.answer(request.bearer_auth(ADMIN_TOKEN).body(lines)).await;
    assert_eq!(answer.status, 200, "pairs: {}", answer.text);
    answer.json
}

/// Waits until a job is so, and gives it.
pub async fn until(relay: &Relay, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let job = job(relay, name).await;
        if is_so(&job) {
            return job;
        }
        assert!(Instant::now() < deadline, "{name} is not {what} within {PATIENCE:?}: {job:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a job is in a state.
pub async fn until_state(relay: &Relay, name: &str, state: &str) -> Value {
    until(relay, name, state, |job| job["state"] == state).await
}

/// Waits until a job has come to an end, whichever.
pub async fn until_ended(relay: &Relay, name: &str) -> Value {
    let ends = ["done", "failed", "cancelled"];
    until(relay, name, "at an end", |job| ends.iter().any(|end| job["state"] == *end)).await
}

/// A number of a job's progress.
#[track_caller]
pub fn progress(job: &Value, name: &str) -> u64 {
    job["progress"][name].as_u64().unwrap_or_else(|| panic!("no number {name} in {job:#}"))
}

/// All pairs that the directory shows, by its pages; checks that its counts say the same.
pub async fn directory(relay: &Relay) -> Pairs {
    let (mut pairs, counts) = (Pairs::new(), counts(relay).await);
    for (collection, count) in counts {
        let before = pairs.len();
        let mut cursor = String::new();
        loop {
            let path = format!("/xrpc/com.atproto.sync.listReposByCollection?collection={collection}&limit={PAGE}");
            let answer = relay.get(&format!("{path}{cursor}")).await;
            assert_eq!(answer.status, 200, "{collection}: {}", answer.text);
            for repo in answer.json["repos"].as_array().unwrap() {
                let did = repo["did"].as_str().unwrap().to_owned();
                assert!(pairs.insert((did, collection.clone())), "{collection} has {repo} twice");
            }
            let Some(next) = answer.json["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((pairs.len() - before) as u64, count, "the count of {collection} is the length of its pages");
    }
    pairs
}

/// What `/v1/listCollections` says, all pages of it.
pub async fn counts(relay: &Relay) -> BTreeMap<String, u64> {
    let (mut counts, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let answer = relay.get(&format!("/v1/listCollections?cursor={cursor}")).await;
        let page: BTreeMap<String, u64> = serde_json::from_value(answer.json["collections"].clone()).unwrap();
        counts.extend(page);
        match answer.json["cursor"].as_str() {
            Some(next) if !next.is_empty() => cursor = next.to_owned(),
            _ => return counts,
        }
    }
}

/// Checks that two directories are the same, and names some of what differs.
#[track_caller]
pub fn assert_same(found: &Pairs, expected: &Pairs, what: &str) {
    let few = |a: &Pairs, b: &Pairs| a.difference(b).take(5).cloned().collect::<Vec<_>>();
    let (missing, foreign) = (expected.difference(found).count(), found.difference(expected).count());
    let examples = (few(expected, found), few(found, expected));
    assert_eq!(
        (missing, foreign),
        (0, 0),
        "{what}: pairs that are missing, and that should not be there: {examples:?}"
    );
}
