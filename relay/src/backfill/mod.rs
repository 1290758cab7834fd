//! Backfill: jobs that fill the directory from outside, and look whether what it says is still so.

mod crawl;
mod finding;
mod pace;
mod pds;
mod provider;
mod spec;
mod told;
mod verify;
mod web;
mod witness;
mod work;

pub use crawl::Crawl;
pub use spec::{Collections, Job, Kind, Progress, Spec, State};
pub use verify::Verify;
pub use web::{Refusal, Web};
pub use witness::Witnesses;
pub use work::{Later, Part, Planned, Step, Trouble, Work};
