//! What a crawl finds.

use std::collections::BTreeSet;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use relay::backfill::{Crawl, Planned, Trouble, Work};
use relay::collections::Edit;
use relay::decisions::HostStatus;
use relay::identity::Freshness;
use relay::protocol::did::Did;
use serde_json::{Value, json};
use sim::Host;
use sim::directory::Fault;
use sim::host::Question;

use crate::rig::{LIKES, LISTS, POSTS, Rig, begin, did, nsid, row, run};

#[tokio::test]
async fn every_account_of_a_host_is_asked_for_once() {
    let host = Host::start().await;
    let rig = Rig::new(1, &[&host]).await;
    let mut dids = rig.accounts(&host, 45, &[POSTS]);
    dids.extend(rig.accounts(&host, 5, &[LIKES, POSTS, LISTS]));
    host.set_page_max(7);
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    let collections = |did| if dids[..45].contains(did) { vec![POSTS] } else { vec![LIKES, LISTS, POSTS] };
    let expected = dids.iter().map(|did| (did.clone(), collections(did).into_iter().map(nsid).collect()));
    assert_eq!(found.pairs, expected.collect());
    assert_eq!((found.seen, found.classes()), (50, vec![("mended", 50)]), "the directory knew nothing of them");
    assert_eq!(host.questions(Question::Collections), 50);
    assert_eq!(host.questions(Question::Accounts), 9, "each page once, and an empty one at the end");

    rig.context.directory.apply(&found.edits, |_| None).unwrap();
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    assert_eq!((found.seen, found.classes()), (50, vec![("active", 50)]), "and then it does");
}

#[tokio::test]
async fn the_revision_that_was_known_before_goes_with_the_collections() {
    let host = Host::start().await;
    let rig = Rig::new(2, &[&host]).await;
    let mut account = rig.network.account(&host);
    host.emit(account.post());
    host.set_account(&account.did, &[POSTS], None);
    let rev = account.rev().unwrap().to_string().parse().unwrap();
    rig.remember(&did(&account.did), &row(1, Some(rev)));
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    let replace = Edit::Replace { did: did(&account.did), collections: vec![nsid(POSTS)], rev: Some(rev) };
    assert_eq!(found.edits, [replace]);
    assert_eq!(rig.network.plc.requests(), 0, "whose account it is was known");
}

/// A PDS of two methods and nothing else, as people write them to get accounts into a directory.
#[tokio::test]
async fn a_host_with_two_methods_is_crawled() {
    let plain = Host::start().await;
    let rig = Rig::new(3, &[&plain]).await;
    let accounts: Vec<_> = (0..22).map(|_| rig.network.unregistered_account()).collect();
    let name = micro_pds(accounts.iter().map(|account| account.did.clone()).collect()).await;
    accounts.iter().for_each(|account| rig.network.plc.register(account, &name));
    let crawl = Crawl::new(rig.context.clone(), vec![name.clone()]);
    let found = run(&crawl, begin(&name)).await.unwrap();
    assert_eq!(found.classes(), [("mended", 22)]);
    let both: BTreeSet<_> = [nsid(POSTS), nsid(LIKES)].into();
    assert!(accounts.iter().all(|account| found.pairs[&did(&account.did)] == both));
}

async fn micro_pds(dids: Vec<String>) -> String {
    async fn list_repos(State(dids): State<Vec<String>>) -> Json<Value> {
        Json(json!({ "repos": dids.iter().map(|did| json!({ "did": did })).collect::<Vec<_>>() }))
    }
    async fn describe_repo(Query(query): Query<Value>) -> Json<Value> {
        Json(json!({ "did": query["repo"], "collections": [POSTS, LIKES] }))
    }
    let routes = Router::new()
        .route("/xrpc/com.atproto.sync.listRepos", get(list_repos))
        .route("/xrpc/com.atproto.repo.describeRepo", get(describe_repo))
        .with_state(dids);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    name
}

#[tokio::test]
async fn accounts_that_are_not_active_are_hidden_where_they_are_known() {
    let host = Host::start().await;
    let rig = Rig::new(4, &[&host]).await;
    let statuses = ["deactivated", "takendown", "suspended", "throttled", "desynchronized", "deleted"];
    let known = rig.accounts(&host, 6, &[POSTS]);
    let unknown = rig.accounts(&host, 6, &[POSTS]);
    for ((known, unknown), status) in known.iter().zip(&unknown).zip(statuses) {
        rig.list(known, &[POSTS]);
        for did in [known, unknown] {
            host.set_account(did.as_str(), &[POSTS], Some(status));
        }
    }
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    let mut expected: Vec<Edit> = known[..5].iter().cloned().map(Edit::Hide).collect();
    expected.push(Edit::Forget(known[5].clone()));
    assert!(found.edits.len() == 6 && expected.iter().all(|edit| found.edits.contains(edit)), "{:?}", found.edits);
    let mut classes = statuses.map(|status| (status, 2));
    classes.sort_unstable();
    assert_eq!(found.classes(), classes);
    assert_eq!(host.questions(Question::Collections), 0, "none is asked for");
}

