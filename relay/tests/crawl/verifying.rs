//! What a verification finds of the accounts of a directory.

use relay::account::Status;
use relay::backfill::{Trouble, Work};
use relay::collections::Edit;
use relay::identity::Freshness;
use relay::protocol::did::Did;
use serde_json::json;
use sim::Host;
use sim::directory::Fault;
use sim::host::Question;

use crate::rig::{LIKES, LISTS, POSTS, Rig, begin, did, nsid, row, run};

const ALL: &str = "all accounts";

fn replace(did: &Did, collections: &[&str]) -> Edit {
    Edit::Replace { did: did.clone(), collections: collections.iter().map(|name| nsid(name)).collect(), rev: None }
}

/// An account of a host that the directory lists with its posts.
fn listed(rig: &Rig, host: &Host) -> Did {
    let did = rig.accounts(host, 1, &[POSTS]).remove(0);
    rig.list(&did, &[POSTS]);
    did
}

#[tokio::test]
async fn what_the_directory_says_is_put_right() {
    type Case = (&'static str, fn(&Host, &Did), fn(&Did) -> Edit);
    let cases: [Case; 9] = [
        ("active", |_, _| (), |did| replace(did, &[POSTS])),
        (
            "mended",
            |host, did| host.set_account(did.as_str(), &[POSTS, LIKES], None),
            |did| replace(did, &[LIKES, POSTS]),
        ),
        ("mended", |host, did| host.set_account(did.as_str(), &[LISTS], None), |did| replace(did, &[LISTS])),
        ("mended", |host, did| host.set_account(did.as_str(), &[], None), |did| replace(did, &[])),
        (
            "deactivated",
            |host, did| host.set_account(did.as_str(), &[], Some("deactivated")),
            |did| Edit::Hide(did.clone()),
        ),
        (
            "takendown",
            |host, did| host.set_account(did.as_str(), &[], Some("takendown")),
            |did| Edit::Hide(did.clone()),
        ),
        (
            "suspended",
            |host, did| host.set_account(did.as_str(), &[], Some("suspended")),
            |did| Edit::Hide(did.clone()),
        ),
        ("gone", |host, did| host.remove_account(did.as_str()), |did| Edit::Forget(did.clone())),
        (
            "deleted",
            |host, did| {
                host.set_fault_for(did.as_str(), Some(Fault::Error(400, "InvalidRequest".to_owned())));
                host.set_repo_status(did.as_str(), Some("deleted"));
            },
            |did| Edit::Forget(did.clone()),
        ),
    ];
    for (class, change, edit) in cases {
        let host = Host::start().await;
        let rig = Rig::new(60, &[&host]).await;
        let did = listed(&rig, &host);
        rig.remember(&did, &row(1, None));
        change(&host, &did);
        let found = run(&rig.verify(), begin(ALL)).await.unwrap();
        let expected = edit(&did);
        assert_eq!((found.seen, found.classes(), found.edits.clone()), (1, vec![(class, 1)], vec![expected]));
        let lookups = if class == "gone" { 2 } else { 1 };
        assert_eq!(rig.network.plc.requests_for(did.as_str()), lookups, "{class}");
    }
}

#[tokio::test]
async fn accounts_without_a_place_are_not_shown() {
    let host = Host::start().await;
    let rig = Rig::new(61, &[&host]).await;
    let gone = did(&rig.network.unregistered_account().did);
    let homeless = did(&rig.network.unregistered_account().did);
    rig.network.plc.enter(homeless.as_str(), json!({ "id": homeless.as_str() }));
    [&gone, &homeless].into_iter().for_each(|did| rig.list(did, &[POSTS]));
    let found = run(&rig.verify(), begin(ALL)).await.unwrap();
    assert_eq!(found.classes(), [("gone", 1), ("homeless", 1)]);
    assert!(found.edits.contains(&Edit::Forget(gone)) && found.edits.contains(&Edit::Hide(homeless)));
}

#[tokio::test]
async fn an_account_that_has_moved_stays_listed_where_its_new_host_has_it() {
    let (old, new) = (Host::start().await, Host::start().await);
    let rig = Rig::new(62, &[&old, &new]).await;
    // The identity that is known says so …
    let known = listed(&rig, &new);
    rig.remember(&known, &row(1, None));
    // … or the old host, which knows it no more, and then the identity as it is now.
    let account = rig.network.account(&old);
    let noticed = did(&account.did);
    rig.list(&noticed, &[POSTS]);
    rig.context.resolver.resolve(&noticed, Freshness::Cached).await.unwrap();
    rig.network.plc.register(&account, new.name());
    new.set_account(noticed.as_str(), &[POSTS, LIKES], None);
    // Another has moved to a host that has switched it off.
    let away = listed(&rig, &new);
    rig.remember(&away, &row(1, None));
    new.set_account(away.as_str(), &[], Some("deactivated"));

    let found = run(&rig.verify(), begin(ALL)).await.unwrap();
    assert_eq!(found.classes(), [("deactivated", 1), ("migrated", 2)]);
    let expected = [replace(&known, &[POSTS]), replace(&noticed, &[LIKES, POSTS]), Edit::Hide(away)];
    assert!(expected.iter().all(|edit| found.edits.contains(edit)), "{:?}", found.edits);
    assert_eq!(found.edits.len(), 3);
}

/// What edits make of pages, with the directory itself.
#[tokio::test]
async fn an_account_is_on_pages_exactly_while_its_host_serves_it() {
    let host = Host::start().await;
    let rig = Rig::new(67, &[&host]).await;
    let did = listed(&rig, &host);
    for (status, class, page) in
        [(Some("deactivated"), "deactivated", 0), (Some("takendown"), "takendown", 0), (None, "active", 1)]
    {
        host.set_account(did.as_str(), &[POSTS], status);
        let found = run(&rig.verify(), begin(ALL)).await.unwrap();
        assert_eq!(found.classes(), [(class, 1)]);
        rig.context.directory.apply(&found.edits, |_| None).unwrap();
        assert_eq!(rig.context.directory.page(&nsid(POSTS), None, 10).unwrap().len(), page, "{class}");
    }
    host.remove_account(did.as_str());
    for classes in [vec![("gone", 1)], vec![]] {
        let found = run(&rig.verify(), begin(ALL)).await.unwrap();
        assert_eq!(found.classes(), classes);
        rig.context.directory.apply(&found.edits, |_| None).unwrap();
    }
}

#[tokio::test]
async fn a_host_that_is_away_holds_up_only_its_own_accounts() {
    let (mut away, host) = (Host::start().await, Host::start().await);
    let rig = Rig::new(63, &[&away, &host]).await;
    let hers: Vec<Did> = (0..70).map(|_| listed(&rig, &away)).collect();
    let others: Vec<Did> = (0..70).map(|_| listed(&rig, &host)).collect();
    away.down().await;
    let verify = rig.verify();
    let (mut part, mut again, mut edits) = (begin(ALL), Vec::new(), 0);
    loop {
        let step = verify.step(&part).await.unwrap();
        again.extend(step.again);
        edits += step.edits.len();
        part.cursor = step.cursor;
        if part.cursor.is_none() {
            break;
        }
    }
    let asked = again.iter().filter(|(_, reason)| !reason.contains("has not answered lately")).count();
    assert_eq!((edits, asked), (others.len(), 3), "it is asked three times and then left alone");
    let mut again: Vec<Did> = again.into_iter().map(|(did, _)| did).collect();
    again.sort_unstable();
    let mut expected = hers.clone();
    expected.sort_unstable();
    assert_eq!(again, expected, "all of its accounts are to be tried again");

    away.up().await;
    let step = rig.verify().retry(&part, &again).await.unwrap();
    assert_eq!((step.edits.len(), step.again.len(), step.seen), (70, 0, 0));
}

#[tokio::test]
async fn the_plc_directory_is_waited_for() {
    let host = Host::start().await;
    let rig = Rig::new(64, &[&host]).await;
    (0..30).for_each(|_| drop(listed(&rig, &host)));
    rig.network.plc.set_fault(Some(sim::Fault::Busy(60)));
    let (verify, mut part) = (rig.verify(), begin(ALL));
    let waits = loop {
        match verify.step(&part).await {
            Ok(step) => part.cursor = step.cursor,
            Err(trouble) => break trouble,
        }
    };
    assert!(matches!(waits, Trouble::Wait { after: Some(_), .. }), "{waits:?}");
    assert_eq!(host.questions(Question::Collections), 0);
}

#[tokio::test]
async fn nothing_is_left_out_when_requests_fail() {
    let host = Host::start().await;
    let rig = Rig::new(65, &[&host]).await;
    let dids: Vec<Did> = (0..100).map(|_| listed(&rig, &host)).collect();
    host.fail_every(3);
    let found = run(&rig.verify(), begin(ALL)).await.unwrap();
    assert_eq!((found.pairs.len(), found.classes()), (dids.len(), vec![("active", 100)]));
}

#[tokio::test]
async fn an_account_that_the_relay_holds_inactive_is_looked_at_all_the_same() {
    let host = Host::start().await;
    let rig = Rig::new(66, &[&host]).await;
    let did = listed(&rig, &host);
    rig.remember(&did, &relay::account::Account { status: Status::Deactivated, ..row(1, None) });
    let found = run(&rig.verify(), begin(ALL)).await.unwrap();
    assert_eq!(found.classes(), [("active", 1)]);
}
