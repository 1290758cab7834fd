//! Pure data of atproto: encodings, identifiers, repository structures, and what can be proved from an event alone.
//!
//! Nothing here reads a clock, a file or a socket, holds a lock or logs. Every parser takes foreign bytes: malformed
//! input is an error, never a panic, and what is allocated stays within a small multiple of what came in.
//! "protocol N" in a comment is an item of the list of rules that a conformant relay keeps.

pub mod car;
pub mod cbor;
pub mod cid;
pub mod commit;
pub mod did;
pub mod frame;
pub mod key;
pub mod mst;
pub mod nsid;
pub mod proof;
pub mod syntax;
pub mod tid;
pub mod touched;

#[cfg(test)]
pub(crate) mod testing;
