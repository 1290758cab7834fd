//! What the relay itself makes of accounts: takedowns, the limits of their hosts, what it asks their hosts, and the
//! validation mode of each host.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, assert_delivered};
use relay::protocol::frame::Kind;
use serde_json::{Value, json};
use sim::repo::Write;
use sim::{Account, Delivered, Mutation, Relay};

async fn of_account(relay: &Relay, account: &Account) -> Value {
    relay.get_admin(&format!("/admin/accounts?did={}", account.did)).await.json
}

async fn repo_status(relay: &Relay, account: &Account) -> Value {
    relay.get(&format!("/xrpc/com.atproto.sync.getRepoStatus?did={}", account.did)).await.json
}

async fn take_down(relay: &Relay, account: &Account) -> Value {
    let answer = relay.post_admin("/admin/repo/takeDown", json!({ "did": account.did })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

async fn reverse(relay: &Relay, account: &Account) -> Value {
    let answer = relay.post_admin("/admin/repo/reverseTakedown", json!({ "did": account.did })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

/// Checks that an event is an `#account` of this account with this status.
#[track_caller]
fn assert_states(event: &Delivered, account: &Account, stated: (bool, Option<&str>)) {
    assert_eq!((event.did.as_str(), event.account()), (account.did.as_str(), stated));
}

/// Protocol 19: a local takedown overrides the host, hides what is in the replay window, and can be reversed.
#[tokio::test(flavor = "multi_thread")]
async fn a_takedown_hides_an_account_until_it_is_reversed() {
    let mut world = World::new(60, &[]).await;
    let host = world.host().await;
    let (mut bad, mut good) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    let of_bad = [host.emit(bad.act()), host.emit(bad.identity()), host.emit(bad.act())];
    consumer.events(3).await;
    let of_good = [host.emit(good.act()), host.emit(good.act())];
    consumer.events(2).await;

    let answer = take_down(&world.relay, &bad).await;
    assert_eq!(
        (&answer["active"], &answer["status"], &answer["takenDown"]),
        (&json!(false), &json!("takendown"), &json!(true))
    );
    assert_states(&consumer.event().await, &bad, (false, Some("takendown")));
    take_down(&world.relay, &bad).await; // once more says nothing new

    host.emit(bad.act());
    host.emit(bad.status(None));
    let later = host.emit(good.act());
    assert_delivered(&consumer.events(1).await, [&later], "only the other account's events pass");
    assert_eq!(world.dropped().await, [("taken_down".to_owned(), 2)].into());
    assert_eq!(repo_status(&world.relay, &bad).await["status"], "takendown");
    let latest = world.relay.get(&format!("/xrpc/com.atproto.sync.getLatestCommit?did={}", bad.did)).await;
    assert_eq!((latest.status, &latest.json["error"]), (403, &json!("RepoTakendown")));
    let status = world.relay.get(&format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name())).await;
    assert_eq!(status.json["accountCount"], 1, "it does not count on its host any more");

    // Whoever comes now, and after a crash too, gets nothing of its content.
    for crash in [false, true] {
        if crash {
            world.relay.kill();
            world.relay.start_again().await;
        }
        let mut replay = world.relay.consumer(Some(0)).await;
        let events = replay.events(5).await;
        let kinds: Vec<(bool, Kind)> = events.iter().map(|event| (event.did == bad.did, event.kind)).collect();
        let expected = [
            (true, Kind::Identity),
            (false, Kind::Commit),
            (false, Kind::Commit),
            (true, Kind::Account),
            (false, Kind::Commit),
        ];
        assert_eq!(kinds, expected, "after a crash: {crash}");
    }
    let takedowns = world.relay.get_admin("/admin/repo/takedowns?cursor=&size=500").await.json;
    assert_eq!(takedowns, json!({ "dids": [bad.did] }));

    let mut consumer = world.relay.consumer(None).await;
    host.set_repo_status(&bad.did, None);
    reverse(&world.relay, &bad).await;
    assert_states(&consumer.event().await, &bad, (true, None));
    host.connected().await;
    bad.act(); // one of its commits was dropped while it was down
    let back = host.emit(bad.act());
    assert_delivered(&consumer.events(1).await, [&back], "it is back");
    let mut replay = world.relay.consumer(Some(0)).await;
    let events = replay.events(9).await;
    assert_delivered(&events[..5], of_bad.iter().chain(&of_good), "its past is back too");
    assert_eq!(of_account(&world.relay, &bad).await["discontinuities"], 1, "what was dropped shows (protocol 27)");
}

/// A long row of hidden events holds up nobody who reads on from before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_many_hidden_events_comes_at_once() {
    let world = World::new(67, &[]).await;
    let host = world.host().await;
    let (mut bad, mut good) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    for _ in 0..3000 {
        host.emit(bad.act());
    }
    consumer.events(3000).await;
    let sent = host.emit(good.act());
    consumer.events(1).await;
    take_down(&world.relay, &bad).await;
    assert_states(&consumer.event().await, &bad, (false, Some("takendown")));
    // One batch each second would take longer than an event is waited for here.
    let mut replay = world.relay.consumer(Some(0)).await;
    assert_delivered(&replay.events(1).await, [&sent], "what is behind them");
}

/// Protocol 19: who is taken down before anything of it came is down when it comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_known_yet_can_be_taken_down() {
    let world = World::new(61, &[]).await;
    let host = world.host().await;
    let (mut bad, mut good) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    take_down(&world.relay, &bad).await;
    assert_states(&consumer.event().await, &bad, (false, Some("takendown")));
    host.emit(bad.act());
    world.until_dropped("taken_down", 1).await;
    let sent = host.emit(good.act());
    assert_delivered(&consumer.events(1).await, [&sent], "the other account");

    reverse(&world.relay, &bad).await;
    assert_states(&consumer.event().await, &bad, (true, None));
    let sent = host.emit(bad.act());
    assert_delivered(&consumer.events(1).await, [&sent], "it may speak now");
    assert_eq!(of_account(&world.relay, &bad).await["host"], host.name());
}

/// Protocol 19: what the host said while an account was down is asked for when it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_reversed_takedown_leaves_what_the_host_says() {
    let world = World::new(62, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.act());
    consumer.events(1).await;
    take_down(&world.relay, &account).await;
    assert_states(&consumer.event().await, &account, (false, Some("takendown")));
    host.emit(account.status(Some("deactivated")));
    world.until_dropped("taken_down", 1).await;
    host.set_repo_status(&account.did, Some("deactivated"));
    reverse(&world.relay, &account).await;
    assert_states(&consumer.event().await, &account, (false, Some("deactivated")));
}

