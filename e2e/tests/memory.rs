//! Memory on a real node: a relay under more than it can hold, one that leaks, one that may grow, one that is killed.
//!
//! The tests run at the same time, each with a Relay of its own.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::clients::Place;
use common::clients::consumer::Consumer;
use common::crowd::{Crowd, keep_reading_slowly};
use common::deployed::{Deployed, ended};
use common::images::{files_of, program_of};
use common::pds::{Account, Post};
use common::{Cluster, env, until, until_within};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const MIB: u64 = 1 << 20;
/// Exit code of a restart that the relay has planned.
const PLANNED: i32 = 75;
/// How full a relay's memory is made at once before the rest leaks slowly, in percent of its limit: below every mark.
const FILLED_PERCENT: u64 = 75;
/// How fast it leaks: slowly enough that a relay of 256 MiB is above its hard mark for a while before it is at its limit.
const LEAK_BYTES_PER_SECOND: u64 = MIB / 2;
/// The same where the operator, which looks every now and then, is to be faster than the relay's restart.
const SLOW_LEAK_BYTES_PER_SECOND: u64 = MIB / 4;
/// How long that may take from there to the end of the process.
const LEAKED: Duration = Duration::from_secs(300);

// ---- (1) more than it can hold ----

/// Consumers that read nothing, and as many that read a little.
const SLOW_CONSUMERS: usize = 40;
const SLOW_BYTES_PER_SECOND: usize = 1024;
/// Collections of the lists, which have 400,000 accounts each.
const COLLECTIONS: [&str; 5] =
    ["com.example.crowda", "com.example.crowdb", "com.example.crowdc", "com.example.crowdd", "com.example.crowde"];
const LISTED: u64 = 2_000_000;
/// How much longer than the crowd's events the lists may take: under pressure the import rests.
const LISTS_PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn under_more_than_it_can_hold_a_relay_is_not_killed_and_still_delivers() -> Result<()> {
    let seconds: u64 = env("E2E_LENGTH_SECONDS")?.parse().context("E2E_LENGTH_SECONDS")?;
    let cluster = Cluster::connect().await?;
    let mut crowd = Crowd::start(&cluster, seconds).await?;
    let spec = json!({
        "hostname": "crowded.test",
        "memory": { "request": "128Mi", "limit": "256Mi" },
        "storage": { "size": "4Gi" },
        "plcURL": crowd.plc,
        "upstream": {
            "hosts": [host(&cluster.pds_urls[0])?],
            "bootstrapRelays": [crowd.lists],
            "allowInsecureHosts": true,
        },
        "backfill": {
            "sources": [{ "url": crowd.lists, "requestsPerSecond": 100 }],
            "collections": { "names": COLLECTIONS },
        },
    });
    let relay = Deployed::create(&cluster, "e2e-crowded", spec).await?;
    relay.telling(crowded(&cluster, &relay, &mut crowd, seconds)).await?;
    relay.delete().await
}

async fn crowded(cluster: &Cluster, relay: &Deployed<'_>, crowd: &mut Crowd, seconds: u64) -> Result<()> {
    relay.reads_from(50).await?;
    let place = relay.place(&crowd.plc).await?;
    let mut consumers = JoinSet::new();
    for bytes_per_second in [0, SLOW_BYTES_PER_SECOND].repeat(SLOW_CONSUMERS / 2) {
        let address = place.relay.trim_start_matches("http://").to_owned();
        consumers.spawn(keep_reading_slowly(address, bytes_per_second));
    }

    let mut most = 0;
    let deadline = Instant::now() + Duration::from_secs(seconds + 120);
    let sent = loop {
        if let Ok(sent) = crowd.sent(Duration::from_secs(2)).await {
            break sent;
        }
        ensure!(Instant::now() < deadline, "the crowd's events are not taken in time");
        not_killed(relay).await?;
        // A relay that restarts does not answer for a moment.
        most = relay.figure("/memory/workingSetBytes").await.unwrap_or(0).max(most);
    };
    until_within(LISTS_PATIENCE, "the accounts of the lists are in the directory", || async {
        not_killed(relay).await?;
        let pairs = relay.figure("/collections/pairs").await?;
        ensure!(pairs >= LISTED, "{pairs} of {LISTED} so far");
        Ok(Some(()))
    })
    .await?;

    // It still delivers, to one that came last, from a host that has been there all the time.
    let status = relay.status().await?;
    let cursor = status["seq"]["last"].as_u64().context("no seq")?;
    let account = Account::create(&cluster.pds_urls[0]).await?;
    let post = account.post("After all of that.").await?;
    let mut consumer = Consumer::reference(&place, cursor)?;
    consumer.read_until_record(&account.did, &post.rkey).await?;

    not_killed(relay).await?;
    for told in relay.events().await? {
        ensure!(!told.reason.contains("OOM"), "the operator tells of {told:?}");
    }
    println!(
        "{sent}; {} accounts, {} pairs, {} hosts; working set {} MiB at most, {} MiB at the end, step {}; dropped {}",
        status["accounts"],
        status["collections"]["pairs"],
        status["hosts"]["connected"],
        most / MIB,
        status["memory"]["workingSetBytes"].as_u64().unwrap_or(0) / MIB,
        status["memory"]["step"],
        status["events"]["droppedByReason"],
    );
    Ok(())
}

