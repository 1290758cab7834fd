//! The server's side of WebSocket frames (RFC 6455), as far as a firehose needs it.
//!
//! Frames of a server are not masked, so one event has the same bytes for every consumer: the sequencer frames it once
//! ([`frame_header`]), and the log, the ring and the sockets carry that form. One event is one frame, never fragmented.
//! From clients only control frames matter; their data is skipped without being held (protocol 6).

use std::ops::Deref;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::websocket::{CONTROL_BYTES_MAX, FIN, MASKED, RESERVED, opcode};

/// Greatest size of a client's data frame, in bytes. The stream takes no data, so anything larger is a mistake or an attack.
pub const CLIENT_FRAME_BYTES_MAX: u64 = 64 << 10;

/// Bytes buffered of a client's stream: room for the largest control frame and then some.
const READ_BYTES: usize = 512;

/// Why a connection is closed, as the close frame says it (RFC 6455, section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The client broke the WebSocket protocol.
    Protocol = 1002,
    /// The consumer broke a rule of the stream: too slow, a cursor from the future, too much traffic.
    Policy = 1008,
    /// A client's frame was larger than [`CLIENT_FRAME_BYTES_MAX`].
    TooBig = 1009,
    /// The relay cannot read its own log.
    Internal = 1011,
    /// The relay stops, which is to say that it comes back: relays stop to be restarted. Clients are right to take 1000 and
    /// 1001 for the end of the stream, and some do (the Python SDK ends for good); on this one they reconnect.
    Restart = 1012,
}

/// Header of an unmasked frame: 2 to 10 bytes, as its [`Deref`] gives them.
#[derive(Debug, Clone, Copy)]
pub struct FrameHeader {
    bytes: [u8; 10],
    len: u8,
}

impl Deref for FrameHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Header that turns a payload of `len` bytes into one whole binary message of a server.
pub fn frame_header(len: usize) -> FrameHeader {
    header(opcode::BINARY, len)
}

/// The payload of a frame that was made with [`frame_header`]; `None` if `wire` is anything else.
pub fn payload(wire: &[u8]) -> Option<&[u8]> {
    let len = match wire.get(1)? {
        126 => usize::from(u16::from_be_bytes(wire.get(2..4)?.try_into().ok()?)),
        127 => usize::try_from(u64::from_be_bytes(wire.get(2..10)?.try_into().ok()?)).ok()?,
        len => usize::from(*len),
    };
    let header = frame_header(len);
    wire.strip_prefix(&*header).filter(|payload| payload.len() == len)
}

/// A whole binary message.
pub(super) fn binary(payload: &[u8]) -> Bytes {
    frame(opcode::BINARY, payload)
}

/// A ping. Its payload is empty: any answer will do.
pub(super) fn ping() -> Bytes {
    frame(opcode::PING, &[])
}

/// The answer to a ping, with the ping's payload.
pub(super) fn pong(payload: &ControlPayload) -> Bytes {
    frame(opcode::PONG, payload)
}

/// A close frame with a reason for people, cut to the size of a control frame.
pub(super) fn close(code: CloseCode, reason: &str) -> Bytes {
    let mut payload = Vec::with_capacity(CONTROL_BYTES_MAX);
    payload.extend_from_slice(&(code as u16).to_be_bytes());
    let cut = reason.floor_char_boundary(CONTROL_BYTES_MAX - payload.len());
    payload.extend_from_slice(&reason.as_bytes()[..cut]);
    frame(opcode::CLOSE, &payload)
}

/// The answer to a client's close frame: the same code, or none if it gave none.
pub(super) fn close_echo(code: Option<u16>) -> Bytes {
    match code {
        Some(code) => frame(opcode::CLOSE, &code.to_be_bytes()),
        None => frame(opcode::CLOSE, &[]),
    }
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    [&*header(opcode, payload.len()), payload].concat().into()
}

