#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use sim::directory::{Fault, Limit, Route};
use tempfile::TempDir;

use super::*;
use crate::backfill::Kind;
use crate::store::{Sizes, Store};

const POST: &str = "com.example.post";
const LIKE: &str = "com.example.like";

type Pairs = BTreeSet<(String, String)>;

/// An import, and a directory of others that it reads.
struct Setup {
    source: sim::Directory,
    import: Import,
    directory: Directory,
    _folder: TempDir,
}

/// How a part ended.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    pairs: Pairs,
    seen: u64,
    steps: u64,
    malformed: u64,
    restarts: u64,
    waits: u64,
    failure: Option<String>,
}

fn did(number: u64) -> String {
    format!("did:web:account{number:05}.example.com")
}

fn pairs(count: u64, collection: &str) -> impl Iterator<Item = (String, String)> {
    (0..count).map(move |number| (did(number), collection.to_owned()))
}

fn spec(source: &sim::Directory, collections: Collections) -> Spec {
    Spec {
        kind: Kind::Import,
        sources: vec![source.url()],
        collections,
        hosts: Vec::new(),
        requests_per_second: None,
        concurrency: None,
        schedule: None,
        declared_by: None,
    }
}

fn web() -> Web {
    Web::new(true).unwrap().at_rate(Some(10_000.0))
}

fn names(names: &[&str]) -> Collections {
    Collections { names: names.iter().map(|name| Nsid::parse(name).unwrap()).collect(), ..Collections::default() }
}

async fn setup(pairs: impl IntoIterator<Item = (String, String)>) -> Setup {
    let source = sim::Directory::start(pairs).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Sizes { block_cache: 1 << 20, memtables: 1 << 20 }).unwrap();
    let directory = Directory::open(store, 1 << 16).unwrap();
    let spec = spec(&source, names(&[POST]));
    let import = Import::new(&spec, web(), directory.clone()).unwrap();
    Setup { source, import, directory, _folder: folder }
}

impl Setup {
    fn with(mut self, change: impl FnOnce(&mut Spec)) -> Setup {
        let mut spec = spec(&self.source, Collections::default());
        change(&mut spec);
        self.import = Import::new(&spec, web(), self.directory.clone()).unwrap();
        self
    }

    fn key(&self, collection: &str) -> String {
        format!("{} {collection}", self.source.url().trim_start_matches("http://"))
    }

    fn part(&self, cursor: Option<String>) -> Part {
        Part { key: self.key(POST), cursor, seen: 0, steps: 0 }
    }

    async fn first_step(&self) -> Step {
        self.import.step(&self.part(None)).await.unwrap()
    }

    /// Does a part as whoever runs jobs does, up to a few troubles.
    async fn run(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut part = self.part(None);
        while outcome.restarts < 3 && outcome.waits < 3 {
            match self.import.step(&part).await {
                Ok(step) => {
                    for edit in step.edits {
                        let Edit::Add(did, collection) = edit else { panic!("{edit:?}") };
                        outcome.pairs.insert((did.to_string(), collection.to_string()));
                    }
                    outcome.seen += step.seen;
                    outcome.steps += 1;
                    outcome.malformed += step.classes.get(MALFORMED).copied().unwrap_or(0);
                    part = Part { cursor: step.cursor, seen: outcome.seen, steps: outcome.steps, ..part };
                    if part.cursor.is_none() {
                        return outcome;
                    }
                }
                Err(Trouble::Wait { .. }) => outcome.waits += 1,
                Err(Trouble::Restart(_)) => {
                    outcome.restarts += 1;
                    part = self.part(None);
                }
                Err(Trouble::Fail(reason)) => {
                    outcome.failure = Some(reason);
                    return outcome;
                }
            }
        }
        outcome
    }

