//! The WebSocket frames of a host (RFC 6455, the client's side).
//!
//! A stream has one buffer of [`BUFFER_BYTES`], and a message that fits into it is copied out of it when it is whole. A
//! longer one, or one in fragments, is put together in memory of its own, for which there has to be [room](super::room)
//! before any of it is kept, and of which nothing is left afterwards. So a stream costs the same whatever its host sends.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::select;

use super::room::{Room, Rooms};
use crate::protocol::frame::FRAME_BYTES_MAX;
use crate::websocket::{CONTROL_BYTES_MAX, FIN, MASKED, RESERVED, opcode};

/// Buffer of a stream: at 3,000 hosts each KiB costs 3 MiB, and nine messages in ten are shorter.
pub(super) const BUFFER_BYTES: usize = 8 << 10;
/// Pings and their answers that wait to be sent: a host that does not read gets no more of them.
const OUT_BYTES_MAX: usize = 512;

/// What a host sends.
#[derive(Debug)]
pub(super) enum Received {
    /// A binary message.
    Message(Message),
    /// A text message, which is no part of the stream, a ping or the answer to one: a sign of life.
    Other,
    /// The end of the stream, for a reason.
    Close(String),
}

/// A binary message.
#[derive(Debug)]
pub(super) struct Message {
    /// All of it.
    pub(super) bytes: Vec<u8>,
    /// Where it counts, unless it is short.
    _room: Option<Room>,
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection ended or broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    /// The host broke the WebSocket protocol.
    #[error("the host broke the WebSocket protocol: {0}")]
    Protocol(&'static str),
    /// A message is longer than [`FRAME_BYTES_MAX`].
    #[error("a message is longer than {FRAME_BYTES_MAX} bytes")]
    Oversize,
    /// A long message took its time while other hosts needed the memory.
    #[error("a long message came too slowly while other hosts waited for its memory")]
    Cut,
}

/// An open stream.
pub(super) struct Socket<T> {
    io: T,
    buffer: Box<[u8]>,
    /// `buffer[start..end]` is not yet looked at.
    start: usize,
    end: usize,
    begun: Option<Begun>,
    out: Out,
    rooms: Arc<Rooms>,
}

/// A message that is put together.
struct Begun {
    is_binary: bool,
    bytes: Vec<u8>,
    room: Option<Room>,
    /// Bytes of the frame that are still to come.
    left: usize,
    /// The message ends with this frame.
    is_last: bool,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    is_last: bool,
    opcode: u8,
    /// Size of the header itself.
    size: usize,
    payload: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// A stream after the handshake, with what has come behind it already.
    pub(super) fn new(io: T, early: &[u8], rooms: Arc<Rooms>) -> Socket<T> {
        let mut buffer = vec![0; BUFFER_BYTES.max(early.len())].into_boxed_slice();
        buffer[..early.len()].copy_from_slice(early);
        Socket { io, buffer, start: 0, end: early.len(), begun: None, out: Out::default(), rooms }
    }

    /// Has a ping sent with what is read next, unless the host does not take what it is sent.
    pub(super) fn ping(&mut self) {
        self.out.push(opcode::PING, &[]);
    }

    /// The next thing that the host sends; a ping is answered with what is read next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Received, ReadError> {
        loop {
            if let Some(whole) = self.go_on().await? {
                return Ok(whole);
            }
            let Some(head) = head(&self.buffer[self.start..self.end])? else {
                self.fill().await?;
                continue;
            };
            if head.opcode & 0x8 != 0 {
                return self.control(head).await;
            }
            self.check(&head)?;
            if self.begun.is_none() && head.is_last && head.size + head.payload <= self.buffer.len() {
                return self.short(head).await;
            }
            self.begin(head).await?;
        }
    }

