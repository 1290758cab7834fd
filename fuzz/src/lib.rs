//! Fuzz targets: what the relay does with foreign bytes, as functions of any bytes at all.
//!
//! A target panics when the relay does, and when what it makes of the bytes contradicts itself, a simpler model of it
//! ([`inversion`]) or another implementation ([`inversion_indigo`]). `dev/fuzz.sh` runs them under libFuzzer; the tests
//! of this package run them on the corpus that is committed in `corpus/`.

mod bytes;
mod case;
mod document;
mod names;
mod oracle;
mod relay_inside;
mod requests;
mod tree;

pub use bytes::{car, cbor, check_commit, frame};
pub use document::{did_document, multikey};
pub use names::names;
pub use requests::{admin, cursor};
pub use tree::{inversion, inversion_indigo, mst_node};

/// A target: it returns, or it has found something.
pub type Target = fn(&[u8]);

/// All targets, by the names of their programs and of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 12] = [
    ("admin", admin),
    ("car", car),
    ("cbor", cbor),
    ("check_commit", check_commit),
    ("cursor", cursor),
    ("did_document", did_document),
    ("frame", frame),
    ("inversion", inversion),
    ("inversion_indigo", inversion_indigo),
    ("mst_node", mst_node),
    ("multikey", multikey),
    ("names", names),
];
