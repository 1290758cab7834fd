//! Options of the sockets that consumers are served on.

use socket2::SockRef;
use tokio::net::TcpStream;

/// Unsent bytes that the kernel takes for a connection. What is sent and not yet acknowledged comes on top, so distant
/// consumers are not slowed, while a consumer that reads nothing holds little of the kernel's memory: this, since all that
/// its own kernel has taken is acknowledged. It is charged to the relay's cgroup (`sock` in `memory.stat`), so that a
/// thousand stalled consumers are 128 MiB there.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// For every accepted connection of the firehose's listener: send at once, and bound what the
/// kernel buffers.
pub fn tune_socket(stream: &mut TcpStream) {
    let socket = SockRef::from(&*stream);
    let result = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
    if let Err(error) = result {
        tracing::debug!(%error, "a connection keeps the system's socket options");
    }
}