#[tokio::test]
async fn an_account_that_its_host_does_not_describe_is_what_the_host_says() {
    // What describeRepo answers, what getRepoStatus says, the class and the edit.
    let error = |name: &str| Fault::Error(400, name.to_owned());
    let excessive: Vec<String> = (0..1001).map(|number| format!("app.example.c{number}")).collect();
    type Case = (&'static str, Fault, Option<&'static str>, fn(Did) -> Edit);
    let cases: [Case; 6] = [
        ("deactivated", error("RepoDeactivated"), None, Edit::Hide),
        ("takendown", error("RepoTakendown"), None, Edit::Hide),
        ("suspended", error("RepoSuspended"), None, Edit::Hide),
        ("gone", error("RepoNotFound"), None, Edit::Forget),
        ("deactivated", error("InvalidRequest"), Some("deactivated"), Edit::Hide),
        ("deleted", error("InvalidRequest"), Some("deleted"), Edit::Forget),
    ];
    let host = Host::start().await;
    let rig = Rig::new(5, &[&host]).await;
    for (class, fault, status, edit) in cases {
        let did = rig.accounts(&host, 1, &[POSTS]).remove(0);
        rig.list(&did, &[POSTS]);
        host.set_fault_for(did.as_str(), Some(fault.clone()));
        host.set_repo_status(did.as_str(), status);
        let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
        assert_eq!((found.classes(), found.edits.clone()), (vec![(class, 1)], vec![edit(did.clone())]), "{fault:?}");
        host.remove_account(did.as_str());
    }
    let did = rig.accounts(&host, 1, &excessive.iter().map(String::as_str).collect::<Vec<_>>()).remove(0);
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    assert_eq!((found.classes(), found.edits.clone()), (vec![("excessive", 1)], vec![]), "{did}");
}

#[tokio::test]
async fn accounts_of_other_hosts_are_left_alone() {
    let (host, other) = (Host::start().await, Host::start().await);
    let rig = Rig::new(6, &[&host, &other]).await;
    let by_row = did(&rig.network.account(&host).did);
    rig.remember(&by_row, &row(2, None));
    let by_identity = did(&rig.network.account(&other).did);
    let inactive = did(&rig.network.account(&other).did);
    for (did, status) in [(&by_row, None), (&by_identity, None), (&inactive, Some("deactivated"))] {
        host.set_account(did.as_str(), &[POSTS], status);
        rig.list(did, &[POSTS]);
    }
    // It has moved, which nobody has noticed.
    let moved = rig.network.account(&host);
    rig.context.resolver.resolve(&did(&moved.did), Freshness::Cached).await.unwrap();
    rig.network.plc.register(&moved, other.name());
    host.set_account(&moved.did, &[POSTS], None);
    host.set_fault_for(&moved.did, Some(Fault::Error(400, "RepoNotFound".to_owned())));

    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    assert_eq!((found.classes(), found.edits.clone()), (vec![("foreign", 4)], vec![]));
    assert_eq!(host.described(), [moved.did], "it is not asked for what is not its own");
}

#[tokio::test]
async fn accounts_that_are_nowhere_are_not_shown() {
    let host = Host::start().await;
    let rig = Rig::new(7, &[&host]).await;
    let gone = did(&rig.network.unregistered_account().did);
    let homeless = did(&rig.network.unregistered_account().did);
    rig.network.plc.enter(homeless.as_str(), json!({ "id": homeless.as_str() }));
    for did in [&gone, &homeless] {
        host.set_account(did.as_str(), &[POSTS], None);
        rig.list(did, &[POSTS]);
    }
    let found = run(&rig.crawl(&[&host]), begin(host.name())).await.unwrap();
    assert_eq!(found.classes(), [("gone", 1), ("homeless", 1)]);
    assert!(found.edits.contains(&Edit::Forget(gone)) && found.edits.contains(&Edit::Hide(homeless)));
    assert_eq!(host.described(), Vec::<String>::new());
}

#[tokio::test]
async fn hosts_are_planned_by_name_or_as_the_relay_knows_them() {
    let names = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"];
    let statuses = [HostStatus::Active, HostStatus::Banned, HostStatus::Offline, HostStatus::Idle];
    let rig = Rig::with_hosts(8, &names.into_iter().zip(statuses).collect::<Vec<_>>()).await;
    let planned = |hosts: &[&str]| {
        let crawl = Crawl::new(rig.context.clone(), hosts.iter().map(|host| (*host).to_owned()).collect());
        async move { crawl.plan().await }
    };
    let part = |name: &str| Planned { key: name.to_owned(), provider: name.to_owned(), expected: None };
    assert_eq!(planned(&[]).await, Ok(vec![part(names[0]), part(names[3])]));
    let named = ["http://127.0.0.1:3/", "127.0.0.1:9", "127.0.0.1:3"];
    assert_eq!(planned(&named).await, Ok(vec![part(names[2]), part("127.0.0.1:9")]), "each once, known or not");
    for (host, reason) in [("127.0.0.1:2", "is banned"), ("a host", "is not a host name")] {
        let refused = planned(&[host]).await;
        assert!(matches!(&refused, Err(Trouble::Fail(said)) if said.contains(reason)), "{refused:?}");
    }
    let crawl = Crawl::new(rig.context.clone(), Vec::new());
    let refused = crawl.step(&begin(names[1])).await;
    assert!(matches!(&refused, Err(Trouble::Fail(said)) if said.contains("is banned")), "banned since: {refused:?}");
}

#[tokio::test]
async fn the_plc_directory_is_waited_for() {
    let host = Host::start().await;
    let rig = Rig::new(9, &[&host]).await;
    let dids = rig.accounts(&host, 40, &[POSTS]);
    rig.network.plc.set_fault(Some(sim::Fault::Busy(1)));
    let crawl = rig.crawl(&[&host]);
    let waits = crawl.step(&begin(host.name())).await;
    assert!(matches!(waits, Err(Trouble::Wait { after: Some(_), .. })), "{waits:?}");
    assert_eq!(host.described(), Vec::<String>::new());
    rig.network.plc.set_fault(None);
    let found = run(&crawl, begin(host.name())).await.unwrap();
    assert_eq!(found.pairs.into_keys().collect::<Vec<_>>(), dids);
}