/// Neither the kubelet nor the operator know of a kill.
async fn not_killed(relay: &Deployed<'_>) -> Result<()> {
    let container = relay.container().await?;
    for state in [container.state, container.last_state] {
        if let Some(end) = ended(state.as_ref()) {
            ensure!(end.1 == PLANNED, "the relay has ended other than by a planned restart: {end:?}");
        }
    }
    let killed = relay.restarts("oomKilled").await?;
    ensure!(killed == 0, "the operator counts {killed} kills: {}", relay.last_end().await?);
    Ok(())
}

// ---- (2), (3), (4): relays that leak ----

/// A Relay of the build that leaks.
fn leaking(cluster: &Cluster, hostname: &str, memory: Value) -> Result<Value> {
    let image = env("E2E_LEAKING_IMAGE")?;
    let (repository, tag) = image.rsplit_once(':').context("E2E_LEAKING_IMAGE has no tag")?;
    Ok(json!({
        "hostname": hostname,
        "image": { "repository": repository, "tag": tag },
        "memory": memory,
        "storage": { "size": "1Gi" },
        "plcURL": cluster.place.plc,
        "upstream": { "hosts": [host(&cluster.pds_urls[0])?], "allowInsecureHosts": true },
    }))
}

/// Fills the memory to below its marks at once.
async fn fill(relay: &Deployed<'_>) -> Result<()> {
    let (limit, used) = (relay.figure("/memory/limitBytes").await?, relay.figure("/memory/workingSetBytes").await?);
    relay.fault(&format!("hog?bytes={}", (limit / 100 * FILLED_PERCENT).saturating_sub(used))).await
}

async fn leak(relay: &Deployed<'_>, bytes_per_second: u64) -> Result<()> {
    relay.fault(&format!("leak?bytes_per_second={bytes_per_second}&up_to={}", 2048 * MIB)).await
}

/// Waits until the container has been started again, and makes sure that the relay has planned it.
async fn planned_restart(relay: &Deployed<'_>) -> Result<()> {
    let container = until_within(LEAKED, "the relay restarts", || async {
        let container = relay.container().await?;
        let memory = relay.status().await.map(|status| status["memory"].to_string());
        ensure!(container.restart_count > 0, "it has not yet: {memory:?}");
        Ok(Some(container))
    })
    .await?;
    let (_, code, message) = ended(container.last_state.as_ref()).context("how it ended is not told")?;
    ensure!(code == PLANNED, "exit code {code}: {message}");
    let message: Value = serde_json::from_str(&message).with_context(|| format!("termination message {message:?}"))?;
    ensure!(
        ["MemoryHardMark", "MemoryTrend"].contains(&message["reason"].as_str().unwrap_or_default()),
        "termination message {message}"
    );
    for figure in ["seq", "workingSet", "limit"] {
        ensure!(message[figure].is_u64(), "no {figure} in the termination message {message}");
    }

    let last = until("the operator has counted it", || async {
        Ok((relay.restarts("planned").await? == 1).then_some(relay.last_end().await?))
    })
    .await?;
    ensure!(last["cause"] == "PlannedRestart" && last["exitCode"] == PLANNED, "the newest end in the status: {last}");
    ensure!(last["reason"] == message["reason"], "{last} is not the restart of {message}");
    for cause in ["oomKilled", "crashed", "evicted", "nodeLost"] {
        ensure!(relay.restarts(cause).await? == 0, "{cause} is counted too");
    }
    relay.told("a planned restart", |told| told.reason.contains("Planned")).await?;
    Ok(())
}

