//! A listener: accepts connections, as many as it may hold, and serves requests that come in time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::firehose;

/// A request's head comes within this, also the next one of a connection that is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections of a listener at once; the next waits to be accepted. Streams do not count: they have limits of their own.
const CONNECTIONS_MAX: usize = 2048;
/// Wait after the system has refused a connection: there are no file descriptors, mostly.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Serves `routes` until `stop` is set. Connections that are open then end with the process.
pub async fn serve(listener: TcpListener, routes: Router, stop: watch::Receiver<bool>) {
    serve_within(listener, routes, stop, CONNECTIONS_MAX).await;
}

async fn serve_within(listener: TcpListener, routes: Router, mut stop: watch::Receiver<bool>, connections_max: usize) {
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            // The sender goes only when the relay does.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if let Some((stream, peer, place)) = accepted {
            tokio::spawn(connection(stream, peer, routes.clone(), place));
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "connection not accepted");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

/// One connection, until it ends or becomes a stream.
async fn connection(mut stream: TcpStream, peer: SocketAddr, routes: Router, _place: OwnedSemaphorePermit) {
    firehose::tune_socket(&mut stream);
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = routes.call(request);
        async move { answer.await as Result<Response<_>, Infallible> }
    });
    let mut server = http1::Builder::new();
    let server = server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET /peer HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";

    /// Protocol 1.
    #[tokio::test]
    async fn no_more_connections_are_open_than_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() });
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(serve_within(listener, Router::new().route("/peer", peer), stopping, 2));
        let silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];

        let mut waiting = TcpStream::connect(address).await.unwrap();
        waiting.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        let early = tokio::time::timeout(Duration::from_millis(300), waiting.read_to_string(&mut answer)).await;
        assert!(early.is_err(), "all places are taken: {answer}");
        drop(silent);
        waiting.read_to_string(&mut answer).await.unwrap();
        let own_address = waiting.local_addr().unwrap().to_string();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&own_address), "{answer}");

        stop.send_replace(true);
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}
