//! `com.atproto.sync.subscribeRepos` of a host.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, Request, State};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use relay::firehose::ws::frame_header;
use relay::protocol::frame::{encode_error, encode_info};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{HostState, Sent, Shared};

/// Frames that are taken from the backlog at once.
const BATCH_FRAMES: usize = 64;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

#[derive(Deserialize)]
pub(super) struct Subscription {
    cursor: Option<u64>,
}

pub(super) async fn subscribe_repos(
    State(shared): State<Arc<Shared>>,
    Extension(stop): Extension<watch::Receiver<bool>>,
    Query(Subscription { cursor }): Query<Subscription>,
    headers: HeaderMap,
    mut request: Request,
) -> Response {
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let start = shared.lock().begin(cursor);
        shared.changed();
        // A stream ends when either side goes.
        let _ = serve(&shared, &mut socket, start, stop).await;
        shared.lock().streams -= 1;
        shared.changed();
    });
    let headers = [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, &accept)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// How a stream starts.
enum Start {
    /// Behind this many of all frames so far.
    At(usize),
    /// The same, after a notice that earlier ones are gone.
    Outdated(usize),
    /// Not at all.
    Future,
}

impl HostState {
    fn begin(&mut self, cursor: Option<u64>) -> Start {
        self.streams += 1;
        self.cursors.push(cursor);
        let from = cursor.unwrap_or(0).max(self.forgotten);
        let place = self.gone + self.backlog.iter().position(|sent| sent.seq > from).unwrap_or(self.backlog.len());
        match cursor {
            None => Start::At(self.gone + self.backlog.len()),
            Some(cursor) if cursor > self.last_seq => Start::Future,
            Some(cursor) if 0 < cursor && cursor < self.forgotten => Start::Outdated(place),
            Some(_) => Start::At(place),
        }
    }
}

async fn serve(
    shared: &Shared,
    socket: &mut Socket,
    start: Start,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let mut place = match start {
        Start::At(place) => place,
        Start::Outdated(place) => {
            let mut info = Vec::new();
            encode_info("OutdatedCursor", None, &mut info);
            socket.send(Message::Binary(info.into())).await?;
            place
        }
        Start::Future => {
            let mut error = Vec::new();
            encode_error("FutureCursor", None, &mut error);
            socket.send(Message::Binary(error.into())).await?;
            return socket.close(None).await;
        }
    };
    let mut changes = shared.changes.subscribe();
    loop {
        changes.mark_unchanged();
        let (batch, cut): (Vec<Sent>, bool) = {
            let mut state = shared.lock();
            // Who is too slow misses what is gone.
            place = place.max(state.gone);
            let kept = state.backlog.iter().skip(place - state.gone);
            let batch: Vec<Sent> = kept.take(BATCH_FRAMES).cloned().collect();
            let cut = !batch.is_empty() && std::mem::take(&mut state.cut_next);
            (batch, cut)
        };
        if cut {
            return send_half(socket, &batch[0]).await;
        }
        if batch.is_empty() {
            tokio::select! {
                _ = changes.changed() => continue,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                // Reading answers pings; a subscriber has nothing else to say but that it goes.
                message = socket.next() => match message {
                    Some(Ok(message)) if !message.is_close() => continue,
                    _ => return Ok(()),
                }
            }
        }
        place += batch.len();
        let sending = async {
            for sent in batch {
                socket.feed(Message::Binary(sent.frame)).await?;
            }
            socket.flush().await
        };
        tokio::select! {
            sent = sending => sent?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// Sends a frame up to its middle. What follows is that the connection is dropped.
async fn send_half(socket: &mut Socket, sent: &Sent) -> Result<(), Error> {
    let stream = socket.get_mut();
    stream.write_all(&frame_header(sent.frame.len())).await?;
    stream.write_all(&sent.frame[..sent.frame.len() / 2]).await?;
    Ok(stream.flush().await?)
}

#[cfg(test)]
mod tests {
    use crate::{Account, Consumer, Host, Received};

    #[tokio::test]
    async fn a_host_that_keeps_little_serves_the_newest_and_goes_on() {
        let host = Host::start().await;
        host.keep(3);
        let mut account = Account::new(1, 0);
        (0..5).for_each(|_| drop(host.emit(account.post())));
        let address = host.name().parse().expect("an address");
        let mut all = Consumer::connect(address, Some(0)).await.expect("a stream");
        let mut late = Consumer::connect(address, Some(1)).await.expect("a stream");
        assert_eq!(late.next().await, Received::Info("OutdatedCursor".to_owned()));
        for consumer in [&mut all, &mut late] {
            let seqs: Vec<u64> = consumer.events(3).await.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, [3, 4, 5]);
        }
        // One by one, since who is too slow misses what is gone.
        for seq in 6..=10 {
            host.emit(account.post());
            assert_eq!(all.event().await.seq, seq);
        }
    }
}
