//! A listener: accepts connections, as many as it may hold, and serves requests that come in time, by routes that can be
//! replaced while it does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
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
use tokio::task::JoinHandle;

use crate::firehose;

/// A request's head comes within this, also the next one of a connection that is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections of a listener at once; the next waits to be accepted. Streams do not count: they have limits of their own.
const CONNECTIONS_MAX: u32 = 2048;
/// Wait after the system has refused a connection: there are no file descriptors, mostly.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// A listener at work; when this is dropped it accepts no more.
pub struct Server {
    routes: watch::Sender<Router>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves `routes` on `listener`.
    pub fn start(listener: TcpListener, routes: Router) -> Server {
        Server::within(listener, routes, CONNECTIONS_MAX)
    }

    fn within(listener: TcpListener, routes: Router, connections_max: u32) -> Server {
        let (routes, current) = watch::channel(routes);
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, current, stopping, connections_max));
        Server { routes, stop, serving }
    }

    /// Has requests answered by other routes from now on, also those of connections that are open.
    pub fn set_routes(&self, routes: Router) {
        drop(self.routes.send_replace(routes));
    }

    /// Accepts no more, and waits until every request has its answer. Streams go on.
    pub async fn close(self) {
        self.stop.send_replace(true);
        // It does not panic, and nobody else can end it.
        let _ = self.serving.await;
    }
}

async fn serve(
    listener: TcpListener,
    routes: watch::Receiver<Router>,
    mut stop: watch::Receiver<bool>,
    connections_max: u32,
) {
    let places = Arc::new(Semaphore::new(connections_max as usize));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stopped(&mut stop) => break,
        };
        if let Some((stream, peer, place)) = accepted {
            tokio::spawn(connection(stream, peer, routes.clone(), stop.clone(), place));
        }
    }
    drop(listener);
    // The semaphore is never closed.
    let _ = places.acquire_many(connections_max).await;
}

/// Returns when the server is closed, or dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
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
async fn connection(
    mut stream: TcpStream,
    peer: SocketAddr,
    routes: watch::Receiver<Router>,
    mut stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    firehose::tune_socket(&mut stream);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let current = routes.borrow().clone();
        let answer = TowerToHyperService::new(current).call(request);
        async move { answer.await as Result<Response<_>, Infallible> }
    });
    let mut server = http1::Builder::new();
    let server = server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
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
        let server = Server::within(listener, Router::new().route("/peer", peer), 2);
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

        server.close().await;
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    /// Sends a request on a connection that is kept, and gives the body of the answer, which has this length.
    async fn ask(stream: &mut TcpStream, path: &str, length: usize) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        loop {
            answer.push(stream.read_u8().await.unwrap());
            if let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n")
                && answer.len() == head + 4 + length
            {
                return String::from_utf8(answer.split_off(head + 4)).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn other_routes_hold_for_connections_that_are_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::start(listener, Router::new().fallback(async || "before"));
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut stream, "/", 6).await, "before");
        server.set_routes(Router::new().fallback(async || "after!"));
        assert_eq!(ask(&mut stream, "/", 6).await, "after!", "on the same connection");

        server.close().await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "a connection without a request is closed");
    }

    #[tokio::test]
    async fn a_request_that_is_being_answered_gets_its_answer_before_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let slow = {
            let (asked, go_on) = (Arc::clone(&asked), Arc::clone(&go_on));
            async move || {
                asked.add_permits(1);
                drop(go_on.acquire().await);
                "done"
            }
        };
        let server = Server::start(listener, Router::new().fallback(slow));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let asking = tokio::spawn(async move { ask(&mut stream, "/", 4).await });
        drop(asked.acquire().await.unwrap());
        let closing = tokio::spawn(server.close());
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!closing.is_finished(), "a request is being answered");
        go_on.add_permits(1);
        assert_eq!(asking.await.unwrap(), "done");
        closing.await.unwrap();
    }
}