/// Protocol 19. Accounts beyond the limit of their host are held back, and let in when there is a place.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_beyond_the_limit_wait_for_a_place() {
    let mut world = World::new(63, &["--host-account-limit=2"]).await;
    let host = world.host().await;
    let mut accounts: Vec<Account> = (0..5).map(|_| world.account(&host)).collect();
    let mut consumer = world.relay.consumer(None).await;
    for account in &mut accounts {
        for _ in 0..2 {
            host.emit(account.act());
        }
    }
    let events = consumer.events(7).await;
    for account in &accounts {
        let of_it: Vec<&Delivered> = events.iter().filter(|event| event.did == account.did).collect();
        match of_it[..] {
            [commit, _] => assert_eq!(commit.kind, Kind::Commit),
            [event] => assert_states(event, account, (false, Some("throttled"))),
            _ => panic!("{} events of {}", of_it.len(), account.did),
        }
    }
    let is_held = |account: &Account| events.iter().filter(|event| event.did == account.did).count() == 1;
    let (mut held, mut free): (Vec<Account>, Vec<Account>) = accounts.into_iter().partition(is_held);
    assert_eq!((held.len(), free.len()), (3, 2));
    assert_eq!(repo_status(&world.relay, &held[0]).await["status"], "throttled");
    world.until_dropped("host_account_limit", 6).await;

    // The list of who waits is made again from the log.
    world.relay.kill();
    world.relay.start_again().await;
    let list = world.relay.get_admin("/admin/pds/list").await.json;
    assert_eq!((&list[0]["accounts"], &list[0]["accountsHeld"]), (&json!(2), &json!(3)), "{list}");

    let mut consumer = world.relay.consumer(None).await;
    let limits = json!({ "host": host.name(), "account_limit": 4 });
    let answer = world.relay.post_admin("/admin/pds/changeLimits", limits).await.json;
    assert_eq!(answer["accountsLetIn"], 2, "{answer}");
    held.sort_by(|a, b| a.did.cmp(&b.did));
    for account in &held[..2] {
        assert_states(&consumer.event().await, account, (true, None));
    }
    host.connected().await;
    let sent = host.emit(held[0].act());
    assert_delivered(&consumer.events(1).await, [&sent], "it was let in");
    host.emit(held[2].act());
    world.until_dropped("host_account_limit", 1).await;

    // A place that somebody leaves goes to the next who speaks.
    let gone = host.emit(free[0].status(Some("deleted")));
    assert_delivered(&consumer.events(1).await, [&gone], "one is deleted");
    world
        .relay
        .until("a place is free", async |relay| relay.get_admin("/admin/pds/list").await.json[0]["accounts"] == 3)
        .await;
    let sent = host.emit(held[2].act());
    assert_states(&consumer.event().await, &held[2], (true, None));
    assert_delivered(&consumer.events(1).await, [&sent], "the next one is let in");
}

