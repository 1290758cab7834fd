//! Pings, and what clients may send.

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

use super::*;

fn pinging() -> Limits {
    let short = Duration::from_millis(100);
    Limits { ping_interval: short, pong_timeout: short, ..limits() }
}

/// Protocol 6.
#[tokio::test]
async fn idle_consumers_are_pinged_and_kept() {
    let rig = Rig::new(pinging(), 10, 100).await;
    let mut client = rig.connect(None).await;
    for _ in 0..5 {
        let message = timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
    assert_eq!(rig.firehose.consumers(), 1);
}

/// Protocol 6.
#[tokio::test]
async fn an_idle_consumer_that_does_not_answer_is_dropped() {
    let rig = Rig::new(pinging(), 10, 100).await;
    let _silent = rig.connect(None).await;
    rig.wait_for_disconnect(Disconnect::PingTimeout).await;
    assert_eq!(rig.firehose.consumers(), 0);
}

#[tokio::test]
async fn a_ping_is_answered_amid_the_events() {
    let rig = Rig::new(limits(), 2000, 4000).await;
    let mut client = rig.connect(Some(0)).await;
    client.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    loop {
        match timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap() {
            Message::Pong(payload) => return assert_eq!(&payload[..], b"there?"),
            Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Protocol 6.
#[tokio::test]
async fn data_from_a_client_is_ignored() {
    let rig = Rig::new(limits(), 10, 100).await;
    let mut client = rig.connect(Some(10)).await;
    let fragment = |kind, is_last| Message::Frame(Frame::message(vec![b'x'; 60_000], OpCode::Data(kind), is_last));
    for message in [
        Message::text("hello"),
        fragment(Data::Binary, false),
        fragment(Data::Continue, true),
        Message::binary(vec![0]),
    ] {
        client.send(message).await.unwrap();
    }
    rig.publish(100, 100);
    expect_events(&mut client, 11, 110).await;
}

#[tokio::test]
async fn a_client_that_closes_amid_the_events_is_answered() {
    let rig = Rig::new(limits(), 5000, 4000).await;
    let mut client = rig.connect(Some(0)).await;
    expect_events(&mut client, 1, 100).await;
    client.close(Some(CloseFrame { code: CloseCode::Normal, reason: "enough".into() })).await.unwrap();
    let (_, instead) = read_events(&mut client, 101).await;
    assert!(matches!(instead, Seen::Close(1000, _) | Seen::End), "{instead:?}");
    rig.wait_for_disconnect(Disconnect::Client).await;
    assert_eq!(rig.firehose.consumers(), 0);
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    let rig = Rig::new(limits(), 5000, 4000).await;
    let mut client = rig.connect(Some(0)).await;
    expect_events(&mut client, 1, 100).await;
    drop(client);
    rig.wait_for_disconnect(Disconnect::Client).await;
    assert_eq!(rig.firehose.consumers(), 0);
}

/// Protocol 6.
#[tokio::test]
async fn violations_are_answered_with_their_code() {
    let mut flood = Vec::new();
    for _ in 0..1000 {
        flood.extend_from_slice(&[0x89, 0x80, 0, 0, 0, 0]);
    }
    let too_big = [0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let cases: [(&str, &[u8], u16); 3] =
        [("unmasked", &[0x82, 0], 1002), ("65,537 bytes", &too_big, 1009), ("1,000 pings", &flood, 1008)];
    for (name, bytes, code) in cases {
        let rig = Rig::new(limits(), 10, 100).await;
        let mut client = rig.connect(None).await;
        client.get_mut().write_all(bytes).await.unwrap();
        let seen = see(&mut client).await;
        assert!(matches!(seen, Seen::Close(seen, _) if seen == code), "{name}: {seen:?}");
        assert_eq!(see(&mut client).await, Seen::End, "{name}");
        drop(client);
        rig.wait_for_disconnect(Disconnect::Protocol).await;
    }
}
