#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{sleep, timeout};

use super::*;
use crate::firehose::ws::frame_header;

/// Time for a long message that others wait for, in these tests.
const PATIENCE: Duration = Duration::from_millis(50);

/// A stream with so much room for long messages, and its host's end.
fn stream(rooms: &Arc<Rooms>, pipe_bytes: usize) -> (Socket<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(pipe_bytes);
    (Socket::new(ours, &[], Arc::clone(rooms)), theirs)
}

/// A frame as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&*frame_header(payload.len()), payload].concat();
    frame[0] = first;
    frame
}

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | opcode::BINARY, payload)
}

/// The head of a frame whose payload does not come.
fn announce(len: usize) -> Vec<u8> {
    frame_header(len).to_vec()
}

async fn message(socket: &mut Socket<DuplexStream>) -> Message {
    match timeout(Duration::from_secs(60), socket.next()).await.expect("in time").unwrap() {
        Received::Message(message) => message,
        other => panic!("{other:?} instead of a message"),
    }
}

async fn error(socket: &mut Socket<DuplexStream>) -> ReadError {
    match timeout(Duration::from_secs(60), socket.next()).await.expect("in time") {
        Err(error) => error,
        Ok(other) => panic!("{other:?} instead of an error"),
    }
}

#[tokio::test]
async fn what_came_with_the_handshake_is_read_first() {
    let rooms = Rooms::new(0);
    let (ours, mut theirs) = duplex(1 << 10);
    let early = [binary(b"one"), binary(&[7; 9000])].concat();
    let mut socket = Socket::new(ours, &early, rooms);
    theirs.write_all(&binary(b"three")).await.unwrap();
    assert_eq!(message(&mut socket).await.bytes, b"one");
    assert_eq!(message(&mut socket).await.bytes, [7; 9000]);
    assert_eq!(message(&mut socket).await.bytes, b"three");
}

#[tokio::test]
async fn who_breaks_the_protocol_is_left() {
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("opcode", frame(FIN | 0x3, b""), "unknown opcode"),
        ("reserved bit", frame(FIN | 0x40 | opcode::BINARY, b""), "reserved bits"),
        ("masked", vec![FIN | opcode::BINARY, MASKED | 1, 0, 0, 0, 0, 1], "masked"),
        ("long ping", frame(FIN | opcode::PING, &[0; 126]), "control frame"),
        ("ping in fragments", frame(opcode::PING, b""), "control frame"),
        ("nothing to go on with", frame(FIN, b"more"), "mixed up"),
        ("a message within one", [frame(opcode::BINARY, b"a"), binary(b"b")].concat(), "mixed up"),
        ("gone within a frame", announce(10), "broke"),
    ];
    for (name, bytes, reason) in cases {
        let (mut socket, mut theirs) = stream(&Rooms::new(0), 1 << 10);
        theirs.write_all(&bytes).await.unwrap();
        drop(theirs);
        let error = error(&mut socket).await.to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_known_by_its_head() {
    let endless = [frame(opcode::BINARY, &[0; 100]), announce(FRAME_BYTES_MAX - 99)];
    let endless = [&endless[0][..], &[0x0, 127], &endless[1][2..]].concat();
    for (name, bytes) in [("at once", announce(FRAME_BYTES_MAX + 1)), ("in fragments", endless)] {
        let rooms = Rooms::new(0);
        let (mut socket, mut theirs) = stream(&rooms, 1 << 10);
        theirs.write_all(&bytes).await.unwrap();
        assert!(matches!(error(&mut socket).await, ReadError::Oversize), "{name}");
        assert_eq!(rooms.taken(), 0, "{name}: nothing was reserved for it");
    }
}

#[tokio::test]
async fn a_close_frame_tells_why() {
    let cases: [(&[u8], &str); 3] =
        [(b"", "closed without a reason"), (b"\x03\xe9", "closed with code 1001"), (b"\x03\xe9bye", "bye (1001)")];
    for (payload, expected) in cases {
        let (mut socket, mut theirs) = stream(&Rooms::new(0), 1 << 10);
        theirs.write_all(&frame(FIN | opcode::CLOSE, payload)).await.unwrap();
        let received = socket.next().await.unwrap();
        assert!(matches!(&received, Received::Close(reason) if reason == expected), "{received:?}");
        let mut answer = [0; 2];
        theirs.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [FIN | opcode::CLOSE, MASKED | payload.len().min(2) as u8], "{expected}");
    }
}