fn header(opcode: u8, len: usize) -> FrameHeader {
    let mut bytes = [0; 10];
    bytes[0] = FIN | opcode;
    let len = match len {
        0..=125 => {
            bytes[1] = len as u8;
            2
        }
        126..=0xFFFF => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    FrameHeader { bytes, len }
}

/// Payload of a control frame, unmasked.
#[derive(Debug, Clone, Copy)]
pub(super) struct ControlPayload {
    bytes: [u8; CONTROL_BYTES_MAX],
    len: u8,
}

impl Deref for ControlPayload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What a client sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum ClientFrame {
    /// To be answered with a pong of the same payload.
    Ping(ControlPayload),
    /// The answer to a ping of ours.
    Pong,
    /// The client ends the connection, for the reason that the code names.
    Close(Option<u16>),
    /// A text or binary frame, or a part of one; its payload is skipped.
    Data,
}

/// Why a client's stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The client closed the connection without a close frame, or it broke.
    #[error("the connection is gone: {0}")]
    Gone(#[from] std::io::Error),
    /// The client broke the WebSocket protocol.
    #[error("{0}")]
    Protocol(&'static str),
    /// A data frame larger than [`CLIENT_FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes; this stream takes no data")]
    TooBig(u64),
}

/// Reads a client's frames from `R`.
#[derive(Debug)]
pub(super) struct ClientFrames<R> {
    io: R,
    decoder: Decoder,
    /// Nothing can be made of what follows: it is read to see the connection end.
    is_broken: bool,
}

impl<R: AsyncRead + Unpin> ClientFrames<R> {
    pub fn new(io: R) -> Self {
        ClientFrames { io, decoder: Decoder::default(), is_broken: false }
    }

    /// The next frame. Dropping the future loses nothing. After an error there is no other frame: only
    /// [`ReadError::Gone`] follows, when the client ends the connection.
    pub async fn next(&mut self) -> Result<ClientFrame, ReadError> {
        loop {
            if self.is_broken {
                self.decoder = Decoder::default();
            }
            match self.decoder.next() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => {
                    self.is_broken = true;
                    return Err(error);
                }
            }
            match self.io.read(self.decoder.space()).await? {
                0 => return Err(ReadError::Gone(std::io::ErrorKind::UnexpectedEof.into())),
                count => self.decoder.filled(count),
            }
        }
    }
}

/// Takes a client's bytes in any portions and gives frames.
#[derive(Debug)]
struct Decoder {
    buffer: [u8; READ_BYTES],
    /// `buffer[start..end]` is not yet decoded.
    start: usize,
    end: usize,
    /// Bytes of a data frame's payload still to be skipped.
    skip: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { buffer: [0; READ_BYTES], start: 0, end: 0, skip: 0 }
    }
}

impl Decoder {
    /// Where to put more bytes; never empty after [`Decoder::next`] gave `None`.
    fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.buffer[self.end..]
    }

    /// `count` bytes were put into [`Decoder::space`].
    fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// The next frame, or `None` if more bytes are needed.
    fn next(&mut self) -> Result<Option<ClientFrame>, ReadError> {
        let skipped = self.skip.min((self.end - self.start) as u64);
        self.skip -= skipped;
        self.start += skipped as usize;

        let input = &self.buffer[self.start..self.end];
        let Some((head, len)) = head(input)? else { return Ok(None) };
        if head.is_control {
            let Some(masked) = input.get(head.size..head.size + len as usize) else { return Ok(None) };
            let payload = unmask(masked, head.mask);
            self.start += head.size + masked.len();
            return control(head.opcode, payload).map(Some);
        }
        self.start += head.size;
        self.skip = len;
        Ok(Some(ClientFrame::Data))
    }
}

/// A client's frame header.
struct Head {
    opcode: u8,
    is_control: bool,
    mask: [u8; 4],
    /// Size of the header itself, in bytes.
    size: usize,
}

/// The header at the start of `input` and the length of the payload, checked; `None` if more bytes are needed.
fn head(input: &[u8]) -> Result<Option<(Head, u64)>, ReadError> {
    let &[first, second, ref rest @ ..] = input else { return Ok(None) };
    let opcode = first & 0x0F;
    let is_control = match opcode {
        opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => false,
        opcode::CLOSE | opcode::PING | opcode::PONG => true,
        _ => return Err(ReadError::Protocol("a frame with an unknown opcode")),
    };
    if first & RESERVED != 0 {
        return Err(ReadError::Protocol("a frame with reserved bits set; no extension was agreed on"));
    }
    if second & MASKED == 0 {
        return Err(ReadError::Protocol("an unmasked frame; clients must mask"));
    }
    let short = second & !MASKED;
    if is_control && (first & FIN == 0 || usize::from(short) > CONTROL_BYTES_MAX) {
        return Err(ReadError::Protocol("a control frame in fragments or above 125 bytes"));
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((length, rest)) = rest.split_at_checked(extended) else { return Ok(None) };
    let len = match extended {
        0 => u64::from(short),
        _ => length.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
    };
    if len > CLIENT_FRAME_BYTES_MAX {
        return Err(ReadError::TooBig(len));
    }
    let Some(&mask) = rest.first_chunk() else { return Ok(None) };
    Ok(Some((Head { opcode, is_control, mask, size: 2 + extended + mask.len() }, len)))
}

/// `masked` is at most [`CONTROL_BYTES_MAX`] long.
fn unmask(masked: &[u8], mask: [u8; 4]) -> ControlPayload {
    let mut payload = ControlPayload { bytes: [0; CONTROL_BYTES_MAX], len: masked.len() as u8 };
    for ((to, from), key) in payload.bytes.iter_mut().zip(masked).zip(mask.iter().cycle()) {
        *to = from ^ key;
    }
    payload
}

fn control(opcode: u8, payload: ControlPayload) -> Result<ClientFrame, ReadError> {
    match (opcode, &*payload) {
        (opcode::PING, _) => Ok(ClientFrame::Ping(payload)),
        (opcode::PONG, _) => Ok(ClientFrame::Pong),
        (_, []) => Ok(ClientFrame::Close(None)),
        (_, &[high, low, ..]) => Ok(ClientFrame::Close(Some(u16::from_be_bytes([high, low])))),
        (_, [_]) => Err(ReadError::Protocol("a close frame with half a code")),
    }
}

#[cfg(test)]
mod tests;
