//! Clients of a relay that nobody here wrote, as child processes.

pub mod consumer;
pub mod indigo;
pub mod python;
pub mod tap;

use std::net::TcpListener;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::env;

/// Where a client finds a relay, or what looks like one to it, and the PLC directory of the network.
#[derive(Debug, Clone)]
pub struct Place {
    /// The relay, as `http://HOST:PORT`.
    pub relay: String,
    /// The PLC directory, likewise.
    pub plc: String,
}

impl Place {
    /// The same network, seen from another relay or PDS.
    pub fn at(&self, relay: &str) -> Place {
        Place { relay: relay.to_owned(), plc: self.plc.clone() }
    }

    /// The relay as consumers of the firehose name it.
    pub fn firehose(&self) -> String {
        self.relay.replace("http://", "ws://")
    }
}

/// The command that runs the program that this variable names; the process ends with its handle.
pub fn program(variable: &str) -> Result<Command> {
    let mut command = Command::new(env(variable)?);
    // Some clients would ask a proxy of the environment for loopback addresses too.
    command.kill_on_drop(true).env("NO_PROXY", "*").env("no_proxy", "*");
    Ok(command)
}

/// A port of the loopback that nothing uses at this moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?.port())
}
