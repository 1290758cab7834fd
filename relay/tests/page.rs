//! The page for people, in a real browser.

#![allow(clippy::unwrap_used)]

mod browser;
mod common;

use browser::Browser;
use common::World;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sim::Host;
use sim::process::ADMIN_TOKEN;

/// Foreign text that would run if the page took it for HTML.
const HOSTILE: &str = "<img src=x onerror=\"document.title='broken into'\"><b id=foreign>x</b>";

async fn world_with_page(seed: u64, hosts: usize) -> (World, Vec<Host>, Browser) {
    let world = World::new(seed, &[]).await;
    let mut known = Vec::new();
    for _ in 0..hosts {
        known.push(world.host().await);
    }
    let browser = Browser::start().await;
    let url = format!("http://admin:{}@{}/admin", sim::process::ADMIN_TOKEN, world.relay.admin);
    browser.open(&url).await;
    (world, known, browser)
}

fn admin(world: &World, method: Method, path: &str) -> RequestBuilder {
    world.relay.request(method, world.relay.admin, path).bearer_auth(ADMIN_TOKEN)
}

/// Text of a column of the hosts' table, from the first row down.
async fn column(browser: &Browser, table: &str, number: usize) -> Vec<String> {
    let script = format!(
        "return [...document.querySelectorAll('{table} tbody td:nth-child({number})')].map(c => c.textContent)"
    );
    serde_json::from_value(browser.run(&script).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_sorts_and_searches_hosts_and_blocks_one() {
    let (mut world, hosts, browser) = world_with_page(320, 3).await;
    let mut names: Vec<String> = hosts.iter().map(|host| host.name().to_owned()).collect();
    browser.until("three hosts are listed", "return document.querySelectorAll('#hosts tbody tr').length === 3").await;
    assert_eq!(column(&browser, "#hosts", 1).await, names, "oldest first");

    browser.click("#hosts th:first-child button").await;
    names.sort();
    assert_eq!(column(&browser, "#hosts", 1).await, names, "ascending");
    browser.click("#hosts th:first-child button").await;
    names.reverse();
    assert_eq!(column(&browser, "#hosts", 1).await, names, "descending");

    browser.type_into("#hosts-search", &names[1]).await;
    assert_eq!(column(&browser, "#hosts", 1).await, names[1..2], "the one that was searched for");
    browser.click("#hosts tbody button.grave").await;
    let is_banned = async |relay: &sim::Relay| relay.count("/hosts/banned").await == 1;
    world.relay.until("the host is banned", is_banned).await;
    browser
        .until("the page says so", "return document.querySelector('#hosts tbody .badge').textContent === 'banned'")
        .await;
    let listed = world.relay.get_admin("/admin/pds/list").await.json;
    let banned = listed.as_array().unwrap().iter().find(|host| host["status"] == "banned").unwrap();
    assert_eq!(banned["host"], json!(names[1]), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_text_is_shown_as_text() {
    let (world, _, browser) = world_with_page(321, 1).await;
    let _consumer = sim::Consumer::connect_as(HOSTILE, world.relay.public, None).await.unwrap();
    browser.click("nav a[href='#/consumers']").await;
    browser
        .until("the consumer is listed", "return document.querySelectorAll('#consumers tbody button').length === 1")
        .await;
    assert_eq!(column(&browser, "#consumers", 2).await, [HOSTILE]);
    assert_eq!(
        browser.run("return document.getElementById('foreign') === null").await,
        json!(true),
        "no element of it"
    );
    assert_eq!(browser.run("return document.title").await, json!("relay"), "and nothing of it ran");

    let policy = &world.relay.get_admin("/admin").await.headers["content-security-policy"];
    let policy = policy.to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let inline = "const script = document.createElement('script'); script.textContent = 'window.ran = true';
        document.body.append(script); return window.ran === undefined";
    assert_eq!(browser.run(inline).await, json!(true), "the browser holds to the policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_disconnects_a_consumer_and_shows_who_did_what() {
    let (mut world, _, browser) = world_with_page(322, 1).await;
    let _consumer = world.relay.consumer(None).await;
    browser.click("nav a[href='#/consumers']").await;
    browser.until("the consumer is listed", "return document.querySelector('#consumers tbody button') !== null").await;
    browser.click("#consumers tbody button").await;
    let is_gone = async |relay: &sim::Relay| relay.count("/consumers/connected").await == 0;
    world.relay.until("the consumer is gone", is_gone).await;
    browser.click("nav a[href='#/audit']").await;
    let shown = "return document.querySelector('#audit tbody').textContent.includes('disconnect_consumer')";
    browser.until("the audit shows it", shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_looks_up_an_account_and_takes_it_down() {
    let (mut world, hosts, browser) = world_with_page(323, 1).await;
    let mut account = world.account(&hosts[0]);
    let mut consumer = world.relay.consumer(None).await;
    hosts[0].emit(account.post());
    consumer.events(1).await;
    let did = account.did.to_string();
    browser.click("nav a[href='#/accounts']").await;
    browser.type_into("#accounts-find input", &did).await;
    browser.click("#accounts-find button").await;
    let host = format!("return document.querySelector('#account').textContent.includes('{}')", hosts[0].name());
    browser.until("the account and its host are shown", &host).await;

    browser.click("#account-actions button").await;
    browser.click("#question-yes").await;
    let path = format!("/admin/accounts?did={did}");
    let is_down = async |relay: &sim::Relay| relay.get_admin(&path).await.json["takenDown"] == true;
    world.relay.until("the account is taken down", is_down).await;
    let shown = format!("return document.querySelector('#takedowns-table tbody').textContent.includes('{did}')");
    browser.until("it is among those that are taken down", &shown).await;
    let reverse = "return document.querySelector('#account-actions').textContent === 'Reverse the takedown'";
    browser.until("it can be let back", reverse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_collections_and_searches_them() {
    let (world, _, browser) = world_with_page(324, 0).await;
    let pairs = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa com.example.rare\n\
                 did:plc:aaaaaaaaaaaaaaaaaaaaaaaa com.example.common\n\
                 did:plc:bbbbbbbbbbbbbbbbbbbbbbbb com.example.common\n";
    let answer = world.relay.answer(admin(&world, Method::POST, "/admin/backfill/pairs?job=test").body(pairs)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    browser.click("nav a[href='#/collections']").await;
    browser
        .until("both are listed", "return document.querySelectorAll('#collections tbody .number').length === 2")
        .await;
    assert_eq!(column(&browser, "#collections", 1).await, ["com.example.common", "com.example.rare"], "largest first");
    assert_eq!(column(&browser, "#collections", 2).await, ["2", "1"]);
    let facts = browser.run("return document.getElementById('collections-facts').textContent").await;
    assert_eq!(facts, json!("Collections2Pairs of an active account and a collection3"));
    browser.type_into("#collections-search", "RARE").await;
    assert_eq!(column(&browser, "#collections", 1).await, ["com.example.rare"], "the one that was searched for");

    browser.click("nav a[href='#/accounts']").await;
    browser.type_into("#accounts-find input", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").await;
    browser.click("#accounts-find button").await;
    let shown = "return document.querySelector('#account').textContent
        .includes('com.example.rare') && document.querySelector('#account').textContent.includes('com.example.common')";
    browser.until("the account's collections are shown, although no event of it has come", shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_jobs_and_changes_them() {
    let (mut world, _, browser) = world_with_page(325, 0).await;
    // A host that nobody answers for: the job waits, for as long as it takes.
    let spec = json!({ "kind": "crawl", "hosts": [sim::server::free_address().to_string()] });
    let put = admin(&world, Method::PUT, "/admin/backfill/jobs/down").json(&spec);
    let answer = world.relay.answer(put).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    browser.click("nav a[href='#/backfill']").await;
    let state = |state: &str| format!("return document.querySelector('#backfill .badge')?.textContent === '{state}'");
    browser.until("the job waits", &state("waiting")).await;
    let job = world.relay.get_admin("/admin/backfill/jobs/down").await.json;
    let reason = job["reason"].as_str().unwrap();
    let why = &column(&browser, "#backfill", 9).await[0];
    assert!(why.starts_with(reason), "{why:?}, but the relay says {reason:?}");
    assert_eq!(column(&browser, "#backfill", 4).await, [" 0 of 1"]);
    let bar = "const bar = document.querySelector('#backfill progress'); return [bar.value, bar.max]";
    assert_eq!(browser.run(bar).await, json!([0, 1]));

    let state_is = async |world: &mut World, state: &str| {
        let path = "/admin/backfill/jobs/down";
        world.relay.until(state, async |relay| relay.get_admin(path).await.json["state"] == state).await;
    };
    let (go, cancel) = ("#backfill tbody button:nth-child(1)", "#backfill tbody button:nth-child(2)");
    let go_says = |label: &str| format!("return document.querySelector('{go}').textContent === '{label}'");
    browser.click(go).await;
    state_is(&mut world, "paused").await;
    browser.until("it can be resumed", &go_says("Resume")).await;
    browser.click(go).await;
    state_is(&mut world, "waiting").await;
    browser.until("it can be paused", &go_says("Pause")).await;
    browser.click(cancel).await;
    browser.click("#question-yes").await;
    state_is(&mut world, "cancelled").await;
    browser.until("the page says so", &state("cancelled")).await;
    assert_eq!(browser.run(&format!("return document.querySelector('{cancel}').hidden")).await, json!(true));
    browser.until("it can be run again", &go_says("Run again")).await;
    browser.click(go).await;
    state_is(&mut world, "waiting").await;

    browser.click("#backfill tbody button:nth-child(3)").await;
    browser.until("its part is shown", "return document.querySelectorAll('#job-parts .badge').length === 1").await;
    let details = browser.run("return document.getElementById('job-details').textContent").await;
    let details = details.as_str().unwrap();
    assert!(details.contains("Runs2") && details.contains("Kindcrawl"), "{details}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_who_holds_the_memory_and_what_it_is_made_of() {
    let (world, _, browser) = world_with_page(326, 0).await;
    browser.click("nav a[href='#/state']").await;
    browser.until("parts are shown", "return document.querySelectorAll('#memory-parts .number').length > 2").await;
    let memory = world.relay.get_admin("/admin/memory").await.json;
    let names = |list: &str, name: &str| -> Vec<String> {
        let rows = memory[list].as_array().unwrap();
        rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(column(&browser, "#memory-owners", 1).await, names("owners", "owner"));
    assert_eq!(column(&browser, "#memory-parts", 1).await, names("parts", "part"));
    let described = column(&browser, "#memory-parts", 4).await;
    assert!(described.iter().all(|text| !text.is_empty()), "the page says what every part is: {described:?}");

    let facts = browser.run("return document.getElementById('memory-facts').textContent").await;
    let facts = facts.as_str().unwrap();
    for fact in ["Working set", "Soft mark", "Hard mark", "Stepnone", "Slopenot known yet"] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
    let meter = "const meter = document.getElementById('memory-meter');
        return meter.value > 0 && meter.value < meter.low && meter.low < meter.high && meter.high < meter.max";
    assert_eq!(browser.run(meter).await, json!(true), "the working set between nothing and the soft mark");
}
