//! A consumer that costs little: it splits the stream into messages and looks no further.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::wire::{CLOSE, FIN, Head, MASKED, PING, PONG, take_http_head};

/// What is read at once.
const READ_BYTES: usize = 256 << 10;

/// A connection to a firehose.
pub struct Reader {
    tcp: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer was read and not yet used.
    unused: Range<usize>,
    /// The start of a message that comes in several frames.
    begun: Vec<u8>,
}

impl Reader {
    /// Subscribes at an address.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or something else than a firehose.
    pub async fn connect(address: SocketAddr, cursor: Option<u64>) -> io::Result<Reader> {
        let mut tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let cursor = cursor.map_or_else(String::new, |cursor| format!("?cursor={cursor}"));
        let request = format!(
            "GET /xrpc/com.atproto.sync.subscribeRepos{cursor} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2ltdWxhdGVkcmVhZGVyIQ==\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::new();
        let head = loop {
            if let Some(head) = take_http_head(&mut buffer) {
                break head;
            }
            if tcp.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        if !head.starts_with("HTTP/1.1 101") {
            let answer = head.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!("{answer:?} in place of a firehose")));
        }
        let unused = 0..buffer.len();
        buffer.resize(READ_BYTES.max(unused.end), 0);
        Ok(Reader { tcp, buffer, unused, begun: Vec::new() })
    }

    /// Waits until something comes, and gives each message that is now whole.
    ///
    /// # Errors
    ///
    /// When the stream has ended, in whatever way.
    pub async fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        if self.head().is_none() {
            self.fill().await?;
        }
        let mut pongs = Vec::new();
        while let Some(head) = self.head() {
            let payload = &self.buffer[self.unused.start + head.head..self.unused.start + head.whole()];
            self.unused.start += head.whole();
            match (head.opcode, head.is_last) {
                (PING, _) => pong(payload, &mut pongs),
                (CLOSE, _) => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ if head.is_control() => {}
                (_, true) if self.begun.is_empty() => each(payload),
                (_, is_last) => {
                    self.begun.extend_from_slice(payload);
                    if is_last {
                        each(&self.begun);
                        self.begun.clear();
                    }
                }
            }
        }
        self.tcp.write_all(&pongs).await
    }

    /// Reads so many bytes a second, 0 for none, and looks at nothing, until the stream has ended.
    pub async fn trickle(mut self, bytes_per_second: usize) {
        if bytes_per_second == 0 {
            // An end that comes in order is behind all that is not read. Who reads nothing learns only of a reset.
            let _ = self.tcp.ready(Interest::ERROR).await;
            return;
        }
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut piece = vec![0; bytes_per_second];
        loop {
            second.tick().await;
            match self.tcp.read(&mut piece).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
    }

    /// The next frame, if all of it is there.
    fn head(&self) -> Option<Head> {
        Head::read(&self.buffer[self.unused.clone()]).filter(|head| head.whole() <= self.unused.len())
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.unused.clone(), 0);
        self.unused = 0..self.unused.len();
        if self.unused.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        match self.tcp.read(&mut self.buffer[self.unused.end..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.unused.end += read;
                Ok(())
            }
        }
    }
}

/// The answer to a ping. Clients must mask; with zeros it changes nothing.
fn pong(payload: &[u8], out: &mut Vec<u8>) {
    out.extend([FIN | PONG, MASKED | payload.len() as u8, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}