#[tokio::test]
async fn a_leak_ends_in_a_planned_restart_that_loses_nothing() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let memory = json!({ "request": "128Mi", "limit": "256Mi", "resize": "Never" });
    let relay = Deployed::create(&cluster, "e2e-leaking", leaking(&cluster, "leaking.test", memory)?).await?;
    relay.telling(leaked(&cluster, &relay)).await?;
    relay.delete().await
}

async fn leaked(cluster: &Cluster, relay: &Deployed<'_>) -> Result<()> {
    relay.reads_from(1).await?;
    let place = relay.place(&cluster.place.plc).await?;
    let account = Account::create(&cluster.pds_urls[0]).await?;
    let cursor = cursor_behind(&account, &place).await?;

    fill(relay).await?;
    leak(relay, LEAK_BYTES_PER_SECOND).await?;
    // Posts before, while and after it restarts.
    let mut posts = Vec::new();
    let posting = async {
        loop {
            posts.push(account.post(&format!("Post {}.", posts.len())).await?);
            sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        failed = posting => { let failed: Result<()> = failed; failed? }
        restarted = planned_restart(relay) => restarted?,
    }
    relay.reads_from(1).await?;
    posts.push(account.post("After it came back.").await?);
    exactly_these(&account, &place, cursor, &posts).await
}

/// The seq of a post that was made for it.
async fn cursor_behind(account: &Account, place: &Place) -> Result<u64> {
    let post = account.post("The last thing before the cursor.").await?;
    let mut consumer = Consumer::reference(place, 0)?;
    let events = consumer.read_until_record(&account.did, &post.rkey).await?;
    events.last().and_then(|event| event["seq"].as_u64()).context("an event without a seq")
}

/// A consumer that resumes by its cursor gets these posts of the account, each once and in order.
async fn exactly_these(account: &Account, place: &Place, cursor: u64, posts: &[Post]) -> Result<()> {
    let mut consumer = Consumer::reference(place, cursor)?;
    let last = posts.last().context("no posts")?;
    let events = consumer.read_until_record(&account.did, &last.rkey).await?;
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    ensure!(seqs.iter().all(|seq| *seq > cursor) && seqs.is_sorted_by(|a, b| a < b), "seqs from {cursor}: {seqs:?}");
    let received: Vec<&str> = events
        .iter()
        .filter(|event| event["did"] == account.did && event["event"] == "create")
        .filter_map(|event| event["rkey"].as_str())
        .collect();
    let made: Vec<&str> = posts.iter().map(|post| post.rkey.as_str()).collect();
    ensure!(received == made, "a consumer got {received:?} of {made:?}");
    Ok(())
}

#[tokio::test]
async fn where_it_may_grow_the_limit_grows_first() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let memory = json!({ "request": "128Mi", "limit": "256Mi", "max": "320Mi", "resize": "InPlace" });
    let relay = Deployed::create(&cluster, "e2e-growing", leaking(&cluster, "growing.test", memory)?).await?;
    relay.telling(grown(&relay)).await?;
    relay.delete().await
}

