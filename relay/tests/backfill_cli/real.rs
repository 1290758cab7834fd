//! `relay backfill` with a real relay.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::json;
use sim::process::ADMIN_TOKEN;
use sim::server::free_address;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::common::World;
use super::fake::{document, run, spawn, stderr, stdout};

fn url(world: &World) -> String {
    format!("http://{}", world.relay.admin)
}

async fn backfill(world: &World, arguments: &[&str], input: &str) -> Output {
    let url = url(world);
    run(arguments, &[("RELAY_ADMIN_URL", &url), ("RELAY_ADMIN_TOKEN", ADMIN_TOKEN)], input).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_led_through_its_states() {
    let mut world = World::new(360, &[]).await;
    // Nobody answers there, so the job waits for as long as it takes.
    let host = free_address().to_string();
    let output = backfill(&world, &["start", "down", "--kind", "crawl", "--host", &host], "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    let is = async |world: &mut World, state: &str| {
        let path = "/admin/backfill/jobs/down";
        world.relay.until(state, async |relay| relay.get_admin(path).await.json["state"] == state).await;
    };
    is(&mut world, "waiting").await;
    let listed = stdout(&backfill(&world, &["list"], "").await);
    assert!(listed.contains("down  crawl  waiting  0/1"), "{listed}");
    for (command, state) in [("pause", "paused"), ("resume", "waiting"), ("cancel", "cancelled"), ("run", "waiting")] {
        let output = backfill(&world, &[command, "down"], "").await;
        assert!(output.status.success(), "{command}: {}", stderr(&output));
        is(&mut world, state).await;
        if state == "cancelled" {
            let output = backfill(&world, &["pause", "down"], "").await;
            assert_eq!(output.status.code(), Some(1), "there is nothing to pause");
            assert!(stderr(&output).starts_with("relay: job \"down\" is cancelled: "), "{}", stderr(&output));
        }
    }
    let shown = document(&backfill(&world, &["show", "down", "--json"], "").await);
    assert_eq!((&shown["job"]["run"], shown["parts"].as_array().unwrap().len()), (&json!(2), 1), "{shown}");
    let shown = stdout(&backfill(&world, &["show", "down"], "").await);
    assert!(shown.contains(&format!("hosts           {host}")), "{shown}");

    assert!(backfill(&world, &["delete", "down"], "").await.status.success());
    let output = backfill(&world, &["show", "down"], "").await;
    assert_eq!(stderr(&output), "relay: there is no job \"down\"\n");
    for (arguments, field) in [
        (&["start", "No", "--kind", "verify"][..], "name"),
        (&["start", "x", "--kind", "verify", "--schedule", "sometimes"], "schedule"),
        (&["start", "x", "--kind", "verify", "--requests-per-second", "0"], "requestsPerSecond"),
    ] {
        let output = backfill(&world, arguments, "").await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(field), "{arguments:?}: {}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_a_kill_cuts_ends_with_every_pair_once() {
    const COUNT: usize = 40_000;
    let mut world = World::new(361, &[]).await;
    let url = url(&world);
    let environment = [("RELAY_ADMIN_URL", url.as_str()), ("RELAY_ADMIN_TOKEN", ADMIN_TOKEN)];
    let did = |number: usize| format!("did:web:account{number}.example.com");
    let text: String = (0..COUNT).map(|number| format!("{} com.example.record\n", did(number))).collect();
    let (first, rest) = text.split_at(text.len() / 2);
    let mut child = spawn(&["import", "-", "--json"], &environment);
    let (mut stdin, stderr) = (child.stdin.take().unwrap(), child.stderr.take().unwrap());
    stdin.write_all(first.as_bytes()).await.unwrap();
    let added = async |relay: &sim::Relay| {
        relay.get_admin("/admin/backfill/jobs/pairs").await.json["progress"]["added"].as_u64()
    };
    world.relay.until("some of it is there", async |relay| added(relay).await > Some(0)).await;
    world.relay.kill();
    let rest = rest.to_owned();
    let writer = tokio::spawn(async move { stdin.write_all(rest.as_bytes()).await.unwrap() });
    let line = BufReader::new(stderr).lines().next_line().await.unwrap().unwrap();
    assert!(line.contains("Still trying, from line "), "{line}");
    world.relay.start_again().await;
    writer.await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    let summary = document(&output);
    assert_eq!((&summary["lines"], &summary["seen"]), (&json!(COUNT), &json!(COUNT)), "{summary}");
    assert_eq!(added(&world.relay).await, Some(COUNT as u64), "the job has counted each once");

    let mut found = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = "/xrpc/com.atproto.sync.listReposByCollection?collection=com.example.record&limit=2000";
        let page = world.relay.get(&format!("{path}&cursor={cursor}")).await.json;
        let dids = page["repos"].as_array().unwrap().iter().map(|row| row["did"].as_str().unwrap().to_owned());
        for did in dids {
            assert!(found.insert(did), "each once");
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert!(found == (0..COUNT).map(did).collect(), "{} of {COUNT} accounts", found.len());
    let output = run(&["import", "-"], &environment, "did:plc:short com.example.record\n\nnonsense\n").await;
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert!(told.contains("2 lines refused") && told.contains("\nline 1: ") && told.contains("\nline 3: "), "{told}");
}