#[tokio::test]
async fn pings_go_both_ways_and_do_not_pile_up_before_a_host_that_does_not_read() {
    let (mut socket, mut theirs) = stream(&Rooms::new(0), 1 << 10);
    socket.ping();
    theirs.write_all(&frame(FIN | opcode::PING, b"hello")).await.unwrap();
    theirs.write_all(&frame(FIN | opcode::PONG, b"")).await.unwrap();
    for sign in ["the ping", "the pong"] {
        assert!(matches!(socket.next().await.unwrap(), Received::Other), "{sign}");
    }
    assert!(socket.next().now_or_never().is_none());
    let mut sent = [0; 6 + 11];
    theirs.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent[..2], [FIN | opcode::PING, MASKED]);
    let (mask, payload) = sent[8..].split_at(4);
    let payload: Vec<u8> = payload.iter().zip(mask).map(|(byte, key)| byte ^ key).collect();
    assert_eq!((sent[6], sent[7], &payload[..4]), (FIN | opcode::PONG, MASKED | 5, &b"hell"[..]), "masked");

    for _ in 0..1000 {
        theirs.write_all(&frame(FIN | opcode::PING, &[0; 100])).await.unwrap();
        assert!(matches!(socket.next().now_or_never(), Some(Ok(Received::Other))));
        socket.ping();
    }
    assert!(socket.out.bytes.len() <= OUT_BYTES_MAX + 131, "{}", socket.out.bytes.len());
}

#[tokio::test]
async fn a_long_message_has_room_for_as_long_as_it_is_held_and_leaves_nothing() {
    let rooms = Rooms::new(0);
    let (mut socket, mut theirs) = stream(&rooms, 1 << 20);
    theirs.write_all(&binary(&[1; 100_000])).await.unwrap();
    let held = message(&mut socket).await;
    assert_eq!((held.bytes.len(), held.bytes.capacity(), rooms.taken()), (100_000, 100_000, 100_000));
    drop(held);
    theirs.write_all(&binary(&[1; BUFFER_BYTES - 4])).await.unwrap();
    let short = message(&mut socket).await;
    assert_eq!((short.bytes.len(), rooms.taken()), (BUFFER_BYTES - 4, 0), "it fits into the buffer");
    assert_eq!(socket.buffer.len(), BUFFER_BYTES);
}

#[tokio::test]
async fn hosts_that_stall_within_long_messages_do_not_take_more_than_there_is() {
    let share = 4 * FRAME_BYTES_MAX as u64;
    let rooms = Rooms::with_patience(share, PATIENCE);
    let mut hostile = tokio::task::JoinSet::new();
    for index in 0..60usize {
        let rooms = Arc::clone(&rooms);
        hostile.spawn(async move {
            let (mut socket, mut theirs) = stream(&rooms, 64 << 10);
            // Some only announce it, some send a part, some send a byte from time to time.
            theirs.write_all(&announce(FRAME_BYTES_MAX)).await.unwrap();
            let drip = async {
                if index % 3 == 1 {
                    theirs.write_all(&[0; 20_000]).await.unwrap();
                }
                loop {
                    sleep(PATIENCE / 10).await;
                    if index % 3 == 2 {
                        theirs.write_all(&[0]).await.unwrap();
                    }
                }
            };
            let end = select! {
                received = socket.next() => received.err(),
                () = drip => None,
            };
            assert!(matches!(end, Some(ReadError::Cut)), "{end:?}");
        });
    }
    while rooms.taken() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rooms.taken(), 3 * FRAME_BYTES_MAX as u64, "three of them have the part for long messages");
    let (mut socket, mut theirs) = stream(&rooms, 64 << 10);
    let honest = tokio::spawn(async move {
        for size in [100, 9_000, 60_000, 70_000] {
            let sent = binary(&vec![7; size]);
            let (written, message) = tokio::join!(theirs.write_all(&sent), message(&mut socket));
            written.unwrap();
            assert_eq!(message.bytes, vec![7; size]);
        }
    });
    while !honest.is_finished() {
        assert!(rooms.taken() <= share, "{}", rooms.taken());
        sleep(Duration::from_millis(1)).await;
    }
    honest.await.unwrap();
    let mut cut = 0;
    while let Some(ended) = hostile.try_join_next() {
        ended.unwrap();
        cut += 1;
    }
    assert!(cut >= 57, "all who were before the last honest message, but for {}", 60 - cut);
    hostile.shutdown().await;
    assert_eq!(rooms.taken(), 0, "nothing stays behind");
}