    /// Reads on in the message that has begun; gives it when it is whole.
    async fn go_on(&mut self) -> Result<Option<Received>, ReadError> {
        let Some(begun) = &mut self.begun else { return Ok(None) };
        let here = begun.left.min(self.end - self.start);
        begun.bytes.extend_from_slice(&self.buffer[self.start..self.start + here]);
        begun.left -= here;
        self.start += here;
        while begun.left > 0 {
            let read = read_into(&mut self.io, &mut self.out, &mut begun.bytes, begun.left);
            let count = match &begun.room {
                None => read.await?,
                Some(room) => select! {
                    count = read => count?,
                    () = room.is_cut() => return Err(ReadError::Cut),
                },
            };
            begun.left -= count;
        }
        if !begun.is_last {
            return Ok(None);
        }
        let Some(Begun { is_binary, bytes, mut room, .. }) = self.begun.take() else { return Ok(None) };
        if let Some(room) = &mut room {
            room.whole();
        }
        Ok(Some(if is_binary { Received::Message(Message { bytes, _room: room }) } else { Received::Other }))
    }

    /// Gives a message that fits into the buffer once it is whole.
    async fn short(&mut self, head: Head) -> Result<Received, ReadError> {
        self.fill_to(head.size + head.payload).await?;
        let payload = &self.buffer[self.start + head.size..][..head.payload];
        let received = if head.opcode == opcode::BINARY {
            Received::Message(Message { bytes: payload.to_vec(), _room: None })
        } else {
            Received::Other
        };
        self.start += head.size + head.payload;
        Ok(received)
    }

    /// Begins a message that does not fit, or goes on with its next fragment, once there is room for it.
    async fn begin(&mut self, head: Head) -> Result<(), ReadError> {
        if self.begun.is_none() {
            let capacity = capacity(0, head);
            let room = if capacity > BUFFER_BYTES { Some(self.rooms.reserve(capacity as u64).await) } else { None };
            let (bytes, is_binary) = (Vec::with_capacity(capacity), head.opcode == opcode::BINARY);
            self.begun = Some(Begun { is_binary, bytes, room, left: 0, is_last: false });
        }
        let Some(begun) = &mut self.begun else { return Ok(()) };
        if begun.bytes.len() + head.payload > begun.bytes.capacity() {
            let capacity = capacity(begun.bytes.len(), head);
            match &mut begun.room {
                Some(room) => room.grow(capacity as u64).await?,
                room => *room = Some(self.rooms.reserve(capacity as u64).await),
            }
            begun.bytes.reserve_exact(capacity - begun.bytes.len());
        }
        (begun.left, begun.is_last) = (head.payload, head.is_last);
        self.start += head.size;
        Ok(())
    }

    /// The rules of the protocol for a data frame where we are, and the limit of a message.
    fn check(&self, head: &Head) -> Result<(), ReadError> {
        let is_continued = head.opcode == opcode::CONTINUATION;
        if is_continued != self.begun.is_some() {
            return Err(ReadError::Protocol("fragments of messages are mixed up"));
        }
        let before = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
        if head.payload > FRAME_BYTES_MAX - before { Err(ReadError::Oversize) } else { Ok(()) }
    }

    /// Takes a control frame.
    async fn control(&mut self, head: Head) -> Result<Received, ReadError> {
        self.fill_to(head.size + head.payload).await?;
        let payload = &self.buffer[self.start + head.size..][..head.payload];
        self.start += head.size + head.payload;
        match head.opcode {
            opcode::PING => {
                self.out.push(opcode::PONG, payload);
                Ok(Received::Other)
            }
            opcode::PONG => Ok(Received::Other),
            _ => {
                let reason = close_reason(payload);
                // As polite as it can be without waiting for the host.
                let code = payload.first_chunk::<2>().copied();
                self.out.push(opcode::CLOSE, code.as_ref().map_or(&[], |code| code));
                let (io, out) = (&mut self.io, &mut self.out);
                let _ = poll_fn(|context| Poll::Ready(out.poll_write(Pin::new(&mut *io), context))).await;
                Ok(Received::Close(reason))
            }
        }
    }

    /// Reads until so many bytes, which fit, are in the buffer.
    async fn fill_to(&mut self, bytes: usize) -> Result<(), ReadError> {
        while self.end - self.start < bytes {
            self.fill().await?;
        }
        Ok(())
    }

