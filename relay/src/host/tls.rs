//! TLS towards hosts.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net;

/// The connector of all hosts; they share its sessions.
pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn new() -> Result<Tls, rustls::Error> {
        Ok(Tls(TlsConnector::from(Arc::new(net::tls_config()?))))
    }

    /// The handshake with the host of that name.
    pub(super) async fn connect(&self, name: &str, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let server = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        self.0.connect(server, tcp).await
    }
}