#[tokio::test]
async fn a_long_message_may_take_its_time_while_nobody_needs_its_room() {
    let rooms = Rooms::with_patience(0, PATIENCE);
    let (mut socket, mut theirs) = stream(&rooms, 64 << 10);
    let slowly = async {
        theirs.write_all(&announce(20_000)).await.unwrap();
        for _ in 0..20 {
            sleep(PATIENCE / 5).await;
            theirs.write_all(&[1; 1000]).await.unwrap();
        }
    };
    let (_, received) = tokio::join!(slowly, socket.next());
    assert!(matches!(received, Ok(Received::Message(message)) if message.bytes == [1; 20_000]));
}

#[tokio::test]
async fn a_message_that_is_whole_is_not_cut_for_waiting_for_us() {
    let rooms = Rooms::with_patience(0, PATIENCE);
    let (mut socket, mut theirs) = stream(&rooms, 8 << 20);
    theirs.write_all(&binary(&vec![1; FRAME_BYTES_MAX])).await.unwrap();
    let whole = message(&mut socket).await;
    let (mut other, mut theirs) = stream(&rooms, 1 << 20);
    theirs.write_all(&binary(&[2; 90_000])).await.unwrap();
    let waiting = tokio::spawn(async move { message(&mut other).await.bytes.len() });
    sleep(4 * PATIENCE).await;
    assert!(!waiting.is_finished(), "there is no room");
    drop(whole);
    assert_eq!(waiting.await.unwrap(), 90_000);
}

/// Some messages, each in fragments, with pings between them.
fn messages() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let fragment = prop_oneof![0usize..50, 0usize..9000, Just(BUFFER_BYTES), 0usize..40_000];
    let fragment = (fragment, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]);
    prop::collection::vec(prop::collection::vec(fragment, 1..6), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However messages are cut into frames and frames into reads, and although the reader is dropped between reads: what
    /// is read is what was sent.
    #[test]
    fn what_is_read_is_what_was_sent(messages in messages(), portion in 1usize..20_000) {
        let mut wire = Vec::new();
        for message in &messages {
            for (index, fragment) in message.iter().enumerate() {
                let fin = if index + 1 == message.len() { FIN } else { 0 };
                let opcode = if index == 0 { opcode::BINARY } else { opcode::CONTINUATION };
                wire.extend(frame(fin | opcode, fragment));
                wire.extend(frame(FIN | opcode::PING, b"x"));
            }
        }
        let sent: Vec<Vec<u8>> = messages.iter().map(|message| message.concat()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let fragments: usize = messages.iter().map(Vec::len).sum();
        // Without the budget of a task, which would end reads before there is nothing to read.
        let (received, pings, taken) = runtime.block_on(tokio::task::unconstrained(async {
            let rooms = Rooms::new(0);
            let (mut socket, mut theirs) = stream(&rooms, 1 << 20);
            let (mut received, mut pings) = (Vec::new(), 0);
            for portion in wire.chunks(portion) {
                theirs.write_all(portion).await.unwrap();
                while let Some(next) = socket.next().now_or_never() {
                    match next.unwrap() {
                        Received::Message(message) => received.push(message.bytes),
                        Received::Other => pings += 1,
                        Received::Close(reason) => panic!("{reason}"),
                    }
                }
            }
            (received, pings, rooms.taken())
        }));
        prop_assert!(received == sent, "{} messages of {}, or others", received.len(), sent.len());
        prop_assert_eq!((pings, taken), (fragments, 0));
    }

    /// Any bytes at all: an error or messages, within the limits.
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), first in 0usize..4) {
        let mut wire = [vec![], vec![0x82, 126], vec![0x02, 127, 0, 0, 0, 0], vec![0x88]][first].clone();
        wire.extend(bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let taken = runtime.block_on(async {
            let rooms = Rooms::new(0);
            let (mut socket, mut theirs) = stream(&rooms, 1 << 10);
            theirs.write_all(&wire).await.unwrap();
            drop(theirs);
            while let Ok(received) = socket.next().await {
                if let Received::Close(_) = received {
                    break;
                }
            }
            drop(socket);
            rooms.taken()
        });
        prop_assert_eq!(taken, 0);
    }
}
