//! What one consumer is being sent: a few whole frames and how much of the first is already written.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::ring::BATCH_EVENTS_MAX;
use crate::log::Event;

/// Frames in the order they go out. Whatever happens to the consumer, a frame that was begun is finished: the boundary
/// between frames is never lost.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are already written.
    written: usize,
}

#[derive(Debug)]
struct Frame {
    wire: Bytes,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An event with this seq.
    Event(u64),
    /// A message without a seq, or a close frame.
    Notice,
    /// A ping or pong: a newer one takes its place.
    Heartbeat,
}

/// What one write achieved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes accepted by the socket.
    pub bytes: usize,
    /// Events now wholly written.
    pub events: u64,
    /// Seq of the last of them.
    pub cursor: Option<u64>,
}

impl Outgoing {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn push_events(&mut self, events: impl Iterator<Item = Event>) {
        self.frames.extend(events.map(|event| Frame { kind: Kind::Event(event.header.seq), wire: event.wire }));
    }

    /// Adds a message without a seq, or a close frame.
    pub fn push_notice(&mut self, wire: Bytes) {
        self.frames.push_back(Frame { wire, kind: Kind::Notice });
    }

    /// Adds a ping or pong at the next boundary between frames. If one waits there already, this one takes its place:
    /// only the newest ping needs an answer (RFC 6455, section 5.5.3).
    pub fn push_heartbeat(&mut self, wire: Bytes) {
        let next = usize::from(self.written > 0);
        match self.frames.get_mut(next) {
            Some(frame) if frame.kind == Kind::Heartbeat => frame.wire = wire,
            _ => self.frames.insert(next, Frame { wire, kind: Kind::Heartbeat }),
        }
    }

    /// Drops the events that are not begun. Gives the bytes of the one that is, of which it now has a copy.
    pub fn keep_begun(&mut self) -> usize {
        self.keep(usize::from(self.written > 0))
    }

    /// Drops all events but the first. Gives the bytes of that one, of which it now has a copy: with its neighbours, of
    /// which it is a part, it would keep more than its own.
    pub fn keep_first(&mut self) -> usize {
        self.keep(1)
    }

    fn keep(&mut self, count: usize) -> usize {
        let (mut index, mut bytes) = (0, 0);
        self.frames.retain_mut(|frame| {
            index += 1;
            let is_event = matches!(frame.kind, Kind::Event(_));
            let is_kept = index <= count || !is_event;
            if is_kept && is_event {
                frame.wire = Bytes::copy_from_slice(&frame.wire);
                bytes += frame.wire.len();
            }
            is_kept
        });
        bytes
    }

    /// Writes as much as the socket takes in one call. Dropping the future loses nothing.
    pub async fn write_to(&mut self, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<Progress> {
        poll_fn(|context| self.poll_write(Pin::new(&mut *io), context)).await
    }

    fn poll_write(&mut self, io: Pin<&mut impl AsyncWrite>, context: &mut Context<'_>) -> Poll<io::Result<Progress>> {
        let mut slices = [IoSlice::new(&[]); BATCH_EVENTS_MAX];
        let mut skip = self.written;
        let mut used = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(&frame.wire[skip..]);
            skip = 0;
            used += 1;
        }
        match ready!(io.poll_write_vectored(context, &slices[..used]))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            bytes => Poll::Ready(Ok(self.advance(bytes))),
        }
    }

    /// Notes that `bytes` more are written.
    fn advance(&mut self, bytes: usize) -> Progress {
        let mut progress = Progress { bytes, ..Progress::default() };
        self.written += bytes;
        while let Some(first) = self.frames.front()
            && first.wire.len() <= self.written
        {
            self.written -= first.wire.len();
            if let Kind::Event(seq) = first.kind {
                progress.events += 1;
                progress.cursor = Some(seq);
            }
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.frames.capacity() > 2 * BATCH_EVENTS_MAX {
            self.frames.shrink_to(BATCH_EVENTS_MAX); // a replayed chunk of small events was longer than a live batch
        }
        progress
    }
}

#[cfg(test)]
mod tests;