/// Protocol 19: an account of which we think that it is inactive, and which commits, is looked up at its host.
#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_account_that_commits_is_asked_for_at_its_host() {
    let world = World::new(64, &[]).await;
    let host = world.host().await;
    let (mut back, mut away) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    for account in [&mut back, &mut away] {
        host.emit(account.act());
        host.emit(account.status(Some("deactivated")));
    }
    consumer.events(4).await;

    // Its #account was lost on the way.
    host.set_repo_status(&back.did, None);
    let sent = [host.emit(back.act()), host.emit(back.act())];
    assert_states(&consumer.event().await, &back, (true, None));
    assert_delivered(&consumer.events(2).await, &sent, "both commits, after the status");

    host.set_repo_status(&away.did, Some("deactivated"));
    for _ in 0..3 {
        host.emit(away.act());
    }
    world.until_dropped("account_inactive", 3).await;
    assert_eq!(host.status_requests(), 2, "it is not asked again for each event");
}

/// Protocol 26. Every host has a validation mode: as configured, by its domain, or its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_validation_mode_is_the_hosts() {
    let world = World::new(65, &["--validation-for=localhost*=lenient,nobody.example.com=observe"]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    let mut account = world.account(&host);
    let create = |number| Write::Create { path: format!("{}/{number:03}", sim::account::POSTS), record: vec![0xa0] };
    host.emit(account.commit((0..50).map(create).collect()));
    consumer.events(1).await;
    let set = async |mode: Value| {
        let body = json!({ "host": host.name(), "validation": mode });
        world.relay.post_admin("/admin/pds/setValidation", body).await
    };
    assert_eq!(world.relay.get_admin("/admin/pds/list").await.json[0]["validation"], "enforce");

    for (mode, mutation, passes) in [
        ("enforce", Mutation::OtherPrevData, false),
        ("observe", Mutation::OtherPrevData, true),
        ("lenient", Mutation::NoPrevData, true),
        ("lenient", Mutation::OtherPrevData, false),
        ("enforce", Mutation::NoPrevData, false),
    ] {
        let answer = set(json!(mode)).await;
        assert_eq!((answer.status, &answer.json["validation"]), (200, &json!(mode)), "{}", answer.text);
        let bad = host.emit_frame(|seq| mutation.frame(&account, seq));
        let next = host.emit(account.identity());
        let expected = if passes { vec![&bad, &next] } else { vec![&next] };
        assert_delivered(&consumer.events(expected.len()).await, expected, &format!("{mode}: {mutation:?}"));
        if passes {
            // What passed is the account's state now.
            account = world.account(&host);
            host.emit(account.commit((0..50).map(create).collect()));
            consumer.events(1).await;
        }
    }
    assert_eq!(set(json!("strict")).await.status, 400);
    assert_eq!(set(Value::Null).await.json["validation"], "enforce", "as configured again");
    let audit = world.relay.get_admin("/admin/audit").await.json;
    assert_eq!((&audit[0]["action"], &audit[0]["detail"]), (&json!("set_host_validation"), &json!("as configured")));
}

/// Protocol 27: a commit that does not continue the known state passes and shows at its account, after a crash too.
#[tokio::test(flavor = "multi_thread")]
async fn discontinuities_are_counted_for_each_account() {
    let mut world = World::new(66, &[]).await;
    let host = world.host().await;
    let (mut jumps, mut steady) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    for _ in 0..3 {
        jumps.act(); // nobody hears of this one
        host.emit(jumps.act());
        host.emit(steady.act());
    }
    consumer.events(6).await;
    for crash in [false, true] {
        if crash {
            world.relay.kill();
            world.relay.start_again().await;
        }
        assert_eq!(of_account(&world.relay, &jumps).await["discontinuities"], 2, "after a crash: {crash}");
        assert_eq!(of_account(&world.relay, &steady).await["discontinuities"], 0);
        let data = of_account(&world.relay, &steady).await["data"].clone();
        assert_eq!(data, steady.repo().data().to_string(), "its tree is known");
    }
}
