//! A simulated AT Protocol network, for tests and measurements of the relay.
//!
//! [`Plc`] is a directory, [`Host`] a PDS, [`Account`] an account with a key and a real repository, whose events are
//! structurally exact: signed commits, Merkle search tree, covering proofs. [`Mutation`] makes bad ones of them. All
//! run in this process; [`Relay`] is the program under test as a process of its own, and [`Consumer`] reads what it
//! serves. [`Directory`] is a collection directory of others, which an import reads. [`Checker`] says whether what was
//! sent is what was delivered. Everything that is random follows from a seed, but for the signatures on P-256.
//!
//! Whatever goes wrong here ends the test: functions panic rather than return errors.

pub mod account;
pub mod cgroup;
pub mod checker;
pub mod consumer;
pub mod directory;
mod door;
pub mod event;
pub mod fleet;
pub mod host;
pub mod hostile;
pub mod key;
pub mod mutation;
pub mod network;
pub mod plc;
pub mod process;
pub mod program;
pub mod reader;
pub mod repo;
pub mod server;
pub mod traffic;
mod wire;

pub use account::Account;
pub use checker::{Checker, Report};
pub use consumer::{Consumer, Delivered, Received};
pub use directory::Directory;
pub use fleet::Fleet;
pub use host::{Host, Sent};
pub use hostile::{Hostile, Malice};
pub use mutation::Mutation;
pub use network::Network;
pub use plc::{Fault, Plc};
pub use process::Relay;
pub use program::Program;
pub use reader::Reader;
pub use traffic::Traffic;