    /// Does a part at a source that misbehaves in this way, which must end it; says why.
    async fn failure(&self, fault: Fault) -> String {
        self.source.set_fault(Route::Repos, Some(fault.clone()));
        self.run().await.failure.unwrap_or_else(|| panic!("{fault:?} ends nothing"))
    }
}

#[tokio::test]
async fn all_pages_of_a_collection_are_read() {
    let setup = setup(pairs(2500, POST).chain(pairs(10, LIKE))).await;
    let outcome = setup.run().await;
    assert_eq!(outcome.pairs, pairs(2500, POST).collect());
    assert_eq!((outcome.seen, outcome.steps, outcome.malformed), (2500, 3, 0));
    let asked = setup.source.asked();
    let cursors: Vec<Option<&str>> = asked.iter().map(|asked| asked.cursor.as_deref()).collect();
    assert_eq!(cursors, [None, Some(did(999).as_str()), Some(did(1999).as_str())]);
    assert!(asked.iter().all(|asked| asked.limit == 1000 && asked.collection == POST), "{asked:?}");
}

#[tokio::test]
async fn a_collection_that_nobody_has_is_done_at_once() {
    let outcome = setup(pairs(3, LIKE)).await.run().await;
    assert_eq!(outcome, Outcome { steps: 1, ..Outcome::default() });
}

#[tokio::test]
async fn a_step_that_is_repeated_finds_the_same() {
    let setup = setup(pairs(2500, POST)).await;
    let first = setup.first_step().await;
    let part = setup.part(first.cursor.clone());
    let second = setup.import.step(&part).await.unwrap();
    assert_eq!(setup.import.step(&part).await.unwrap(), second);
    assert_eq!(setup.first_step().await, first);
}

#[tokio::test]
async fn a_source_that_serves_shorter_pages_is_read_as_well() {
    let setup = setup(pairs(2500, POST)).await;
    setup.source.set_limit(Limit::Caps(100));
    let outcome = setup.run().await;
    assert_eq!(outcome.pairs, pairs(2500, POST).collect::<Pairs>());
    // The fake does as other services: a page as long as it may be has a cursor.
    assert_eq!(outcome.steps, 26);
}

#[tokio::test]
async fn a_source_that_refuses_long_pages_is_asked_for_shorter_ones() {
    let setup = setup(pairs(1200, POST)).await;
    setup.source.set_limit(Limit::Refuses(500));
    assert_eq!(setup.run().await.pairs, pairs(1200, POST).collect::<Pairs>());
    let limits: Vec<usize> = setup.source.asked().iter().map(|asked| asked.limit).collect();
    assert_eq!(limits, [1000, 500, 500, 500], "it is asked once");
}

#[tokio::test]
async fn longer_pages_than_asked_for_are_taken_as_long_as_indigo_serves_them() {
    let setup = setup([]).await;
    setup.source.fail_next(Route::Repos, 1, Fault::Overfull(10_000));
    assert_eq!(setup.first_step().await.seen, 10_000);
    let reason = setup.failure(Fault::Overfull(10_001)).await;
    assert!(reason.ends_with("a page of 10001 accounts, which is more than was asked for"), "{reason}");
}