    /// Reads something into the buffer, in which there is room for it.
    async fn fill(&mut self) -> Result<(), ReadError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let mut space = ReadBuf::new(&mut self.buffer[self.end..]);
        let (io, out) = (&mut self.io, &mut self.out);
        poll_fn(|context| {
            out.poll_write(Pin::new(&mut *io), context)?;
            Pin::new(&mut *io).poll_read(context, &mut space)
        })
        .await?;
        match space.filled().len() {
            0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}

/// Memory for a message with `before` bytes and a frame of this head. With every fragment it doubles: a message of a
/// thousand fragments is not to be copied a thousand times.
fn capacity(before: usize, head: Head) -> usize {
    let wanted = before + head.payload;
    if head.is_last { wanted } else { wanted.max((2 * before).clamp(BUFFER_BYTES, FRAME_BYTES_MAX)) }
}

/// Reads something, at most `most` bytes, for which there is room behind `bytes`; sends meanwhile what is to be sent.
async fn read_into<T>(io: &mut T, out: &mut Out, bytes: &mut Vec<u8>, most: usize) -> std::io::Result<usize>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let read = poll_fn(|context| {
        out.poll_write(Pin::new(&mut *io), context)?;
        let mut space = (&mut *bytes).limit(most);
        pin!(io.read_buf(&mut space)).poll(context)
    });
    match read.await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// The header at the start of some bytes; `None` when they are too few.
fn head(input: &[u8]) -> Result<Option<Head>, ReadError> {
    let &[first, second, ref rest @ ..] = input else { return Ok(None) };
    let (opcode, is_last) = (first & 0xf, first & FIN != 0);
    let is_control = match opcode {
        opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => false,
        opcode::CLOSE | opcode::PING | opcode::PONG => true,
        _ => return Err(ReadError::Protocol("a frame with an unknown opcode")),
    };
    if first & RESERVED != 0 {
        return Err(ReadError::Protocol("a frame with reserved bits set; no extension was agreed on"));
    }
    if second & MASKED != 0 {
        return Err(ReadError::Protocol("a masked frame; servers must not mask"));
    }
    if is_control && (!is_last || usize::from(second) > CONTROL_BYTES_MAX) {
        return Err(ReadError::Protocol("a control frame in fragments or above 125 bytes"));
    }
    let (size, payload) = match (second, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, u64::from(length)),
    };
    match usize::try_from(payload) {
        Ok(payload) if payload <= FRAME_BYTES_MAX => Ok(Some(Head { is_last, opcode, size, payload })),
        _ => Err(ReadError::Oversize),
    }
}

/// What a close frame says, for people.
fn close_reason(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        None => "closed without a reason".to_owned(),
        Some((code, [])) => format!("closed with code {}", u16::from_be_bytes(*code)),
        Some((code, text)) => format!("{} ({})", String::from_utf8_lossy(text), u16::from_be_bytes(*code)),
    }
}

/// Control frames on their way to the host.
#[derive(Debug, Default)]
struct Out {
    bytes: Vec<u8>,
    /// Something was written and may be in a buffer of TLS.
    is_dirty: bool,
}

impl Out {
    fn push(&mut self, opcode: u8, payload: &[u8]) {
        if self.bytes.len() >= OUT_BYTES_MAX {
            return;
        }
        let mask: [u8; 4] = rand::random();
        self.bytes.extend([FIN | opcode, MASKED | payload.len() as u8]);
        self.bytes.extend(mask);
        self.bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    }

    /// Writes what the socket takes now. The task is woken when it takes more.
    fn poll_write(&mut self, mut io: Pin<&mut impl AsyncWrite>, context: &mut Context<'_>) -> std::io::Result<()> {
        while !self.bytes.is_empty() {
            match io.as_mut().poll_write(context, &self.bytes) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => drop(self.bytes.drain(..count)),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
            self.is_dirty = true;
        }
        if self.is_dirty
            && let Poll::Ready(flushed) = io.poll_flush(context)
        {
            self.is_dirty = false;
            return flushed;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