async fn grown(relay: &Deployed<'_>) -> Result<()> {
    relay.reads_from(1).await?;
    let (pod, shares_before) = (relay.pod_uid().await?, shares(&relay.status().await?));
    ensure!(relay.limit().await? == "256Mi", "the limit at the start is {}", relay.limit().await?);

    fill(relay).await?;
    leak(relay, SLOW_LEAK_BYTES_PER_SECOND).await?;
    until_within(LEAKED, "the limit of the container is 320Mi", || async {
        let (limit, container) = (relay.limit().await?, relay.container().await?);
        ensure!(container.restart_count == 0, "it has restarted first: {:?}", ended(container.last_state.as_ref()));
        ensure!(limit == "320Mi", "it is {limit}");
        Ok(Some(()))
    })
    .await?;
    until("the relay plans for the new limit", || async {
        let status = relay.status().await?;
        let (limit, shares) = (status["memory"]["limitBytes"].as_u64(), shares(&status));
        ensure!(limit == Some(320 * MIB), "it plans for {limit:?}");
        ensure!(shares > shares_before, "the shares are {shares} bytes, and were {shares_before} before");
        Ok(Some(()))
    })
    .await?;
    relay.told("the limit has grown", |told| told.note.contains("320Mi")).await?;
    ensure!(relay.container().await?.restart_count == 0, "it has restarted with the new limit");
    ensure!(relay.pod_uid().await? == pod, "it is another pod");

    // There is no more: now it restarts, and keeps what it was given.
    fill(relay).await?;
    leak(relay, LEAK_BYTES_PER_SECOND).await?;
    planned_restart(relay).await?;
    ensure!(relay.pod_uid().await? == pod, "it is another pod after the restart");
    ensure!(relay.limit().await? == "320Mi", "the limit after the restart is {}", relay.limit().await?);
    Ok(())
}

/// The sum of all shares of the plan.
fn shares(status: &Value) -> u64 {
    let owners = status["memory"]["owners"].as_array();
    owners.into_iter().flatten().filter_map(|owner| owner["shareBytes"].as_u64()).sum()
}

#[tokio::test]
async fn a_kill_is_called_a_kill() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let memory = json!({ "request": "128Mi", "limit": "256Mi" });
    let relay = Deployed::create(&cluster, "e2e-hog", leaking(&cluster, "hog.test", memory)?).await?;
    relay.telling(killed(&relay)).await?;
    relay.delete().await
}

async fn killed(relay: &Deployed<'_>) -> Result<()> {
    relay.reads_from(1).await?;
    // It does not live to answer.
    let _ = relay.fault(&format!("hog?bytes={}", 2048 * MIB)).await;
    let container = until("the container has been started again", || async {
        let container = relay.container().await?;
        Ok((container.restart_count > 0).then_some(container))
    })
    .await?;
    let (reason, code, _) = ended(container.last_state.as_ref()).context("how it ended is not told")?;
    ensure!(reason == "OOMKilled" && code == 137, "it has ended by {reason}, code {code}");

    let last = until("the operator has counted it", || async {
        Ok((relay.restarts("oomKilled").await? == 1).then_some(relay.last_end().await?))
    })
    .await?;
    ensure!(last["cause"] == "OOMKilled", "the newest end in the status: {last}");
    ensure!(relay.restarts("planned").await? == 0, "it is counted as planned too");
    until("MemoryHealthy is False", || async {
        let condition = relay.condition("MemoryHealthy").await?;
        ensure!(condition["status"] == "False" && condition["reason"] == "OOMKilled", "it is {condition}");
        Ok(Some(()))
    })
    .await?;
    let told = relay.told("a kill", |told| told.reason.contains("OOMKilled")).await?;
    ensure!(told.kind == "Warning", "{told:?} is no warning");
    Ok(())
}

// ---- the release has no faults ----

#[tokio::test]
async fn the_release_has_no_faults() -> Result<()> {
    const ROUTE: &[u8] = b"bytes_per_second";
    let images = PathBuf::from(env("E2E_IMAGES")?);
    let release = files_of(&images.join("relay")).await?;
    let programs: Vec<&str> =
        release.lines().filter(|path| path.starts_with("./usr/local/bin/") && !path.ends_with('/')).collect();
    ensure!(programs == ["./usr/local/bin/relay"], "the programs of the release image: {programs:?}");
    let has_route = |program: &[u8]| program.windows(ROUTE.len()).any(|window| window == ROUTE);
    let leaking = program_of(&images.join("leaking-relay"), "leaking-relay").await?;
    ensure!(has_route(&leaking), "the build that leaks is not known by its route");
    let relay = program_of(&images.join("relay"), "relay").await?;
    ensure!(!has_route(&relay), "the release can be told to leak");
    Ok(())
}

// ---- help ----

/// A PDS as `spec.upstream.hosts` names it.
fn host(url: &str) -> Result<String> {
    Ok(url.strip_prefix("http://").with_context(|| format!("{url} is no URL of a PDS"))?.to_owned())
}