#[tokio::test]
async fn a_source_in_trouble_is_waited_for() {
    let setup = setup(pairs(2500, POST)).await;
    let part = setup.part(setup.first_step().await.cursor);
    let faults = [
        (Fault::Status(500), false),
        (Fault::Status(502), false),
        (Fault::Close, false),
        (Fault::Busy(None), true),
        (Fault::Busy(Some(1)), true),
        (Fault::BusyUntil(1), true),
    ];
    for (fault, is_asked) in faults {
        setup.source.fail_next(Route::Repos, 1, fault.clone());
        match setup.import.step(&part).await {
            Err(Trouble::Wait { after, reason }) => {
                assert_eq!(after.is_some(), is_asked, "{fault:?}: {reason}");
                assert!(reason.contains("127.0.0.1"), "{fault:?}: {reason}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
    }
    assert_eq!(setup.import.step(&part).await.unwrap().seen, 1000, "then it goes on where it was");
}

#[tokio::test]
async fn a_source_that_is_away_is_waited_for() {
    let setup = setup(pairs(2500, POST)).await;
    let part = setup.part(setup.first_step().await.cursor);
    let Setup { source, import, .. } = setup;
    let source = source.restart().await;
    assert_eq!(import.step(&part).await.unwrap().seen, 1000, "a restart is nothing");
    let gone = sim::server::free_address();
    let spec = Spec { sources: vec![format!("http://{gone}")], ..spec(&source, names(&[POST])) };
    let import = Import::new(&spec, web(), import.directory).unwrap();
    let part = Part { key: format!("{gone} {POST}"), ..part };
    assert!(matches!(import.step(&part).await, Err(Trouble::Wait { after: None, .. })));
}

#[tokio::test]
async fn a_cursor_that_has_expired_begins_the_part_anew() {
    let setup = setup(pairs(2500, POST)).await;
    let part = setup.part(setup.first_step().await.cursor);
    setup.source.fail_next(Route::Repos, 1, Fault::CursorExpired);
    let trouble = setup.import.step(&part).await.unwrap_err();
    assert!(matches!(&trouble, Trouble::Restart(reason) if reason.contains("InvalidCursor")), "{trouble:?}");
    assert_eq!(setup.run().await.pairs, pairs(2500, POST).collect::<Pairs>());
}

#[tokio::test]
async fn a_source_that_never_takes_its_own_cursors_is_found_out() {
    let reason = setup(pairs(2500, POST)).await.failure(Fault::CursorExpired).await;
    assert!(reason.ends_with("it does not take the cursor that it has just given"), "{reason}");
}

#[tokio::test]
async fn a_cursor_of_ours_that_cannot_be_read_begins_the_part_anew() {
    let setup = setup(pairs(3, POST)).await;
    let trouble = setup.import.step(&setup.part(Some("elsewhere".to_owned()))).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Restart(_)), "{trouble:?}");
}

#[tokio::test]
async fn a_source_without_the_method_ends_the_part() {
    let setup = setup(pairs(3, POST)).await;
    let faults = [
        (404, "NotFound"),
        (501, "MethodNotImplemented"),
        (400, "MethodNotImplemented"),
        (400, "InvalidRequest"),
        (403, "Forbidden"),
    ];
    for (status, name) in faults {
        let reason = setup.failure(Fault::Error(status, name.to_owned())).await;
        assert!(reason.contains(&format!("answers {status} {name}: simulated")), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_asked_for_again_and_then_ends_the_part() {
    for fault in [Fault::Html, Fault::WrongTypes, Fault::HugeBody] {
        let setup = setup(pairs(3, POST)).await;
        setup.source.fail_next(Route::Repos, 2, fault.clone());
        assert_eq!(setup.first_step().await.seen, 3, "{fault:?}: a proxy may have been at fault");
        let before = setup.source.requests_for(Route::Repos);
        let reason = setup.failure(fault.clone()).await;
        assert_eq!(setup.source.requests_for(Route::Repos) - before, 3, "{fault:?}: {reason}");
        assert!(reason.starts_with("127.0.0.1"), "{fault:?}: {reason}");
    }
}

#[tokio::test]
async fn a_source_that_gets_nowhere_is_found_out() {
    let cases = [
        (Fault::SameCursor, "leads to the same page again", 3),
        (Fault::CursorCycle(7), "its pages go round in a circle", 40),
        (Fault::CursorCycle(1), "leads to the same page again", 3),
        (Fault::EndlessSame, "has the same accounts as page 1", 2),
        (Fault::EndlessEmpty, "100 pages in a row have no accounts", 100),
        (Fault::HugeCursor(5000), "a cursor of 5000 bytes", 1),
    ];
    for (fault, expected, requests_max) in cases {
        let setup = setup(pairs(2500, POST)).await;
        let reason = setup.failure(fault.clone()).await;
        assert!(reason.contains(expected), "{fault:?}: {reason}");
        let requests = setup.source.requests_for(Route::Repos);
        assert!(requests <= requests_max, "{fault:?}: {requests} requests");
    }
}

#[tokio::test]
async fn a_source_whose_accounts_have_no_end_is_found_out() {
    let mut setup = setup([]).await;
    setup.import.bounds = Bounds { accounts: 1000, ..BOUNDS };
    let reason = setup.failure(Fault::EndlessMadeUp).await;
    assert!(reason.ends_with("it has 1000 accounts for one collection, and still there is a next page"), "{reason}");
    setup.import.bounds = Bounds { pages: 7, ..BOUNDS };
    let reason = setup.failure(Fault::EndlessMadeUp).await;
    assert!(reason.ends_with("it has 7 pages for one collection, and still there is a next one"), "{reason}");
}

#[tokio::test]
async fn accounts_that_are_no_dids_are_counted_and_left_out() {
    let setup = setup(pairs(30, POST)).await;
    setup.source.fail_next(Route::Repos, 1, Fault::MalformedDid);
    let outcome = setup.run().await;
    assert_eq!((outcome.seen, outcome.malformed), (29, 1));
    let reason = setup.failure(Fault::ForeignDids).await;
    assert!(reason.contains("none of the 4 accounts of a page is a DID; the first is \"did:key:"), "{reason}");
}

async fn keys(setup: &Setup) -> Vec<(String, Option<u64>)> {
    let planned = setup.import.plan().await.unwrap();
    planned.into_iter().map(|part| (part.key, part.expected)).collect()
}

#[tokio::test]
async fn names_come_from_everywhere_and_numbers_from_the_source() {
    let setup = setup(pairs(3, POST).chain(pairs(2, LIKE))).await;
    setup.source.set_list("- [com.example.listed](https://lexicon.example/com.example.listed)");
    let nsid = |name| Nsid::parse(name).unwrap();
    setup.directory.apply(&[Edit::Add(Did::parse(&did(1)).unwrap(), nsid("com.example.seen"))], |_| None).unwrap();
    let list = setup.source.list_url();
    let setup = setup.with(|spec| {
        spec.collections = Collections {
            names: vec![nsid(POST), nsid("com.example.named")],
            lists: vec![list],
            seen: true,
            of_sources: true,
        };
    });
    let expected = [
        (LIKE, Some(2)),
        ("com.example.listed", None),
        ("com.example.named", None),
        (POST, Some(3)),
        ("com.example.seen", None),
    ];
    assert_eq!(keys(&setup).await, expected.map(|(name, count)| (setup.key(name), count)));
    let planned = setup.import.plan().await.unwrap();
    let host = setup.source.url().trim_start_matches("http://").to_owned();
    assert!(planned.iter().all(|part| part.provider == host), "{planned:?}");
}

#[tokio::test]
async fn each_source_has_a_part_for_each_collection() {
    let other = sim::Directory::start(pairs(1, LIKE)).await;
    let setup = setup(pairs(1, POST)).await;
    other.hide_counts();
    let other_url = other.url();
    let setup = setup.with(|spec| {
        spec.sources.push(other_url.clone());
        spec.collections = Collections { of_sources: true, ..names(&[POST, LIKE]) };
    });
    let name = other_url.trim_start_matches("http://");
    let keys: BTreeSet<String> = keys(&setup).await.into_iter().map(|(key, _)| key).collect();
    let mut expected: BTreeSet<String> = [POST, LIKE].map(|collection| format!("{name} {collection}")).into();
    expected.extend([POST, LIKE].map(|collection| setup.key(collection)));
    // It lists nothing itself, and that is seen.
    expected.insert(format!("{other_url}/v1/listCollections"));
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn a_long_list_of_collections_of_a_source_is_read_to_its_end() {
    let setup = setup((0..1700).map(|number| (did(1), format!("com.example.name{number}")))).await;
    let setup = setup.with(|spec| spec.collections.of_sources = true);
    assert_eq!(keys(&setup).await.len(), 1700);
    assert_eq!(setup.source.requests_for(Route::Collections), 2, "the cursor that indigo gives leads nowhere");
}

#[tokio::test]
async fn a_source_without_a_list_of_collections_is_no_problem_where_none_is_needed() {
    let setup = setup(pairs(3, POST)).await;
    setup.source.hide_counts();
    assert_eq!(keys(&setup).await, [(setup.key(POST), None)]);
}

#[tokio::test]
async fn a_list_in_trouble_is_waited_for() {
    for (route, fault) in [(Route::List, Fault::Status(503)), (Route::Collections, Fault::Status(500))] {
        let setup = setup(pairs(3, POST)).await;
        setup.source.set_list(POST);
        setup.source.set_fault(route, Some(fault));
        let list = setup.source.list_url();
        let setup = setup.with(|spec| {
            spec.collections = Collections { lists: vec![list], of_sources: true, ..names(&[POST]) };
        });
        let trouble = setup.import.plan().await.unwrap_err();
        assert!(matches!(trouble, Trouble::Wait { .. }), "{route:?}: {trouble:?}");
    }
}

#[tokio::test]
async fn a_list_that_is_gone_is_a_part_that_fails() {
    let setup = setup(pairs(3, POST)).await;
    let list = setup.source.list_url();
    let setup = setup.with(|spec| spec.collections = Collections { lists: vec![list.clone()], ..names(&[POST]) });
    assert_eq!(keys(&setup).await, [(list.clone(), None), (setup.key(POST), Some(3))]);
    let step = async || setup.import.step(&Part { key: list.clone(), ..setup.part(None) }).await.unwrap_err();
    let trouble = step().await;
    assert!(matches!(&trouble, Trouble::Fail(reason) if reason.contains("404")), "{trouble:?}");
    setup.source.set_list(POST);
    let trouble = step().await;
    assert!(matches!(&trouble, Trouble::Fail(reason) if reason.contains("run the job again")), "{trouble:?}");
}

#[tokio::test]
async fn a_plan_without_any_name_says_why() {
    let setup = setup([]).await;
    let list = setup.source.list_url();
    let setup = setup.with(|spec| spec.collections.lists.push(list));
    let trouble = setup.import.plan().await.unwrap_err();
    let Trouble::Fail(reason) = trouble else { panic!("{trouble:?}") };
    assert!(reason.starts_with("no collection is named; ") && reason.contains("404"), "{reason}");
}

#[tokio::test]
async fn what_is_no_url_is_named() {
    let setup = setup([]).await;
    let import = |change: &dyn Fn(&mut Spec)| {
        let mut spec = spec(&setup.source, names(&[POST]));
        change(&mut spec);
        Import::new(&spec, web(), setup.directory.clone()).err()
    };
    assert_eq!(import(&|_| {}), None);
    for text in ["relay.example.com", "wss://relay.example.com", "https://", "https://me:secret@relay.example.com"] {
        let expected = Some(NotAUrl(text.to_owned()));
        assert_eq!(import(&|spec| spec.sources = vec![text.to_owned()]), expected);
        assert_eq!(import(&|spec| spec.collections.lists = vec![text.to_owned()]), expected);
    }
}

#[tokio::test]
async fn a_part_of_a_source_that_is_no_longer_asked_ends() {
    let setup = setup([]).await;
    for key in ["old.example.com com.example.post", "https://old.example.com/llms.txt", "nothing"] {
        let trouble = setup.import.step(&Part { key: key.to_owned(), ..setup.part(None) }).await.unwrap_err();
        assert!(matches!(&trouble, Trouble::Fail(reason) if reason.contains("of this job any more")), "{trouble:?}");
    }
}
