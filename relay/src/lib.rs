//! An AT Protocol relay.
//!
//! Events flow in one direction: [`host`] reads them, [`verify`] checks them, [`sequencer`] gives them their seq and
//! appends them to the [`log`], [`firehose`] serves them. The log is the truth; [`store`] holds what can be derived from
//! it, [`decisions`] what people decide. [`serve`] wires a running relay and is alone in knowing all parts.
//!
//! Comments of the form "protocol 27" cite the numbered list in `docs/reference/protocol.md`.

pub mod account;
pub mod backfill;
pub mod cli;
pub mod collections;
pub mod config;
pub mod decisions;
pub mod exit;
pub mod firehose;
pub mod host;
pub mod http;
pub mod identity;
pub mod log;
pub mod memory;
pub mod net;
mod places;
pub mod protocol;
pub mod recover;
pub mod report;
pub mod sequencer;
pub mod serve;
pub mod siblings;
pub mod status;
pub mod store;
pub mod takedowns;
pub mod verify;
mod vital;
mod websocket;

use axum::http::HeaderValue;

/// Name and version of this program.
pub const SOFTWARE: &str = concat!("relay/", env!("CARGO_PKG_VERSION"));

/// How the relay names itself to servers and clients; the last word tells other relays what it is (protocol 9).
pub const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("relay/", env!("CARGO_PKG_VERSION"), " (atproto-relay)"));
