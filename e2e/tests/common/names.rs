//! A DNS server with one name, for programs that take no address.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The server, which ends with its handle. It knows one name; there is no other.
pub struct Names(JoinHandle<()>);

impl Names {
    /// Serves at this address of the node, where pods ask.
    pub async fn serve(node_ip: &str, name: &'static str, address: Ipv4Addr) -> Result<Names> {
        let socket = UdpSocket::bind((node_ip, 53)).await.context("no DNS on the node")?;
        let question = encoded(name);
        Ok(Names(tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                if let Some(answer) = answer(&query[..length], &question, address) {
                    let _ = socket.send_to(&answer, from).await; // who gets none asks again
                }
            }
        })))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A name as it is in a message: labels with their lengths.
fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[label.len() as u8], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}

/// The answer to a query of one question, RFC 1035 section 4.
fn answer(query: &[u8], name: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const ADDRESS_RECORD: [u8; 4] = [0, 1, 0, 1]; // type A, class IN
    let asked = query.get(HEADER..)?;
    let name_length = asked.iter().position(|byte| *byte == 0)? + 1;
    let question = asked.get(..name_length + 4)?;
    let is_known = question[..name_length].eq_ignore_ascii_case(name);
    let has_address = is_known && question[name_length..] == ADDRESS_RECORD;
    let no_such_name = if is_known { 0 } else { 3 };
    let mut answer =
        [&query[..2], &[0x85, 0x80 | no_such_name, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0], question].concat();
    if has_address {
        let seconds = [0, 0, 0, 1];
        answer.extend([&[0xc0, HEADER as u8], &ADDRESS_RECORD[..], &seconds, &[0, 4], &address.octets()].concat());
    }
    Some(answer)
}
