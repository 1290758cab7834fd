//! Where a consumer starts, and that it misses nothing and sees nothing twice from there (protocol 4).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;

/// Protocol 4.
#[tokio::test]
async fn without_cursor_the_stream_is_live() {
    let rig = Rig::new(limits(), 20, 100).await;
    let mut client = rig.connect(None).await;
    rig.wait_until("connected", |firehose| firehose.consumers() == 1).await;
    sleep(Duration::from_millis(50)).await; // the task decides where it starts after the handshake
    rig.publish(200, 100);
    expect_events(&mut client, 21, 220).await;
}

/// Protocol 4.
#[tokio::test]
async fn every_cursor_gets_exactly_the_events_after_it() {
    // 400 events of 1.1 KB: 7 segments, of which the ring holds the last events only.
    let limits = Limits { ring_bytes_max: 100 << 10, ..limits() };
    let rig = Rig::new(limits, 200, 1000).await;
    rig.publish(200, 1000);
    let segments = std::fs::read_dir(rig.dir.path()).unwrap().count();
    assert!(segments > 5, "the events cross segments: {segments}");
    for cursor in 0..=400 {
        let mut client = rig.connect(Some(cursor)).await;
        expect_events(&mut client, cursor + 1, 400).await;
        client.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await.unwrap();
        let rest = read_events(&mut client, 401).await;
        assert_eq!(rest, (401, Seen::Close(1000, String::new())), "nothing follows the newest event, cursor {cursor}");
    }
}

/// Protocol 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_hands_over_to_live_without_gap_or_repetition() {
    const EVENTS: u64 = 100_000;
    // A ring of a few hundred events: consumers fall out of it and come back all the time.
    let rig = Arc::new(Rig::new(Limits { ring_bytes_max: 64 << 10, ..limits() }, 1000, 100).await);
    let publisher = std::thread::spawn({
        let rig = Arc::clone(&rig);
        move || {
            for _ in 0..EVENTS / 100 {
                rig.publish(100, 100);
            }
        }
    });
    let mut readers = Vec::new();
    for cursor in [0, 500, 1000, 1000] {
        let mut client = rig.connect(Some(cursor)).await;
        readers.push(tokio::spawn(async move { expect_events(&mut client, cursor + 1, 1000 + EVENTS).await }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    publisher.join().unwrap();
    let replayed = rig.firehose.stats().events_replayed.load(std::sync::atomic::Ordering::Relaxed);
    assert!(replayed > 2500, "consumers were behind the ring at times: {replayed}");
}

/// Protocol 3.
#[tokio::test]
async fn a_cursor_from_the_future_is_refused() {
    let rig = Rig::new(limits(), 10, 100).await;
    let mut client = rig.connect(Some(11)).await;
    assert_error(see(&mut client).await, "FutureCursor");
    assert_eq!(see(&mut client).await, Seen::Close(1008, "FutureCursor".to_owned()));
    assert_eq!(see(&mut client).await, Seen::End);
    rig.wait_for_disconnect(Disconnect::FutureCursor).await;
}

/// Protocol 4.
#[tokio::test]
async fn a_cursor_before_the_window_is_told_so_and_gets_the_whole_window() {
    let rig = Rig::new(Limits { ring_bytes_max: 10 << 10, ..limits() }, 0, 0).await;
    rig.publish(300, 1000);
    rig.forget();
    let first = rig.firehose.reader.first_seq();
    assert!(first > 2 && first < 290, "retention removed something, and left more than the ring holds: {first}");

    let mut client = rig.connect(Some(1)).await;
    let info = see(&mut client).await;
    assert!(matches!(&info, Seen::Info(text) if text.contains("OutdatedCursor")), "saw {info:?}");
    expect_events(&mut client, first, 300).await;

    for cursor in [0, first - 1] {
        let mut client = rig.connect(Some(cursor)).await;
        expect_events(&mut client, first, 300).await;
    }
}

#[tokio::test]
async fn what_the_ring_still_holds_is_not_lost() {
    let rig = Rig::new(limits(), 0, 0).await;
    rig.publish(300, 1000);
    rig.forget();
    assert!(rig.firehose.reader.first_seq() > 2, "retention removed something");
    let mut client = rig.connect(Some(1)).await;
    expect_events(&mut client, 2, 300).await;
}

#[tokio::test]
async fn seqs_that_were_jumped_over_are_not_waited_for() {
    let rig = Rig::new(limits(), 10, 100).await;
    let Rig { log, dir, .. } = rig;
    drop(log);
    let options = Options { durability: Durability::Os, initial_seq: 1_000_000, ..Options::new(dir.path()) };
    let (mut log, reader) = Log::open(options).unwrap();
    let firehose = Firehose::new(reader, limits());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Router::new().route(PATH, firehose.route()).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let events = append(&mut log, 1, 100);
    let first = events[0].header.seq;
    let rig = Rig { firehose, log: Mutex::new(log), address, dir };

    let mut early = rig.connect(Some(5)).await;
    expect_events(&mut early, 6, 10).await;
    rig.firehose.publish(events);
    assert_eq!(see(&mut early).await, Seen::Event(first));
    rig.publish(5, 100);
    expect_events(&mut early, first + 1, first + 5).await;
}

#[tokio::test]
async fn large_events_come_whole() {
    let rig = Rig::new(limits(), 0, 0).await;
    rig.publish(3, 4_900_000);
    let mut client = rig.connect(Some(0)).await;
    expect_events(&mut client, 1, 3).await;

    // A client puts fragments together again, so look at the bytes: one final frame for each event.
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("GET {PATH}?cursor=0 HTTP/1.1\r\nHost: relay\r\n{}\r\n", http::UPGRADE);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    for seq in 1..=3 {
        let body = body(seq, 4_900_000);
        let mut wire = vec![0; 10 + body.len()];
        stream.read_exact(&mut wire).await.unwrap();
        assert_eq!(ws::payload(&wire), Some(&body[..]), "event {seq}");
    }
}

#[tokio::test]
async fn an_unreadable_log_ends_only_the_replay() {
    let rig = Rig::new(Limits { ring_bytes_max: 10 << 10, ..limits() }, 300, 1000).await;
    for file in std::fs::read_dir(rig.dir.path()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let mut live = rig.connect(Some(300)).await;
    let mut replay = rig.connect(Some(0)).await;
    assert!(matches!(see(&mut replay).await, Seen::Close(1011, _)));
    drop(replay);
    rig.publish(5, 100);
    expect_events(&mut live, 301, 305).await;
    rig.wait_for_disconnect(Disconnect::Log).await;
}

#[tokio::test]
async fn consumers_are_listed() {
    let rig = Rig::new(limits(), 10, 100).await;
    let mut client = rig.connect(Some(4)).await;
    expect_events(&mut client, 5, 10).await;
    rig.wait_until("live", |firehose| firehose.list().iter().all(|info| info.state == ConsumerState::Live)).await;
    let [info] = &rig.firehose.list()[..] else { panic!("one consumer") };
    assert_eq!((info.cursor, info.events_sent), (10, 6));
    assert!(info.bytes_sent > 600, "{} bytes", info.bytes_sent);
    assert_eq!(info.address, Ipv4Addr::LOCALHOST);
}
