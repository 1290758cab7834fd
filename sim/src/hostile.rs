//! Hosts that want a relay's memory: they look like a PDS until somebody subscribes.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use rand::RngCore;
use relay::firehose::ws::frame_header;
use relay::protocol::frame::FRAME_BYTES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::door::{Request, name_of, request, upgrade};
use crate::server::free_address_on;
use crate::wire::FIN;

/// What is written at once.
const WRITE_BYTES: usize = 64 << 10;
/// Between two pieces of what has no end, so that a host takes memory and not all of a core.
const PAUSE: Duration = Duration::from_millis(20);
/// An opcode with nothing else set: a binary message that goes on.
const BINARY_BEGINS: u8 = 0x2;
/// The same for what it goes on with.
const CONTINUATION: u8 = 0x0;
/// A length of eight bytes follows.
const LONG: u8 = 127;

/// How a host takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malice {
    /// Sends all of the largest frame that is allowed but its end.
    Partial,
    /// Announces a frame of a gigabyte and sends it.
    Oversize,
    /// Sends pieces of one message that never ends.
    Endless,
    /// Sends anything.
    Garbage,
    /// Never answers that a stream begins.
    Mute,
}

/// A host that runs. It ends with this.
pub struct Hostile {
    name: String,
    task: JoinHandle<()>,
}

impl Malice {
    /// All of them.
    pub const ALL: [Malice; 5] = [Malice::Partial, Malice::Oversize, Malice::Endless, Malice::Garbage, Malice::Mute];
}

impl Hostile {
    /// Starts one.
    pub async fn start(ip: Ipv4Addr, malice: Malice) -> Hostile {
        let address = free_address_on(ip);
        let listener = TcpListener::bind(address).await.expect("a port that is free");
        let name = name_of(address);
        Hostile { task: tokio::spawn(listen(listener, name.clone(), malice)), name }
    }

    /// Its name, as requestCrawl takes it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, name: String, malice: Malice) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut tcp, _)) = accepted else { continue };
                let name = name.clone();
                // A connection ends when either side goes.
                connections.spawn(async move { drop(answer(&mut tcp, &name, malice).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(tcp: &mut TcpStream, name: &str, malice: Malice) -> io::Result<()> {
    let Request::Subscription { accept, .. } = request(tcp, name).await? else { return Ok(()) };
    if malice != Malice::Mute {
        upgrade(tcp, &accept).await?;
    }
    match malice {
        Malice::Mute => {}
        Malice::Partial => {
            let mut missing = FRAME_BYTES_MAX - 1;
            tcp.write_all(&frame_header(FRAME_BYTES_MAX)).await?;
            while missing > 0 {
                let piece = missing.min(WRITE_BYTES);
                tcp.write_all(&[0; WRITE_BYTES][..piece]).await?;
                missing -= piece;
            }
        }
        Malice::Oversize => {
            tcp.write_all(&frame_header(1 << 30)).await?;
            loop {
                tcp.write_all(&[0; WRITE_BYTES]).await?;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Malice::Endless => {
            let mut opcode = BINARY_BEGINS;
            loop {
                tcp.write_all(&[&[opcode, LONG], &(WRITE_BYTES as u64).to_be_bytes()[..]].concat()).await?;
                tcp.write_all(&[0; WRITE_BYTES]).await?;
                opcode = CONTINUATION;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Malice::Garbage => loop {
            let mut bytes = vec![0; WRITE_BYTES];
            rand::rng().fill_bytes(&mut bytes);
            // The first frame is whole, so that what is in it is looked at as well.
            let head = [FIN | BINARY_BEGINS, LONG];
            tcp.write_all(&[&head, &(WRITE_BYTES as u64).to_be_bytes()[..], &bytes].concat()).await?;
            tcp.write_all(&bytes).await?;
            tokio::time::sleep(PAUSE).await;
        },
    }
    // Waits for the other side to end it.
    while tcp.read(&mut [0; 512]).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn subscribe(host: &Hostile) -> TcpStream {
        let port = host.name().strip_prefix("localhost:").expect("a host on the loopback");
        let mut tcp = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("a host that listens");
        let head = b"GET /xrpc/com.atproto.sync.subscribeRepos HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n";
        tcp.write_all(head).await.expect("a request");
        tcp
    }

    #[tokio::test]
    async fn a_partial_frame_is_the_largest_but_for_its_last_byte() {
        let host = Hostile::start(Ipv4Addr::LOCALHOST, Malice::Partial).await;
        let mut tcp = subscribe(&host).await;
        let mut read = 0;
        let mut buffer = vec![0; WRITE_BYTES];
        let all = FRAME_BYTES_MAX - 1;
        while read < all {
            read += tcp.read(&mut buffer).await.expect("a stream that is open");
        }
        // The HTTP answer and the frame's head are before it.
        assert!((all..all + 512).contains(&read), "{read} bytes");
        let more = tokio::time::timeout(Duration::from_millis(300), async {
            let mut more = 0;
            while read + more < all + 512 {
                more += tcp.read(&mut buffer).await.expect("a stream that is open");
            }
        });
        assert!(more.await.is_err(), "the stream stays open, and nothing more comes");
    }

    #[tokio::test]
    async fn a_mute_host_says_nothing_and_stays() {
        let host = Hostile::start(Ipv4Addr::LOCALHOST, Malice::Mute).await;
        let mut tcp = subscribe(&host).await;
        let said = tokio::time::timeout(Duration::from_millis(100), tcp.read(&mut [0; 8])).await;
        assert!(said.is_err(), "{said:?}");
    }
}
