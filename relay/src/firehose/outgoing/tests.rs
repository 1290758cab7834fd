#![allow(clippy::unwrap_used)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;

use super::*;
use crate::log::{AccountTag, Header, Kind as EventKind};

/// Takes the given numbers of bytes, one after the other, and then all.
struct Portions {
    sizes: Vec<usize>,
    taken: Vec<u8>,
}

impl AsyncWrite for Portions {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let size = this.sizes.pop().unwrap_or(usize::MAX).min(bytes.len());
        this.taken.extend_from_slice(&bytes[..size]);
        Poll::Ready(Ok(size))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(context, &all)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn event(seq: u64, wire: &[u8]) -> Event {
    let account = AccountTag([0; 16]);
    let header = Header { seq, time_ms: 0, host: 0, upstream_seq: 0, kind: EventKind::Commit, account };
    Event { header, wire: Bytes::copy_from_slice(wire) }
}

/// One write of at most `size` bytes.
async fn write(outgoing: &mut Outgoing, size: usize) -> (Progress, String) {
    let mut io = Portions { sizes: vec![size], taken: Vec::new() };
    let progress = outgoing.write_to(&mut io).await.unwrap();
    (progress, String::from_utf8(io.taken).unwrap())
}

async fn write_all(outgoing: &mut Outgoing) -> String {
    let mut written = String::new();
    while !outgoing.is_empty() {
        written += &write(outgoing, usize::MAX).await.1;
    }
    written
}

/// Two events of which the first is written up to `begun` bytes.
async fn begun(begun: usize) -> Outgoing {
    let mut outgoing = Outgoing::default();
    outgoing.push_events([event(1, b"<one>"), event(2, b"<two>")].into_iter());
    if begun > 0 {
        write(&mut outgoing, begun).await;
    }
    outgoing
}

#[tokio::test]
async fn the_cursor_moves_with_whole_events() {
    let mut outgoing = begun(0).await;
    assert_eq!(write(&mut outgoing, 4).await.0, Progress { bytes: 4, events: 0, cursor: None });
    assert_eq!(write(&mut outgoing, 3).await.0, Progress { bytes: 3, events: 1, cursor: Some(1) });
    assert_eq!(write(&mut outgoing, 9).await.0, Progress { bytes: 3, events: 1, cursor: Some(2) });
    assert!(outgoing.is_empty());
}

#[tokio::test]
async fn heartbeats_go_out_between_frames() {
    let mut outgoing = begun(2).await;
    outgoing.push_heartbeat(Bytes::from_static(b"(old)"));
    outgoing.push_heartbeat(Bytes::from_static(b"(pong)"));
    assert_eq!(write_all(&mut outgoing).await, "ne>(pong)<two>", "only the newest, after the frame that was begun");

    let mut outgoing = begun(0).await;
    outgoing.push_heartbeat(Bytes::from_static(b"(pong)"));
    assert_eq!(write_all(&mut outgoing).await, "(pong)<one><two>");
}

#[tokio::test]
async fn a_begun_heartbeat_is_finished() {
    let mut outgoing = Outgoing::default();
    outgoing.push_heartbeat(Bytes::from_static(b"(old)"));
    write(&mut outgoing, 2).await;
    outgoing.push_heartbeat(Bytes::from_static(b"(new)"));
    assert_eq!(write_all(&mut outgoing).await, "ld)(new)");
}

#[tokio::test]
async fn notices_are_never_replaced() {
    let mut outgoing = Outgoing::default();
    outgoing.push_notice(Bytes::from_static(b"[info]"));
    outgoing.push_heartbeat(Bytes::from_static(b"(pong)"));
    assert_eq!(write_all(&mut outgoing).await, "(pong)[info]");
}

#[tokio::test]
async fn closing_finishes_only_the_frame_that_was_begun() {
    for (written, expected) in [(0, "[close]"), (2, "ne>[close]"), (5, "[close]"), (6, "two>[close]")] {
        let mut outgoing = begun(written).await;
        outgoing.keep_begun();
        outgoing.push_notice(Bytes::from_static(b"[close]"));
        assert_eq!(write_all(&mut outgoing).await, expected, "{written} bytes were written");
    }
}

#[tokio::test]
async fn giving_back_keeps_the_first_frame_and_its_place() {
    for (written, expected) in [(0, "<one>"), (2, "ne>"), (6, "two>")] {
        let mut outgoing = begun(written).await;
        outgoing.keep_first();
        assert_eq!(write_all(&mut outgoing).await, expected, "{written} bytes were written");
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_in_partial_writes(
        lens in prop::collection::vec(1usize..300, 1..200),
        sizes in prop::collection::vec(1usize..2000, 0..100),
    ) {
        let wires: Vec<Vec<u8>> = lens.iter().enumerate().map(|(at, len)| vec![at as u8; *len]).collect();
        let mut outgoing = Outgoing::default();
        outgoing.push_events((1..).zip(&wires).map(|(seq, wire)| event(seq, wire)));
        let mut io = Portions { sizes, taken: Vec::new() };
        let (mut events, mut cursor) = (0, 0);
        while !outgoing.is_empty() {
            let progress = futures_util::FutureExt::now_or_never(outgoing.write_to(&mut io)).unwrap().unwrap();
            events += progress.events;
            cursor = progress.cursor.unwrap_or(cursor);
            let whole: usize = lens.iter().take(cursor as usize).sum();
            prop_assert!(whole <= io.taken.len(), "an event is counted when it is wholly written");
        }
        prop_assert_eq!((events, cursor), (lens.len() as u64, lens.len() as u64));
        prop_assert_eq!(io.taken, wires.concat());
    }
}
