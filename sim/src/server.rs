//! HTTP servers on loopback ports that can go down and come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Ports are taken from this one up …
const PORT_FIRST: u16 = 10_000;
/// … to where those begin that the kernel gives to connections: a port that is free stays free until it is used.
const PORT_END: u16 = 32_768;
/// More than one process uses.
const PORTS_OF_A_PROCESS: u32 = 509;

/// An address on the loopback interface that nobody listens on.
///
/// # Panics
///
/// When there is none.
pub fn free_address() -> SocketAddr {
    free_address_on(Ipv4Addr::LOCALHOST)
}

/// The same on another interface of this machine.
///
/// # Panics
///
/// When there is none.
pub fn free_address_on(ip: Ipv4Addr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = PORT_END - PORT_FIRST;
    // Processes that run at the same time start far from each other.
    let offset = (std::process::id().wrapping_mul(PORTS_OF_A_PROCESS) % u32::from(range)) as u16;
    (0..range)
        .map(|_| PORT_FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed) % range) % range)
        .map(|port| SocketAddr::from((ip, port)))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a free port")
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts one. `routes` gets what tells long-lived connections to end.
    pub async fn start(address: SocketAddr, routes: impl FnOnce(watch::Receiver<bool>) -> Router) -> Server {
        let (stop, stopping) = watch::channel(false);
        let listener = TcpListener::bind(address).await.expect("a port that is free");
        let routes = routes(stopping.clone());
        let task = tokio::spawn(async move {
            let mut stopping = stopping;
            let stopped = async move { drop(stopping.wait_for(|stop| *stop).await) };
            axum::serve(listener, routes).with_graceful_shutdown(stopped).await.expect("a server that only stops");
        });
        Server { address, stop, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and waits until the port is free.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("a server that only stops");
    }
}
