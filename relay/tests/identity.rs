//! Who an account is (protocol 16, 17, 18, 22, 29): looked up once, remembered, and looked up anew when it has changed.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{World, assert_delivered};
use sim::{Account, Consumer, Fault, Host, Sent};

/// Longer than any single step of the follower of the export takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Accounts on a host, each of which has said something that the consumer has.
async fn known_accounts(world: &World, host: &Host, consumer: &mut Consumer, count: usize) -> Vec<Account> {
    let mut accounts: Vec<Account> = (0..count).map(|_| world.account(host)).collect();
    for account in &mut accounts {
        host.emit(account.post());
    }
    consumer.events(count).await;
    accounts
}

/// A metric by its name and labels as they are written, if it is there.
async fn find_metric(world: &World, name: &str) -> Option<u64> {
    let text = world.relay.get_admin("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

async fn metric(world: &World, name: &str) -> u64 {
    find_metric(world, name).await.unwrap_or_else(|| panic!("no metric {name}"))
}

async fn until_metric(world: &World, name: &str, least: u64) {
    let deadline = Instant::now() + PATIENCE;
    // Those of the export come once a relay that has just started follows it.
    while find_metric(world, name).await.is_none_or(|value| value < least) {
        assert!(Instant::now() < deadline, "{name} is below {least}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const FORGOTTEN: &str = "relay_identity_export_operations_total{effect=\"forgotten\"}";
const UNCHANGED: &str = "relay_identity_export_operations_total{effect=\"unchanged\"}";

/// Protocol 16: what is known is kept on disk.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_nobody_who_was_known_is_asked_for_again() {
    const ACCOUNTS: usize = 60;
    let mut world = World::new(90, &[]).await;
    let hosts = [world.host().await, world.host().await];
    let mut consumer = world.relay.consumer(None).await;
    let mut accounts = Vec::new();
    for host in &hosts {
        accounts.push(known_accounts(&world, host, &mut consumer, ACCOUNTS / 2).await);
    }
    assert_eq!(world.network.plc.requests(), ACCOUNTS as u64, "protocol 16: each is asked for once");
    for is_killed in [false, true] {
        // A consumer that does not read would hold up the stop.
        drop(consumer);
        if is_killed {
            world.relay.kill();
        } else {
            assert!(world.relay.terminate().await.success());
        }
        world.relay.start_again().await;
        consumer = world.relay.consumer(None).await;
        for (host, accounts) in hosts.iter().zip(&mut accounts) {
            let sent: Vec<Sent> = accounts.iter_mut().map(|account| host.emit(account.post())).collect();
            consumer.events(sent.len()).await;
        }
        assert_eq!(world.network.plc.requests(), ACCOUNTS as u64, "after a kill: {is_killed}");
    }
    let dropped = world.dropped().await;
    assert!(dropped.keys().all(|reason| reason == "repeated"), "but for what a kill repeats: {dropped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_or_a_host_that_does_not_fit_costs_one_look_up() {
    let world = World::new(91, &[]).await;
    let (host, other) = (world.host().await, world.host().await);
    let mut consumer = world.relay.consumer(None).await;
    let mut accounts = known_accounts(&world, &host, &mut consumer, 2).await;
    let [wrong_key, wrong_host] = &mut accounts[..] else { panic!("two accounts") };

    let mut forged = wrong_key.clone();
    forged.key = Account::new(u64::MAX, 1).key;
    host.emit(forged.post());
    world.until_dropped("signature", 1).await;
    assert_eq!(world.network.plc.requests_for(&wrong_key.did), 2, "protocol 22: refreshed once, then dropped");

    other.emit(wrong_host.clone().post());
    world.until_dropped("wrong_host", 1).await;
    assert_eq!(world.network.plc.requests_for(&wrong_host.did), 2, "protocol 18: refreshed once, then dropped");

    let good = [host.emit(wrong_key.post()), host.emit(wrong_host.post())];
    consumer.events(good.len()).await;
    assert_eq!(world.network.plc.requests(), 4, "and good events cost none");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_change_is_looked_up_and_passed_on() {
    let world = World::new(92, &[]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    let mut account = known_accounts(&world, &host, &mut consumer, 1).await.remove(0);
    account.handle = "new.example.com".to_owned();
    account.key = Account::new(u64::MAX, 2).key;
    world.network.plc.register(&account, host.name());
    let sent = [host.emit(account.identity()), host.emit(account.post())];
    assert_delivered(&consumer.events(2).await, &sent, "protocol 29: with the new handle, then with the new key");
    assert_eq!(world.network.plc.requests_for(&account.did), 2, "the look-up for #identity was the only one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_cannot_use_up_the_directory_with_accounts_of_others() {
    const ACCOUNTS: usize = 300;
    let world = World::new(93, &[]).await;
    let (host, hostile) = (world.host().await, world.host().await);
    let mut consumer = world.relay.consumer(None).await;
    let mut accounts = known_accounts(&world, &host, &mut consumer, ACCOUNTS).await;
    let before = world.network.plc.requests();
    for account in &mut accounts {
        hostile.emit(account.clone().identity());
    }
    let passed_or_dropped = async |world: &World| {
        let status = world.relay.status().await;
        status["events"]["passed"].as_u64().unwrap() + status["events"]["dropped"].as_u64().unwrap()
    };
    let deadline = Instant::now() + PATIENCE;
    while passed_or_dropped(&world).await < 2 * ACCOUNTS as u64 {
        assert!(Instant::now() < deadline, "{:?}", world.dropped().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = world.relay.dropped("foreign_lookups").await;
    let looked_up = world.network.plc.requests() - before;
    assert!(refused >= 100, "{refused} refused, {looked_up} looked up");
    assert_eq!(looked_up + refused, ACCOUNTS as u64);
    assert_eq!(metric(&world, "relay_identity_refreshes_refused_total{limit=\"host\"}").await, refused);

    // The hosts of the accounts go on as before, also with what they announce.
    consumer.events(looked_up as usize).await;
    let own: Vec<Sent> = accounts.iter_mut().map(|account| host.emit(account.identity())).collect();
    consumer.events(own.len()).await;
    assert_eq!(world.relay.dropped("foreign_lookups").await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_hold_up_an_account_while_the_directory_is_down() {
    let world = World::new(94, &[]).await;
    let (host, stranger) = (world.host().await, world.host().await);
    let mut consumer = world.relay.consumer(None).await;
    let mut account = known_accounts(&world, &host, &mut consumer, 1).await.remove(0);
    world.network.plc.set_fault(Some(Fault::Status(503)));
    let mut announced = account.identity();
    stranger.emit(announced.clone());
    announced.handle = None;
    assert_eq!(consumer.event().await.content(), announced.encode(1), "passed without the handle");
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "the account goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_known_from_the_export() {
    let world = World::new(95, &["--plc-export"]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    let mut account = known_accounts(&world, &host, &mut consumer, 1).await.remove(0);
    until_metric(&world, UNCHANGED, 1).await;
    assert_eq!(world.network.plc.requests(), 1, "what is remembered is what the export says");

    // Nobody announces the change; a relay that knows the old key alone would let its events pass for a day.
    let mut old = account.clone();
    account.key = Account::new(u64::MAX, 3).key;
    world.network.plc.register(&account, host.name());
    until_metric(&world, FORGOTTEN, 1).await;
    host.emit(old.post());
    world.until_dropped("signature", 1).await;
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "signed with the new key");
    assert!(metric(&world, "relay_identity_export_lag_seconds").await < 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_is_followed_on_after_an_outage_and_after_a_restart() {
    let mut world = World::new(96, &["--plc-export"]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    let mut accounts = known_accounts(&world, &host, &mut consumer, 3).await;
    until_metric(&world, UNCHANGED, 3).await;

    world.network.plc.export_line("{\"did\":".to_owned());
    world.network.plc.set_fault(Some(Fault::Status(503)));
    until_metric(&world, "relay_identity_export_failures_total", 1).await;
    world.network.plc.register(&changed(&mut accounts[0]), host.name());
    world.network.plc.set_fault(None);
    until_metric(&world, FORGOTTEN, 1).await;
    assert!(metric(&world, "relay_identity_export_operations_total{effect=\"malformed\"}").await >= 1);

    // What happens while the relay is down is read afterwards, whether it was stopped or killed.
    for (number, is_killed) in [(1, false), (2, true)] {
        if is_killed {
            world.relay.kill();
        } else {
            assert!(world.relay.terminate().await.success());
        }
        let stopped_at = world.network.plc.export_requests().last().unwrap().clone();
        let requests = world.network.plc.export_requests().len();
        world.network.plc.register(&changed(&mut accounts[number]), host.name());
        world.relay.start_again().await;
        until_metric(&world, FORGOTTEN, 1).await;
        let resumed_at = world.network.plc.export_requests()[requests].clone();
        let [stopped_at, resumed_at]: [jiff::Timestamp; 2] = [stopped_at, resumed_at].map(|time| time.parse().unwrap());
        assert!(resumed_at >= stopped_at, "not from the beginning: {resumed_at}, was at {stopped_at}");
    }
    let mut consumer = world.relay.consumer(None).await;
    let sent: Vec<Sent> = accounts.iter_mut().map(|account| host.emit(account.post())).collect();
    consumer.events(sent.len()).await;
    let dropped = world.dropped().await;
    assert!(dropped.keys().all(|reason| reason == "repeated"), "all new keys are known: {dropped:?}");
}

/// The account with another key, which it has from now on.
fn changed(account: &mut Account) -> Account {
    account.key = Account::new(u64::MAX, 4).key;
    account.clone()
}
