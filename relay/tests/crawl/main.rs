//! Crawls of PDS hosts and verifications of the directory, step by step, with hosts of all kinds.

#![allow(clippy::unwrap_used)]

mod crawling;
mod lies;
mod resuming;
mod rig;
mod verifying;
