//! From a post on a real PDS to consumers that nobody here wrote, through a relay that the operator runs.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use anyhow::Result;
use common::clients::consumer::Consumer;
use common::clients::tap::Tap;
use common::pds::{Account, Post};
use common::{Cluster, until};
use kube::ResourceExt;
use kube::api::DeleteParams;

#[tokio::test]
async fn a_post_on_each_pds_reaches_the_reference_consumer_and_tap() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.wait_for_condition(&cluster.name, "Ready").await?;
    let mut tap = Tap::start(&cluster.place).await?;
    let mut consumer = Consumer::reference(&cluster.place, 0)?;
    for pds in &cluster.pds_urls {
        let account = Account::create(pds).await?;
        let post = account.post("From here to everywhere.").await?;
        let events = consumer.read_until_record(&account.did, &post.rkey).await?;
        let seen = events.last().unwrap();
        assert_eq!(
            (&seen["cid"], &seen["rev"]),
            (&post.cid.clone().into(), &post.rev.clone().into()),
            "on {pds}: {seen}"
        );
        let delivered = tap.wait_for(&account.did, &post.rkey).await?;
        assert_eq!(delivered["cid"], post.cid, "tap: {delivered}");
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_deleted_by_force_loses_nothing_and_repeats_nothing() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.wait_for_condition(&cluster.name, "Ready").await?;
    let account = Account::create(&cluster.pds_urls[0]).await?;
    let before = account.post("The last thing before the cursor.").await?;
    let mut consumer = Consumer::reference(&cluster.place, 0)?;
    let events = consumer.read_until_record(&account.did, &before.rkey).await?;
    let cursor = events.last().unwrap()["seq"].as_u64().unwrap();
    drop(consumer);

    // Posts before, while and after the pod dies.
    let mut posts = Vec::new();
    for number in 0..10 {
        posts.push(account.post(&format!("Post {number}, before.")).await?);
    }
    let old = cluster.pods().get(&cluster.pod_name()).await?.uid();
    let kill = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    cluster.pods().delete(&cluster.pod_name(), &kill).await?;
    for number in 10..30 {
        posts.push(account.post(&format!("Post {number}, while it is down.")).await?);
    }
    until("another pod is there", || async {
        let pod = cluster.pods().get(&cluster.pod_name()).await?;
        Ok((pod.uid() != old).then_some(()))
    })
    .await?;
    cluster.wait_for_condition(&cluster.name, "Ready").await?;
    posts.push(account.post("After it came back.").await?);

    let mut consumer = Consumer::reference(&cluster.place, cursor)?;
    let events = consumer.read_until_record(&account.did, &posts.last().unwrap().rkey).await?;
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().all(|seq| *seq > cursor), "nothing from before the cursor {cursor}: {seqs:?}");
    assert!(seqs.is_sorted_by(|a, b| a < b), "seqs only grow: {seqs:?}");
    let received: Vec<Post> = events
        .iter()
        .filter(|event| event["did"] == account.did && event["event"] == "create")
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            Post { rkey: text("rkey"), cid: text("cid"), rev: text("rev") }
        })
        .collect();
    assert_eq!(received, posts, "every post once, in order");
    Ok(())
}
