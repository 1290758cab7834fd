#![allow(clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, duplex, split};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, coding::CloseCode as ClientCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::*;

/// A client's frame with the first byte `first`.
fn client_frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = header(0, payload.len()).to_vec();
    bytes[0] = first;
    bytes[1] |= MASKED;
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// What the decoder makes of `bytes` when they come in portions of `portion`.
fn decode(bytes: &[u8], portion: usize) -> Result<Vec<String>, ReadError> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut rest = bytes;
    loop {
        while let Some(frame) = decoder.next()? {
            frames.push(show(&frame));
        }
        if rest.is_empty() {
            return Ok(frames);
        }
        let space = decoder.space();
        let count = portion.min(space.len()).min(rest.len());
        assert_ne!(count, 0, "a decoder that wants more has room for it");
        space[..count].copy_from_slice(&rest[..count]);
        decoder.filled(count);
        rest = &rest[count..];
    }
}

fn show(frame: &ClientFrame) -> String {
    match frame {
        ClientFrame::Ping(payload) => format!("ping {:?}", &**payload),
        ClientFrame::Pong => "pong".to_owned(),
        ClientFrame::Close(code) => format!("close {code:?}"),
        ClientFrame::Data => "data".to_owned(),
    }
}

#[test]
fn headers_have_the_shortest_length() {
    let cases: [(usize, &[u8]); 7] = [
        (0, &[0x82, 0]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (4400, &[0x82, 126, 0x11, 0x30]),
        (0xFFFF, &[0x82, 126, 0xFF, 0xFF]),
        (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        (5_000_000, &[0x82, 127, 0, 0, 0, 0, 0, 0x4C, 0x4B, 0x40]),
    ];
    for (len, expected) in cases {
        assert_eq!(&*frame_header(len), expected, "header of {len} bytes");
    }
}

/// Protocol 2.
#[test]
fn payload_is_what_was_framed_and_nothing_else() {
    for len in [0, 1, 125, 126, 0xFFFF, 0x1_0000] {
        let body = vec![7; len];
        let wire = binary(&body);
        assert_eq!(payload(&wire), Some(&body[..]), "{len} bytes");
        assert_eq!(payload(&wire[..wire.len() - 1]), None, "{len} bytes, cut");
        assert_eq!(payload(&[&wire[..], &[0]].concat()), None, "{len} bytes, and one more");
    }
    let others: [(&str, &[u8]); 4] = [
        ("text", &[0x81, 1, 0]),
        ("not final", &[0x02, 1, 0]),
        ("masked", &[0x82, 0x81, 0, 0, 0, 0, 0]),
        ("long form of a short length", &[0x82, 126, 0, 1, 0]),
    ];
    for (name, wire) in others {
        assert_eq!(payload(wire), None, "{name}");
    }
}

#[test]
fn close_reasons_are_cut_between_characters() {
    let wire = close(CloseCode::Policy, &"é".repeat(100));
    assert_eq!(wire[1], 124, "2 bytes of code and 61 whole characters");
    assert!(std::str::from_utf8(&wire[4..]).is_ok());
}

#[test]
fn violations_are_refused() {
    let unmasked = vec![0x81, 1, 0];
    let cases = [
        ("opcode 3", client_frame(0x83, &[], [0; 4])),
        ("opcode 11", client_frame(0x8B, &[], [0; 4])),
        ("reserved bit", client_frame(0xC2, &[], [0; 4])),
        ("unmasked", unmasked),
        ("ping in fragments", client_frame(0x09, &[], [0; 4])),
        ("ping of 126 bytes", client_frame(0x89, &[0; 126], [0; 4])),
        ("close with half a code", client_frame(0x88, &[3], [0; 4])),
    ];
    for (name, bytes) in cases {
        assert!(matches!(decode(&bytes, 512), Err(ReadError::Protocol(_))), "{name}");
    }
}

#[test]
fn large_data_is_refused_by_its_header() {
    let largest = client_frame(0x82, &vec![0; CLIENT_FRAME_BYTES_MAX as usize], [1; 4]);
    assert_eq!(decode(&largest, 512).unwrap(), ["data"]);
    let mut header = header(opcode::BINARY, CLIENT_FRAME_BYTES_MAX as usize + 1).to_vec();
    header[1] |= MASKED;
    assert!(matches!(decode(&header, 512), Err(ReadError::TooBig(_))), "before its payload came");
    header[2..].fill(0xFF);
    assert!(matches!(decode(&header, 512), Err(ReadError::TooBig(u64::MAX))));
}

proptest! {
    #[test]
    fn frames_survive_any_portions(
        frames in prop::collection::vec(
            (prop::sample::select(vec![0x00u8, 0x80, 0x01, 0x82, 0x88, 0x89, 0x8A]), 0usize..2000, any::<[u8; 4]>()),
            1..8,
        ),
        portion in 1usize..600,
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (first, len, mask) in frames {
            let body: Vec<u8> = (0..len).map(|index| index as u8).collect();
            let body = if first & 8 != 0 { &body[..len.min(125)] } else { &body[..] };
            expected.push(match (first & 0x0F, body) {
                (opcode::PING, body) => format!("ping {body:?}"),
                (opcode::PONG, _) => "pong".to_owned(),
                (opcode::CLOSE, []) => "close None".to_owned(),
                (opcode::CLOSE, [_]) => continue,
                (opcode::CLOSE, _) => "close Some(1)".to_owned(),
                _ => "data".to_owned(),
            });
            bytes.extend(client_frame(first, body, mask));
        }
        prop_assert_eq!(decode(&bytes, portion).unwrap(), expected);
    }

    #[test]
    fn garbage_is_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000), portion in 1usize..600) {
        let _ = decode(&bytes, portion);
    }

    #[test]
    fn payload_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(body) = payload(&bytes) {
            prop_assert_eq!(binary(body), bytes);
        }
    }
}

