//! Backfill with the program itself: jobs through the admin API, sources that are simulated, and whatever can go wrong.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod crawl;
mod disk;
mod jobs;
mod kills;
mod people;
mod sources;
mod world;
