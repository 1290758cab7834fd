//! A relay that runs inside this process, so that a fuzzer sees what a request makes it do.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use relay::config::{Bytes, Durability, Settings};
use relay::serve::serve;
use tempfile::TempDir;
use tokio::runtime;

/// The token of its admin API.
pub const TOKEN: &str = "token";

/// The one host that it knows, which never answers.
const HOST: &str = "localhost:1";

/// No answer takes so long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MEMORY_BYTES: u64 = 256 << 20;

/// The begin of an answer that turns the connection into a stream.
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

static RELAY: LazyLock<RelayInside> = LazyLock::new(RelayInside::start);

struct RelayInside {
    public: SocketAddr,
    operators: SocketAddr,
    _data_dir: TempDir,
}

/// The listeners.
#[derive(Clone, Copy)]
pub enum Listener {
    /// For everyone.
    Public,
    /// With the admin API.
    Operators,
}

/// Sends a request, which asks for the connection to be closed, and gives all that comes back. If it becomes a stream,
/// the client says `then` on it and leaves.
///
/// # Panics
///
/// When the relay does not end the connection in time.
pub fn exchange(listener: Listener, request: &[u8], then: &[u8]) -> Vec<u8> {
    let address = match listener {
        Listener::Public => RELAY.public,
        Listener::Operators => RELAY.operators,
    };
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // Whole, since libFuzzer's alarm interrupts reads. No answer is shorter.
    let mut received = vec![0; SWITCHING.len()];
    // The relay may answer and close before it has read all.
    if stream.write_all(request).and_then(|()| stream.read_exact(&mut received)).is_err() {
        received.clear();
    }
    if received.starts_with(SWITCHING) {
        let _ = stream.write_all(then).and_then(|()| stream.shutdown(Shutdown::Write));
    }
    let end = stream.read_to_end(&mut received).map_err(|error| error.kind());
    assert_ne!(end, Err(ErrorKind::WouldBlock), "the relay does not end the connection");
    received
}

impl RelayInside {
    fn start() -> RelayInside {
        let data_dir = memory_dir();
        let (public, operators) = (free_address(), free_address());
        let settings = Settings {
            data_dir: Some(data_dir.path().to_owned()),
            listen: Some(public),
            admin_listen: Some(operators),
            admin_token: Some(TOKEN.to_owned()),
            plc_url: Some("http://127.0.0.1:1".to_owned()),
            hosts: Some(vec![HOST.to_owned()]),
            allow_insecure_hosts: Some(true),
            durability: Some(Durability::Os),
            memory_limit: Some(Bytes(MEMORY_BYTES)),
            ..Settings::default()
        };
        let config = settings.resolve().expect("a configuration");
        std::thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(config, std::future::pending())).expect("a relay that starts");
        });
        while !is_ready(operators) {
            std::thread::sleep(Duration::from_millis(10));
        }
        RelayInside { public, operators, _data_dir: data_dir }
    }
}

/// Whether the relay does more than to listen.
fn is_ready(operators: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(operators) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

/// A folder in memory where there is one: nothing here is to last.
fn memory_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    dir.expect("a folder")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}