/// A tungstenite client and the raw server side of its connection.
async fn pair() -> (WebSocketStream<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
    let (client, server) = duplex(64 << 10);
    let config = WebSocketConfig::default().max_frame_size(Some(6 << 20)).max_message_size(Some(6 << 20));
    (WebSocketStream::from_raw_socket(client, Role::Client, Some(config)).await, server)
}

#[tokio::test]
async fn an_independent_client_reads_what_we_write() {
    for len in [0, 1, 125, 126, 0xFFFF, 0x1_0000, 5_000_000] {
        let (mut client, mut server) = pair().await;
        let body = vec![9; len];
        let wire = [binary(&body), ping(), close(CloseCode::Restart, "bye")].concat();
        let server = tokio::spawn(async move {
            server.write_all(&wire).await.unwrap();
            server
        });
        assert_eq!(client.next().await.unwrap().unwrap(), Message::binary(body), "{len} bytes");
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Ping(Bytes::new()), "{len} bytes");
        let expected = CloseFrame { code: ClientCode::Restart, reason: Utf8Bytes::from_static("bye") };
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(Some(expected)), "{len} bytes");
        drop(server.await.unwrap());
    }
}

#[tokio::test]
async fn we_read_what_an_independent_client_writes() {
    let (mut client, server) = pair().await;
    let mut frames = ClientFrames::new(split(server).0);
    let fragment = |text, is_first, is_last| {
        let kind = if is_first { Data::Text } else { Data::Continue };
        Message::Frame(Frame::message(Bytes::from_static(text), OpCode::Data(kind), is_last))
    };
    let sent = [
        (Message::binary(vec![1; 60_000]), "data"),
        (Message::Ping(Bytes::from_static(&[1, 2])), "ping [1, 2]"),
        (fragment(b"in ", true, false), "data"),
        (Message::Pong(Bytes::new()), "pong"),
        (fragment(b"parts", false, true), "data"),
        (Message::Close(Some(CloseFrame { code: ClientCode::Normal, reason: "bye".into() })), "close Some(1000)"),
    ];
    let (messages, expected): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
    let writer = tokio::spawn(async move {
        for message in messages {
            client.send(message).await.unwrap();
        }
        client
    });
    for expected in expected {
        assert_eq!(show(&frames.next().await.unwrap()), expected);
    }
    drop(writer.await.unwrap());
    assert!(matches!(frames.next().await, Err(ReadError::Gone(_))));
}

#[tokio::test]
async fn after_a_violation_only_the_end_is_waited_for() {
    let (mut client, server) = duplex(64 << 10);
    let mut frames = ClientFrames::new(server);
    client.write_all(&[0xFF; 5000]).await.unwrap();
    client.write_all(&client_frame(0x89, &[], [0; 4])).await.unwrap();
    drop(client);
    assert!(matches!(frames.next().await, Err(ReadError::Protocol(_))));
    assert!(matches!(frames.next().await, Err(ReadError::Gone(_))));
}
