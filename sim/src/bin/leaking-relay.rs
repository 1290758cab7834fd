//! The relay with a fault that no release has: it takes memory when it is told to, and keeps it. For tests alone.
//!
//! It takes the arguments of `relay`. Beside it listens, on port 3999 or where `LEAKING_RELAY_LISTEN` says:
//! - `POST /leak?bytes_per_second=N&up_to=BYTES`: takes so much a second until it holds so much;
//! - `POST /hog?bytes=N`: takes so much at once;
//! - `POST /free`: gives all of it back.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::post;
use serde::Deserialize;
use tokio::net::TcpListener;

/// As in the relay.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 3999);
/// How often a leak takes its part.
const TICKS_PER_SECOND: u64 = 10;
/// What is taken in one piece.
const PIECE_BYTES: u64 = 1 << 20;

/// What was taken, and what is to be.
#[derive(Default)]
struct Held {
    pieces: Vec<Vec<u8>>,
    bytes: u64,
    leak: Option<Leak>,
}

#[derive(Clone, Copy, Deserialize)]
struct Leak {
    bytes_per_second: u64,
    up_to: u64,
}

#[derive(Deserialize)]
struct Hog {
    bytes: u64,
}

type Shared = Arc<Mutex<Held>>;

fn main() -> ExitCode {
    let listen = std::env::var("LEAKING_RELAY_LISTEN").map_or(DEFAULT_LISTEN, |text| text.parse().expect("an address"));
    std::thread::spawn(move || control(listen));
    relay::cli::run()
}

#[tokio::main(flavor = "current_thread")]
async fn control(listen: SocketAddr) {
    let held = Shared::default();
    let routes = Router::new()
        .route("/leak", post(leak))
        .route("/hog", post(hog))
        .route("/free", post(free))
        .with_state(Arc::clone(&held));
    let listener = TcpListener::bind(listen).await.expect("an address that is free");
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / TICKS_PER_SECOND as u32);
        loop {
            ticks.tick().await;
            lock(&held).tick();
        }
    });
    axum::serve(listener, routes).await.expect("a server that does not end");
}

async fn leak(State(held): State<Shared>, Query(leak): Query<Leak>) {
    lock(&held).leak = Some(leak);
}

async fn hog(State(held): State<Shared>, Query(Hog { bytes }): Query<Hog>) {
    lock(&held).take(bytes);
}

async fn free(State(held): State<Shared>) {
    *lock(&held) = Held::default();
}

fn lock(held: &Shared) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    fn tick(&mut self) {
        let Some(Leak { bytes_per_second, up_to }) = self.leak else { return };
        self.take((bytes_per_second / TICKS_PER_SECOND).min(up_to.saturating_sub(self.bytes)));
    }

    /// Takes memory. Zeros would not be there before they are written to.
    fn take(&mut self, bytes: u64) {
        let end = self.bytes + bytes;
        while self.bytes < end {
            let piece = PIECE_BYTES.min(end - self.bytes);
            self.pieces.push(vec![1; piece as usize]);
            self.bytes += piece;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_takes_its_part_each_time_and_ends_where_it_should() {
        let mut held = Held { leak: Some(Leak { bytes_per_second: 100, up_to: 25 }), ..Held::default() };
        let after: Vec<u64> = (0..4)
            .map(|_| {
                held.tick();
                held.bytes
            })
            .collect();
        assert_eq!(after, [10, 20, 25, 25]);
        held.take(PIECE_BYTES + 1);
        assert_eq!(held.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>(), held.bytes);
    }
}
