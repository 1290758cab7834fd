//! A consumer of the relay's firehose.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use relay::protocol::frame::{self, Frame, Kind, Peek};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::event::content;

/// A connection to a firehose.
pub struct Consumer(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What a firehose sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// An event.
    Event(Delivered),
    /// `#info`, by name.
    Info(String),
    /// An error, by name.
    Error(String),
    /// A close frame, with its code.
    Closed(Option<u16>),
    /// The connection is gone without a close frame.
    Lost,
}

/// An event as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its seq at the relay.
    pub seq: u64,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub did: String,
    /// All of it.
    pub frame: Bytes,
}

impl Consumer {
    /// Subscribes at an address.
    pub async fn connect(address: SocketAddr, cursor: Option<u64>) -> Result<Consumer, Error> {
        Consumer::connect_as("simulated-consumer", address, cursor).await
    }

    /// Subscribes under a user agent of its own.
    pub async fn connect_as(user_agent: &str, address: SocketAddr, cursor: Option<u64>) -> Result<Consumer, Error> {
        let cursor = cursor.map_or_else(String::new, |cursor| format!("?cursor={cursor}"));
        let url = format!("ws://{address}/xrpc/com.atproto.sync.subscribeRepos{cursor}");
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("user-agent", user_agent.parse().expect("a header"));
        Ok(Consumer(tokio_tungstenite::connect_async(request).await?.0))
    }

    /// What comes next.
    pub async fn next(&mut self) -> Received {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => return read(bytes),
                Some(Ok(Message::Close(close))) => {
                    // The answer to a close frame is ready, and goes out now; whether it arrives does not matter.
                    let _ = self.0.flush().await;
                    return Received::Closed(close.map(|close| close.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Received::Lost,
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing within 10 s.
    pub async fn event(&mut self) -> Delivered {
        match tokio::time::timeout(Duration::from_secs(10), self.next()).await {
            Ok(Received::Event(event)) => event,
            Ok(other) => panic!("{other:?} in place of an event"),
            Err(_) => panic!("no event within 10 s"),
        }
    }

    /// The next events.
    pub async fn events(&mut self, count: usize) -> Vec<Delivered> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }
}

impl Delivered {
    /// What an `#account` event states: whether the account is active, and its status.
    ///
    /// # Panics
    ///
    /// When it is no such event.
    pub fn account(&self) -> (bool, Option<&str>) {
        match frame::decode(&self.frame) {
            Ok(Frame::Account(event)) => (event.active, event.status),
            other => panic!("{other:?} in place of an #account"),
        }
    }

    /// All of it but the seq.
    ///
    /// # Panics
    ///
    /// When it is no event.
    pub fn content(&self) -> Vec<u8> {
        content(&self.frame).expect("the relay sends well-formed frames")
    }
}

fn read(bytes: Bytes) -> Received {
    match frame::peek(&bytes) {
        Ok(Peek::Event { kind, seq, did }) => {
            Received::Event(Delivered { seq, kind, did: did.to_owned(), frame: bytes.clone() })
        }
        _ => match frame::decode(&bytes) {
            Ok(Frame::Info { name, .. }) => Received::Info(name.to_owned()),
            Ok(Frame::Error { error, .. }) => Received::Error(error.to_owned()),
            other => panic!("the relay sent {other:?}"),
        },
    }
}
